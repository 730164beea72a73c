"""Data sets and augmentations: images of any source as uint8 RGB arrays with splits.

In scope: reading, splitting, finding duplicates, augmenting, corrupting. Out of scope: models, losses,
normalising, scoring. Only augmentation and mixing import torch.
"""

from __future__ import annotations

from calkd_edge.registry import Registry

DATASETS = Registry(
    "dataset",
    {
        "cifar10": "calkd_edge.data.cifar:Cifar10",
        "cifar100": "calkd_edge.data.cifar:Cifar100",
        "fashion_mnist_small": "calkd_edge.data.fashion_mnist:FashionMnistSmall",
        "image_folder": "calkd_edge.data.image_folder:ImageFolder",
        "loose_images": "calkd_edge.data.loose_images:LooseImages",
        "synthetic": "calkd_edge.data.synthetic:Synthetic",
    },
)

AUGMENTATIONS = Registry(
    "augmentation",
    {
        "crop_pad": "calkd_edge.data.augment:CropPad",
        "none": "calkd_edge.data.augment:NoAugmentation",
        "rand_augment": "calkd_edge.data.rand_augment:RandAugment",
        "resized_crop": "calkd_edge.data.augment:ResizedCrop",
    },
)

MIXINGS = Registry(
    "mixing",
    {
        "cutmix": "calkd_edge.data.mixing:CutMix",
        "mixup": "calkd_edge.data.mixing:Mixup",
    },
)
