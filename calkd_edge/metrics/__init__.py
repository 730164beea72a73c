"""Metrics of a classifier: accuracy, proper scores, and calibration of its confidence.

In scope: figures with their bounds, from logits and labels, or from confidences and outcomes alone. Out of
scope: fitting calibrations, gates, files; torch and onnx. The name of a function says whether it reads logits
or probabilities; it never guesses from values.
"""

from calkd_edge.metrics.binned import (
    calibration_error_parts,
    debiased_calibration_error,
    equal_mass_bins,
    equal_width_bins,
    expected_calibration_error,
    maximum_calibration_error,
    noise_floor,
    reliability_bins,
    root_mean_squared_calibration_error,
)
from calkd_edge.metrics.by_class import balanced_accuracy, confusion_matrix, worst_recall
from calkd_edge.metrics.chance import Consistency, consistency
from calkd_edge.metrics.classwise import classwise_calibration_error
from calkd_edge.metrics.proper import ProperSplit, brier_toplabel, nll_split
from calkd_edge.metrics.quality import ece_with_bounds, quality
from calkd_edge.metrics.selective import area_under_risk_coverage, at_threshold, auroc_of_correctness
from calkd_edge.metrics.unbinned import kolmogorov_smirnov_error, smooth_calibration_error

__all__ = [
    "Consistency",
    "ProperSplit",
    "area_under_risk_coverage",
    "at_threshold",
    "auroc_of_correctness",
    "balanced_accuracy",
    "brier_toplabel",
    "calibration_error_parts",
    "classwise_calibration_error",
    "confusion_matrix",
    "consistency",
    "debiased_calibration_error",
    "ece_with_bounds",
    "equal_mass_bins",
    "equal_width_bins",
    "expected_calibration_error",
    "kolmogorov_smirnov_error",
    "maximum_calibration_error",
    "nll_split",
    "noise_floor",
    "quality",
    "reliability_bins",
    "root_mean_squared_calibration_error",
    "smooth_calibration_error",
    "worst_recall",
]
