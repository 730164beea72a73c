"""Terms of the sum that a student minimises, each a function of what student and teacher said about one
batch.

In scope: formulae, and which of them feel the teacher's calibration. Out of scope: optimizers, epochs, other
losses.
"""

from calkd_edge.registry import Registry

LOSSES = Registry(
    "loss",
    {
        "cross_entropy": "calkd_edge.losses.cross_entropy:CrossEntropy",
        "kd": "calkd_edge.losses.kd:KD",
        "dkd": "calkd_edge.losses.dkd:DKD",
        "hint": "calkd_edge.losses.hint:Hint",
    },
    plural="losses",
)
