"""Views: drawn once, replayed identically, equal to a plain implementation of their columns."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from calkd_edge.data.augment import CropPad, NoAugmentation, ResizedCrop


def images_of(count, height, width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


def plain_crop_pad(image, padding, dy, dx, flip):
    bordered = np.pad(image, ((0, 0), (padding, padding), (padding, padding)))
    crop = bordered[:, dy : dy + image.shape[1], dx : dx + image.shape[2]]
    return crop[:, :, ::-1] if flip else crop


def plain_resize(part, height, width):
    """Bilinear, pixel centres aligned, edges held: float64, image by image."""
    _, part_height, part_width = part.shape
    down = np.clip((np.arange(height) + 0.5) * part_height / height - 0.5, 0, part_height - 1)
    right = np.clip((np.arange(width) + 0.5) * part_width / width - 0.5, 0, part_width - 1)
    top, left = down.astype(int), right.astype(int)
    bottom, other = np.minimum(top + 1, part_height - 1), np.minimum(left + 1, part_width - 1)
    v, h = (down - top)[None, :, None], (right - left)[None, None, :]
    part = part.astype(np.float64)
    upper = part[:, top][:, :, left] * (1 - h) + part[:, top][:, :, other] * h
    lower = part[:, bottom][:, :, left] * (1 - h) + part[:, bottom][:, :, other] * h
    return upper * (1 - v) + lower * v


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 9),
    st.integers(1, 17),
    st.integers(1, 17),
    st.integers(0, 6),
    st.booleans(),
    st.integers(0, 9),
)
def test_crop_pad_equals_a_plain_implementation(count, height, width, padding, flip, seed):
    images = images_of(count, height, width)
    augmentation = CropPad((3, height, width), padding=padding, flip=flip)
    view = augmentation.draw(count, np.random.default_rng(seed))
    seen = augmentation.replay(images, view)
    for row in range(count):
        dy, dx, mirrored = (view[name][row] for name in ("dy", "dx", "flip"))
        assert (seen[row].numpy() == plain_crop_pad(images[row].numpy(), padding, dy, dx, mirrored)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 6), st.integers(1, 17), st.integers(1, 17), st.floats(0.02, 1), st.integers(0, 9))
def test_resized_crop_equals_a_plain_implementation(count, height, width, scale_low, seed):
    images = images_of(count, height, width)
    augmentation = ResizedCrop((3, height, width), scale_low=scale_low)
    view = augmentation.draw(count, np.random.default_rng(seed))
    seen = augmentation.replay(images, view)
    for row in range(count):
        top, left, part_height, part_width, mirrored = (int(view[name][row]) for name in augmentation.columns)
        assert 0 <= top <= height - part_height
        assert 0 <= left <= width - part_width
        part = images[row, :, top : top + part_height, left : left + part_width].numpy()
        expected = plain_resize(part, height, width)[:, :, :: -1 if mirrored else 1]
        assert np.abs(seen[row].numpy() - expected).max() <= 0.5 + 1e-9


def test_resized_crop_is_torchs_bilinear_interpolation():
    images = images_of(16, 32, 32)
    augmentation = ResizedCrop((3, 32, 32), scale_low=0.3, flip=False)
    view = augmentation.draw(16, np.random.default_rng(0))
    seen = augmentation.replay(images, view)
    for row in range(16):
        top, left, height, width = (int(view[name][row]) for name in ("top", "left", "height", "width"))
        part = images[row : row + 1, :, top : top + height, left : left + width].double()
        expected = functional.interpolate(part, (32, 32), mode="bilinear", align_corners=False)
        assert (seen[row] - expected[0]).abs().max() <= 0.5 + 1e-9


def test_images_resized_in_pieces_are_to_the_bit_those_resized_at_once(monkeypatch):
    images = images_of(11, 40, 56)
    augmentation = ResizedCrop((3, 40, 56), scale_low=0.1)
    view = augmentation.draw(11, np.random.default_rng(0))
    at_once = augmentation.replay(images, view)
    for pixels in (1, 3 * 40 * 56):
        monkeypatch.setattr("calkd_edge.data.augment._PIECE_PIXELS", pixels)
        assert torch.equal(augmentation.replay(images, view), at_once)
    monkeypatch.undo()
    # A batch larger than a piece, against each image alone.
    many = images.repeat(12, 1, 1, 1)
    stored = {name: np.tile(column, 12) for name, column in view.items()}
    assert torch.equal(augmentation.replay(many, stored), at_once.repeat(12, 1, 1, 1))
    assert augmentation.replay(images[:0], {name: column[:0] for name, column in view.items()}).shape[0] == 0


def test_a_crop_of_the_complete_image_is_the_image():
    images = images_of(2, 30, 20)
    complete = {"top": [0, 0], "left": [0, 0], "height": [30, 30], "width": [20, 20], "flip": [False, True]}
    view = {name: np.array(values) for name, values in complete.items()}
    seen = ResizedCrop((3, 30, 20)).replay(images, view)
    assert (seen[0] == images[0]).all()
    assert (seen[1] == images[1].flip(2)).all()


def test_the_largest_images_do_not_overflow():
    images = torch.full((1, 3, 1024, 1024), 255, dtype=torch.uint8)
    augmentation = ResizedCrop((3, 1024, 1024))
    assert (augmentation.replay(images, augmentation.draw(1, np.random.default_rng(0))) == 255).all()


@pytest.mark.parametrize("augmentation", [CropPad((3, 32, 32)), ResizedCrop((3, 32, 32))])
def test_a_view_stored_as_file_or_tensor_gives_the_same_pixels(augmentation, tmp_path):
    images = images_of(40, 32, 32)
    view = augmentation.draw(40, np.random.default_rng(0))
    first = augmentation.replay(images, view)
    np.savez(tmp_path / "views.npz", **view)
    with np.load(tmp_path / "views.npz") as stored:
        again = augmentation.replay(
            images, {name: torch.from_numpy(stored[name]) for name in augmentation.columns}
        )
        half = augmentation.replay(images[20:], {name: stored[name][20:] for name in augmentation.columns})
    assert (first == again).all()
    assert (first[20:] == half).all()
    assert (images == images_of(40, 32, 32)).all()
    assert all(column.dtype in (np.int16, np.bool_) for column in view.values())


@pytest.mark.parametrize("kind", [CropPad, ResizedCrop])
def test_mirroring_can_be_switched_off_and_leaves_the_other_columns_alone(kind):
    on, off = (kind((3, 32, 32), flip=flip).draw(500, np.random.default_rng(0)) for flip in (True, False))
    assert 200 < on["flip"].sum() < 300
    assert not off["flip"].any()
    assert all((on[name] == off[name]).all() for name in on if name != "flip")


def test_every_corner_of_the_border_is_drawn():
    view = CropPad((3, 32, 32), padding=2).draw(2000, np.random.default_rng(0))
    assert len({*zip(view["dy"].tolist(), view["dx"].tolist(), strict=True)}) == 25


def test_parts_have_the_requested_areas():
    view = ResizedCrop((3, 224, 224), scale_low=0.25).draw(5000, np.random.default_rng(0))
    area = view["height"].astype(int) * view["width"] / 224**2
    assert area.min() > 0.2
    assert area.max() <= 1
    assert 0.5 < area.mean() < 0.65


def test_none_gives_the_images_back():
    images = images_of(2, 4, 4)
    assert NoAugmentation((3, 4, 4)).replay(images, {}) is images


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("augmentation", [CropPad((3, 32, 32)), ResizedCrop((3, 32, 32))])
def test_an_accelerator_sees_the_same_pixels(augmentation):
    images = images_of(64, 32, 32)
    view = augmentation.draw(64, np.random.default_rng(0))
    assert (augmentation.replay(images.cuda(), view).cpu() == augmentation.replay(images, view)).all()
