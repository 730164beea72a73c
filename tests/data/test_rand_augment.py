"""RandAugment: views are replayed as drawn, image by image, with the named operations."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from calkd_edge.data.augment import CropPad
from calkd_edge.data.rand_augment import _OPERATIONS, RandAugment


def images_of(count, side=16):
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8, generator=generator)


def only(operation, *, negative=False, **settings):
    """An augmentation and a view in which every image gets one operation, uncropped."""
    augmentation = RandAugment((3, 16, 16), operations=1, padding=0, flip=False, **settings)
    view = augmentation.draw(4, np.random.default_rng(0))
    view["operation0"] = np.full(4, operation, np.int16)
    view["negative0"] = np.full(4, negative)
    return augmentation, view


def test_replay_is_the_same_for_each_image_alone_and_twice():
    images = images_of(40)
    augmentation = RandAugment((3, 16, 16), operations=3, magnitude=14)
    view = augmentation.draw(40, np.random.default_rng(3))
    complete = augmentation.replay(images, view)
    assert torch.equal(complete, augmentation.replay(images, view))
    for row in range(40):
        alone = augmentation.replay(images[row : row + 1], {name: view[name][row : row + 1] for name in view})
        assert torch.equal(alone[0], complete[row])


def test_columns_do_not_depend_on_the_number_of_operations():
    one, three = (
        RandAugment((3, 16, 16), operations=count).draw(9, np.random.default_rng(1)) for count in (1, 3)
    )
    assert set(one) == set(three) == set(RandAugment.columns)
    assert (one["operation0"] == three["operation0"]).all()
    assert (one["operation1"] == 0).all()


def test_without_operations_it_is_the_padded_crop():
    images = images_of(10)
    augmentation = RandAugment((3, 16, 16), operations=1)
    view = {**augmentation.draw(10, np.random.default_rng(2)), "operation0": np.zeros(10, np.int16)}
    assert torch.equal(augmentation.replay(images, view), CropPad((3, 16, 16)).replay(images, view))


def pil(images, change):
    changed = [np.asarray(change(Image.fromarray(image.permute(1, 2, 0).numpy()))) for image in images]
    return torch.from_numpy(np.stack(changed)).permute(0, 3, 1, 2)


@pytest.mark.parametrize(
    ("operation", "change", "tolerance"),
    [
        (6, lambda image: ImageEnhance.Brightness(image).enhance(1.3), 1),
        (7, lambda image: ImageEnhance.Color(image).enhance(1.3), 2),
        (9, lambda image: ImageEnhance.Sharpness(image).enhance(1.3), 2),
        (10, lambda image: ImageOps.posterize(image, 7), 0),
        (11, lambda image: ImageOps.solarize(image, 170), 0),
        (12, ImageOps.autocontrast, 1),
        (13, ImageOps.equalize, 0),
    ],
)
def test_colour_operations_are_those_of_pil(operation, change, tolerance):
    augmentation, view = only(operation, magnitude=10)
    images = images_of(4)
    got, expected = augmentation.replay(images, view), pil(images, change)
    assert (got.int() - expected.int()).abs().max() <= tolerance


@pytest.mark.parametrize(("operation", "axis"), [(3, 3), (4, 2)])
@pytest.mark.parametrize("negative", [False, True])
def test_shifts_move_by_integer_pixels(operation, axis, negative):
    augmentation, view = only(operation, negative=negative, magnitude=30)
    images = images_of(4)
    by = round(150 / 331 * 16) * (-1 if negative else 1)
    expected = torch.roll(images, by, axis)
    kept = slice(by, None) if by > 0 else slice(None, by)
    index = [slice(None)] * 4
    index[axis] = kept
    got = augmentation.replay(images, view)
    assert torch.equal(got[tuple(index)], expected[tuple(index)])
    assert (got == 0).float().mean() > 0.3


@pytest.mark.parametrize("operation", range(1, len(_OPERATIONS)))
def test_every_operation_changes_the_images_at_full_strength(operation):
    augmentation, view = only(operation, magnitude=30)
    ramp = torch.linspace(20, 200, 256).view(1, 1, 16, 16) + 10 * torch.arange(3).view(1, 3, 1, 1)
    ramp = ramp.expand(4, 3, 16, 16).clone()
    ramp[:, :, 5:9, 5:9] += 25  # an edge, for sharpness
    images = ramp.to(torch.uint8)
    assert not torch.equal(augmentation.replay(images, view), images)
