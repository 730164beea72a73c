"""Temperature scaling: one number, fitted by NLL."""

from __future__ import annotations

from calkd_edge.calibration.fitted import Fitted, fits, identity_fit, warnings_for
from calkd_edge.metrics.inverse_temperature import best_inverse_temperature
from calkd_edge.records import Affine, FloatArray, IntArray


@fits("temperature")
def temperature(logits: FloatArray, labels: IntArray, classes: tuple[str, ...]) -> Fitted:
    """The temperature that minimises NLL, by safeguarded Newton in float64, with its standard error.

    Args:
        logits: [N, C] raw scores.
        labels: [N] int64.
        classes: C names, for warnings.

    The NLL is convex in 1/T, so there is one optimum or a status that says why there is none.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (arXiv 1706.04599), section 4.2.
    """
    solution = best_inverse_temperature(logits, labels)
    if solution.status != "ok" or solution.se_log_beta is None:
        return identity_fit(solution.status, logits, labels)
    se = solution.se_log_beta / solution.beta
    affine = Affine(scale=(solution.beta,))
    warnings = warnings_for(logits, labels, classes, se)
    return Fitted(affine, "ok", (se,), solution.nll_before, solution.nll_after, warnings)
