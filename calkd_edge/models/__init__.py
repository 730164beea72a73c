"""Networks by name: what they compute from an image, and how they lie on disk.

In scope: architectures, each model's own normalisation, features by module path. Out of scope: losses, data
sets,
training; no file outside a model's own folder.
"""

from calkd_edge.registry import Registry

MODELS = Registry(
    "model",
    {
        "resnet8": "calkd_edge.models.resnet:resnet8",
        "resnet14": "calkd_edge.models.resnet:resnet14",
        "resnet20": "calkd_edge.models.resnet:resnet20",
        "resnet32": "calkd_edge.models.resnet:resnet32",
        "resnet44": "calkd_edge.models.resnet:resnet44",
        "resnet56": "calkd_edge.models.resnet:resnet56",
        "resnet110": "calkd_edge.models.resnet:resnet110",
        "mobilenet_v2": "calkd_edge.models.mobilenet:mobilenet_v2",
        "mobilenet_v3_small": "calkd_edge.models.mobilenet:mobilenet_v3_small",
        "mobilenet_v3_large": "calkd_edge.models.mobilenet:mobilenet_v3_large",
        "shufflenet_v2": "calkd_edge.models.shufflenet:shufflenet_v2",
        "torchvision": "calkd_edge.models.torchvision_:torchvision_model",
    },
)
