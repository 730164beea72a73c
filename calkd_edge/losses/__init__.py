"""Losses of the student, each a function of the outputs of student and teacher for one batch.

In scope: formulas, and how each of them depends on the teacher's calibration. Out of scope: optimizers,
epochs, other losses.

A loss only adds a term to the sum; it does not change the student's architecture. SimKD (Chen et al., CVPR
2022) is therefore not included: its student ships with a projector and the teacher's classifier, so it is
another network, with another cost on a device, and not another loss.
"""

from calkd_edge.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "cross_entropy": "calkd_edge.losses.cross_entropy:CrossEntropy",
        # On logits.
        "kd": "calkd_edge.losses.kd:KD",
        "dkd": "calkd_edge.losses.dkd:DKD",
        "dist": "calkd_edge.losses.dist:DIST",
        "nkd": "calkd_edge.losses.nkd:NKD",
        "mlkd": "calkd_edge.losses.mlkd:MLKD",
        "ctkd": "calkd_edge.losses.ctkd:CTKD",
        "ttm": "calkd_edge.losses.ttm:TTM",
        "wttm": "calkd_edge.losses.ttm:WTTM",
        # On features.
        "hint": "calkd_edge.losses.hint:Hint",
        "at": "calkd_edge.losses.at:AT",
        "nst": "calkd_edge.losses.nst:NST",
        "pkt": "calkd_edge.losses.pkt:PKT",
        "sp": "calkd_edge.losses.sp:SP",
        "rkd": "calkd_edge.losses.rkd:RKD",
        "vid": "calkd_edge.losses.vid:VID",
        "ofd": "calkd_edge.losses.ofd:OFD",
        "crd": "calkd_edge.losses.crd:CRD",
        "reviewkd": "calkd_edge.losses.reviewkd:ReviewKD",
        "cat_kd": "calkd_edge.losses.cat_kd:CATKD",
    },
    plural="losses",
)
