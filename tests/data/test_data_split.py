"""Shares, samples and groups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calkd_edge.data.split import identical, keep_together, quotas, take


def test_quotas_by_hand():
    # 10 of 6 + 3 + 2: shares 5.45, 2.73, 1.82; floors 5, 2, 1; the remainders .82 and .73 get the two left.
    assert quotas(np.array([6, 3, 2]), 10).tolist() == [5, 3, 2]
    assert quotas(np.array([100, 1]), 10, least=1).tolist() == [9, 1]
    assert quotas(np.array([100, 1]), 10, reserve=1).tolist() == [10, 0]


@given(
    st.lists(st.integers(0, 60), min_size=1, max_size=12).map(np.array),
    st.integers(0, 2), st.integers(0, 2), st.floats(0, 1),
)  # fmt: skip
def test_quotas_add_up_and_stay_in_bounds(available, least, reserve, fraction):
    room = np.maximum(available - reserve, 0)
    floor = np.minimum(least, room)
    total = int(floor.sum() + fraction * (room.sum() - floor.sum()))
    taken = quotas(available, total, least=least, reserve=reserve)
    assert taken.sum() == total
    assert (taken >= floor).all()
    assert (taken <= room).all()
    if least == reserve == 0 and total:
        assert np.abs(taken - total * available / available.sum()).max() < 1


def test_too_many_are_refused_with_numbers():
    with pytest.raises(ValueError, match="0 to 4 are possible"):
        quotas(np.array([3, 3]), 5, reserve=1)


@given(
    st.lists(st.integers(0, 4), min_size=10, max_size=80).map(np.array), st.integers(0, 9), st.integers(0, 5)
)
def test_a_sample_and_its_rest_make_up_the_pool(labels, total, seed):
    pool = np.flatnonzero(labels < 4)
    total = min(total, len(pool))
    sample, rest = take(pool, labels, total, np.random.default_rng(seed))
    again, _ = take(pool, labels, total, np.random.default_rng(seed))
    assert sorted([*sample, *rest]) == pool.tolist()
    assert len(sample) == total
    assert (sample == again).all()


def test_identical_rows_are_grouped():
    assert identical({0: b"a", 3: b"b", 1: b"a", 2: b"c", 5: b"b"}) == [[0, 1], [3, 5]]


@given(st.data())
def test_no_group_is_on_two_sides_and_sizes_stay(data):
    count = data.draw(st.integers(30, 60))
    labels = np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
    order = np.array(data.draw(st.permutations(range(count))))
    sides = {
        "train": np.sort(order[:20]),
        "calibration": np.sort(order[20:26]),
        "test": np.sort(order[26:30]),
    }
    rows = data.draw(st.permutations(range(count)))
    groups = [sorted(rows[0:2]), sorted(rows[2:5])]
    kept, moved = keep_together(sides, groups, labels, np.random.default_rng(1))
    everything = np.sort(np.concatenate(list(kept.values())))
    assert (everything == np.sort(order[:30])).all()
    for group in groups:
        assert sum(bool(set(group) & set(rows.tolist())) for rows in kept.values()) <= 1
    assert 0 <= moved <= 2
    shortfall = len(sides["calibration"]) + len(sides["test"]) - len(kept["calibration"]) - len(kept["test"])
    alone = [row for row in sides["train"] if not any(row in group for group in groups)]
    if np.bincount(labels[alone], minlength=3).min() > 5:
        assert shortfall == 0


def test_a_class_keeps_its_shares_when_a_group_moves():
    labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    sides = {"train": np.array([0, 1, 2, 4, 5, 6]), "calibration": np.array([3, 7])}
    kept, moved = keep_together(sides, [[0, 3]], labels, np.random.default_rng(0))
    assert moved == 1
    assert {0, 3} <= set(kept["train"].tolist())
    assert labels[kept["calibration"]].tolist() == [0, 1]
