"""How long OpenMP's waiting threads spin: by what else computes on the machine, never against the user."""

from __future__ import annotations

import os
from itertools import cycle

import pytest

from calkd_edge.files.environment import SPINS, TURNS_ALONE, TURNS_BESIDE_OTHERS, set_waiting


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([1], TURNS_ALONE),
        ([2], TURNS_BESIDE_OTHERS),
        ([3, 2, 4], TURNS_BESIDE_OTHERS),
        ([3, 1, 1], TURNS_ALONE),  # one that ran for a moment
    ],
)
def test_wait_is_long_only_where_nothing_else_computes(monkeypatch, counts, expected):
    monkeypatch.setenv(SPINS, "restored afterwards")
    monkeypatch.delenv(SPINS)
    following = cycle(counts)
    set_waiting(lambda: next(following))
    assert os.environ[SPINS] == expected


def test_wait_is_short_where_nobody_can_tell(monkeypatch):
    monkeypatch.setenv(SPINS, "restored afterwards")
    monkeypatch.delenv(SPINS)

    def hidden():
        raise FileNotFoundError("/proc/loadavg")

    set_waiting(hidden)
    assert os.environ[SPINS] == TURNS_BESIDE_OTHERS


def test_users_wait_stays(monkeypatch):
    monkeypatch.setenv(SPINS, "7")
    set_waiting(lambda: 1)
    assert os.environ[SPINS] == "7"
