"""Networks by name: their architectures, their normalisation, their features and their files.

In scope: architectures, the normalisation of each model, features by module path, reading weights.
Out of scope: losses, data sets, training.
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
        "resnet8x4": "calkd_edge.models.resnet:resnet8x4",
        "resnet32x4": "calkd_edge.models.resnet:resnet32x4",
        "resnet50": "calkd_edge.models.bottleneck_resnet:resnet50",
        "wrn_16_1": "calkd_edge.models.wide_resnet:wrn_16_1",
        "wrn_16_2": "calkd_edge.models.wide_resnet:wrn_16_2",
        "wrn_40_1": "calkd_edge.models.wide_resnet:wrn_40_1",
        "wrn_40_2": "calkd_edge.models.wide_resnet:wrn_40_2",
        "vgg8": "calkd_edge.models.vgg:vgg8",
        "vgg11": "calkd_edge.models.vgg:vgg11",
        "vgg13": "calkd_edge.models.vgg:vgg13",
        "vgg16": "calkd_edge.models.vgg:vgg16",
        "vgg19": "calkd_edge.models.vgg:vgg19",
        "mobilenet_v1": "calkd_edge.models.mobilenet_v1:mobilenet_v1",
        "mobilenet_v2": "calkd_edge.models.mobilenet:mobilenet_v2",
        "mobilenet_v3_small": "calkd_edge.models.mobilenet:mobilenet_v3_small",
        "mobilenet_v3_large": "calkd_edge.models.mobilenet:mobilenet_v3_large",
        "shufflenet_v1": "calkd_edge.models.shufflenet_v1:shufflenet_v1",
        "shufflenet_v2": "calkd_edge.models.shufflenet:shufflenet_v2",
        "timm": "calkd_edge.models.timm_:timm_model",
        "torchvision": "calkd_edge.models.torchvision_:torchvision_model",
    },
)
