"""The order of training images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calkd_edge.data.loader import balanced, batches, epoch_order


@given(st.integers(0, 300), st.integers(0, 2**32), st.integers(0, 10_000))
def test_an_epoch_has_every_image_once_in_a_new_order(count, seed, epoch):
    order = epoch_order(count, seed=seed, epoch=epoch)
    assert sorted(order.tolist()) == list(range(count))
    assert order.dtype == np.int64
    assert (order == epoch_order(count, seed=seed, epoch=epoch)).all()
    if count > 50:
        assert (order != epoch_order(count, seed=seed, epoch=epoch + 1)).any()
        assert (order != epoch_order(count, seed=seed + 1, epoch=epoch)).any()


def test_the_order_is_that_of_published_runs():
    assert epoch_order(10, seed=17, epoch=3).tolist() == [7, 1, 9, 8, 5, 2, 4, 6, 3, 0]


@given(st.integers(0, 200), st.integers(1, 33))
def test_batches_are_the_order_without_a_single_last_image(count, size):
    order = np.random.default_rng(0).permutation(count)
    pieces = list(batches(order, size))
    left_out = int(count % size == 1 and size > 1)
    assert np.concatenate([*pieces, order[count - left_out :]]).tolist() == order.tolist()
    assert all(len(piece) == size for piece in pieces[:-1])
    assert size == 1 or all(len(piece) > 1 for piece in pieces)


def test_an_empty_batch_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        list(batches(np.arange(3), 0))


def drawn(labels, epoch, seed=1):
    order = epoch_order(len(labels), seed=seed, epoch=epoch)
    return balanced(order, labels, seed=seed, epoch=epoch)


def test_balanced_order_shows_every_class_equally_often_and_other_images_of_the_frequent_one():
    labels = np.repeat([0, 1, 2], [80, 15, 5])
    orders = [drawn(labels, epoch) for epoch in range(4)]
    for order in orders:
        assert len(order) == 100
        assert set(np.bincount(labels[order])) <= {33, 34}
        assert np.bincount(labels[order[:30]]).min() == 10
    assert len(np.unique(np.concatenate(orders))) > 80


def test_balanced_order_is_a_function_of_seed_and_epoch():
    labels = np.repeat(np.arange(20), 30)
    assert (drawn(labels, 3) == drawn(labels, 3)).all()
    assert (drawn(labels, 3) != drawn(labels, 4)).any()
    assert (drawn(labels, 3) != drawn(labels, 3, seed=2)).any()
    assert drawn(np.repeat(np.arange(3), 4), 0).tolist() == [4, 10, 1, 8, 5, 3, 2, 6, 11, 0, 9, 7]


@pytest.mark.parametrize(("classes", "size", "processes"), [(100, 50, 1), (1000, 64, 1), (10, 10, 2)])
def test_balanced_steps_and_their_shares_are_of_no_block_of_classes(classes, size, processes):
    """Classes in the same order in every round put half of them in every other step, or on one process."""
    labels = np.repeat(np.arange(classes), 40)
    steps = list(batches(drawn(labels, 0), size))
    assert all(len(np.unique(labels[step])) == size for step in steps[: classes // size])
    share = size // processes
    for rank in range(processes):
        own = [labels[step[rank * share : (rank + 1) * share]] for step in steps]
        assert len(np.unique(np.concatenate(own))) == classes
        spread = np.mean([np.std(classes_of) for classes_of in own])
        assert spread == pytest.approx(np.std(np.arange(classes)), rel=0.15), "as of classes by chance"
    assert len({tuple(sorted(labels[step[: size // 2]])) for step in steps}) > len(steps) // 2
