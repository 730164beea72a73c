"""mixup and CutMix: pixels and shares equal their definitions, computed with the same seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calkd_edge.data import MIXINGS
from calkd_edge.data.mixing import CutMix, Mixup

SEEDS = st.integers(0, 10_000)


def images_of(count, height=8, width=12):
    generator = torch.Generator().manual_seed(count)
    return torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.floats(0.05, 5), st.integers(1, 9))
def test_mixup_is_the_rounded_mean_of_two(seed, alpha, count):
    images = images_of(count)
    mixed = Mixup(alpha=alpha).mix(images, np.random.default_rng(seed))
    assert 0 <= mixed.share <= 1
    assert sorted(mixed.partners.tolist()) == list(range(count))
    expected = mixed.share * images.double() + (1 - mixed.share) * images[mixed.partners].double()
    assert mixed.images.dtype == torch.uint8
    assert (mixed.images.double() - expected).abs().max() <= 0.5 + 1e-4


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.floats(0.05, 5), st.integers(1, 20), st.integers(1, 20))
def test_cutmix_replaces_a_box_by_the_second_image(seed, alpha, height, width):
    images = torch.stack([torch.full((3, height, width), value, dtype=torch.uint8) for value in range(4)])
    mixed = CutMix(alpha=alpha).mix(images, np.random.default_rng(seed))
    moved = (mixed.partners != torch.arange(4)).nonzero().flatten()
    for row in moved.tolist():
        foreign = (mixed.images[row, 0] == mixed.partners[row]).numpy()
        assert foreign.mean() == pytest.approx(1 - mixed.share)
        if foreign.any():
            down, right = foreign.any(1).nonzero()[0], foreign.any(0).nonzero()[0]
            assert foreign[down.min() : down.max() + 1, right.min() : right.max() + 1].all()
        assert (mixed.images[row, 0].numpy()[~foreign] == row).all()


@pytest.mark.parametrize("name", sorted(MIXINGS))
def test_probability_skips_batches_and_equal_seeds_mix_equally(name):
    images = images_of(6)
    mixing = MIXINGS.load(name)(alpha=1.0, probability=0.5)
    first, second = ([mixing.mix(images, np.random.default_rng(seed)) for seed in range(60)] for _ in "12")
    assert all(
        torch.equal(a.images, b.images) and a.share == b.share for a, b in zip(first, second, strict=True)
    )
    untouched = [mixed for mixed in first if mixed.share == 1.0]
    assert all(torch.equal(mixed.images, images) for mixed in untouched)
    assert 15 <= len(untouched) <= 45


def test_mean_share_is_that_of_the_beta_distribution():
    generator = np.random.default_rng(1)
    shares = [Mixup(alpha=0.4).mix(images_of(2), generator).share for _ in range(2000)]
    assert np.mean(shares) == pytest.approx(0.5, abs=0.04)
    assert np.var(shares) == pytest.approx(1 / (4 * (2 * 0.4 + 1)), rel=0.1)
