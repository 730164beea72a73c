"""Calibrators: functions that fit an affine map of the logits to logits and labels.

In scope: fitting, with a status and a standard error; what kind of map a calibrator fits. Out of scope: the
model, files, folding, measuring ECE.
"""

from calkd_edge.registry import Registry

CALIBRATORS = Registry(
    "calibrator",
    {
        "temperature": "calkd_edge.calibration.temperature:temperature",
        "vector": "calkd_edge.calibration.vector:vector",
        "affine": "calkd_edge.calibration.affine:affine",
        "bias": "calkd_edge.calibration.bias:bias",
        "constant": "calkd_edge.calibration.constant:constant",
    },
)
