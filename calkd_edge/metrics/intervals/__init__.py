"""Confidence bounds for measured numbers.

In scope: bounds for proportions, paired differences, means, binned calibration errors and percentiles.
Out of scope: logits, models, gates; everything but numpy. Bounds are one-sided, each at `level` (0.95):
together they are a 90 % interval. All arithmetic is float64, every random draw has a seed.
"""

from calkd_edge.metrics.intervals.binned import (
    BinnedError,
    binned_error,
    calibration_error_bounds,
    images_to_decide_ece,
)
from calkd_edge.metrics.intervals.bounds import (
    FEWEST_IMAGES_FOR_A_MEAN,
    FEWEST_IMAGES_FOR_ECE,
    LEVEL,
    Bounds,
    normal_quantile,
    student_t,
)
from calkd_edge.metrics.intervals.differences import independent_difference
from calkd_edge.metrics.intervals.means import mean_bounds
from calkd_edge.metrics.intervals.proportions import (
    clopper_pearson,
    images_to_decide_zero_disagreements,
    share_shift,
    tango,
    wilson,
)
from calkd_edge.metrics.intervals.quantiles import (
    QuantileBounds,
    effective_size,
    quantile_bounds,
    worst_quantile,
)

__all__ = [
    "FEWEST_IMAGES_FOR_A_MEAN",
    "FEWEST_IMAGES_FOR_ECE",
    "LEVEL",
    "BinnedError",
    "Bounds",
    "QuantileBounds",
    "binned_error",
    "calibration_error_bounds",
    "clopper_pearson",
    "effective_size",
    "images_to_decide_ece",
    "images_to_decide_zero_disagreements",
    "independent_difference",
    "mean_bounds",
    "normal_quantile",
    "quantile_bounds",
    "share_shift",
    "student_t",
    "tango",
    "wilson",
    "worst_quantile",
]
