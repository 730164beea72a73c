"""What a fingerprint depends on, and what it ignores."""

from __future__ import annotations

import pytest

from calkd_edge.engine.stage import Stage


def stage(**changes):
    given = {
        "name": "s",
        "path": "some.module:run",
        "version": 1,
        "params": {"a": 1, "b": [0.1, None]},
        **changes,
    }
    return Stage(**given)


SOURCE = stage(params={"source": 1})


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "another.module:run"},
        {"version": 2},
        {"params": {"a": 2, "b": [0.1, None]}},
        {"params": {"a": 1, "b": [0.1, None], "c": None}},
        {"inputs": {"data": SOURCE}},
    ],
    ids=["import path", "version", "param", "further param", "input"],
)
def test_fingerprint_changes_with_everything_that_determines_the_folder(changes):
    assert stage(**changes).fingerprint != stage().fingerprint


def test_fingerprint_changes_with_the_role_and_the_identity_of_an_input():
    base = stage(inputs={"data": SOURCE})
    assert stage(inputs={"model": SOURCE}).fingerprint != base.fingerprint
    assert stage(inputs={"data": stage(params={"source": 2})}).fingerprint != base.fingerprint


@pytest.mark.parametrize(
    "changes",
    [
        {"locations": {"root": "/elsewhere", "accelerator": "cuda"}},
        {"name": "called otherwise"},
        {"parallel": True},
        {"measures": True},
        {"params": {"b": [0.1, None], "a": 1}},
    ],
    ids=["places", "name", "parallel", "measures", "order of params"],
)
def test_fingerprint_ignores_where_and_how_a_stage_runs(changes):
    assert stage(**changes).fingerprint == stage().fingerprint


def test_fingerprint_follows_a_change_far_above():
    def chain(seed):
        first = stage(params={"seed": seed})
        return stage(inputs={"above": stage(inputs={"above": first})})

    assert chain(1).fingerprint != chain(2).fingerprint


def test_fingerprint_refuses_a_number_that_json_cannot_hold():
    with pytest.raises(ValueError):
        _ = stage(params={"lr": float("nan")}).fingerprint


def test_ancestors_are_all_stages_above():
    middle = stage(inputs={"above": SOURCE})
    names = [item.params for item in stage(inputs={"a": middle, "b": SOURCE}).ancestors()]
    assert middle.params in names
    assert SOURCE.params in names
