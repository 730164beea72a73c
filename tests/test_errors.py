"""Exit codes and their precedence, and the nearest name."""

from __future__ import annotations

import inspect

import pytest

import calkd_edge
from calkd_edge import errors
from calkd_edge.engine.store import Store
from calkd_edge.errors import PRECEDENCE, CalkdError, RecipeError, StageFailed, did_you_mean, worst_exit

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, CalkdError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_carries_its_message_its_remedy_and_a_known_code(kind):
    error = kind("what happened", remedy="what to do")
    assert (error.message, error.remedy, str(error)) == ("what happened", "what to do", "what happened")
    assert error.exit_code in PRECEDENCE
    with pytest.raises(TypeError):
        kind("no remedy")


def test_codes_are_those_that_scripts_rely_on():
    codes = {kind.__name__: kind.exit_code for kind in KINDS}
    assert codes == {
        "CalkdError": 1,
        "RecipeError": 2,
        "GateFailed": 3,
        "GateUndecided": 4,
        "DeviceError": 5,
        "EnvironmentProblem": 6,
        "StoreError": 6,
        "StageFailed": 7,
    }


@pytest.mark.parametrize(
    ("codes", "worst"),
    [
        ([], 0),
        ([0], 0),
        ([4, 3], 3),
        ([3, 5, 4], 5),
        ([5, 7], 7),
        ([7, 6], 6),
        ([6, 2], 2),
        ([2, 1, 130], 130),
    ],
)
def test_the_most_telling_code_of_a_run_wins(codes, worst):
    assert worst_exit(codes) == worst


def test_stage_failed_names_its_stage_when_it_is_known():
    assert StageFailed("m", remedy="r").stage is None
    assert StageFailed("m", remedy="r", stage="distill").stage == "distill"


def test_nearest_name_is_offered_and_a_far_one_is_not():
    assert did_you_mean("mobilnet_v2", ["mobilenet_v2", "resnet20"]) == "Did you mean 'mobilenet_v2'? "
    assert did_you_mean("zzz", ["mobilenet_v2", "resnet20"]) == ""


@pytest.mark.parametrize(
    "call",
    [
        lambda: calkd_edge.plan("quickstart", devices="local:openvino"),
        lambda: calkd_edge.plan("quickstart", overrides="distill.epochs=3"),
        lambda: calkd_edge.benchmark("m.onnx", precisions="int8"),
    ],
)
def test_a_text_where_a_list_belongs_is_refused(call):
    with pytest.raises(RecipeError, match="one text where several may stand") as refused:
        call()
    assert refused.value.remedy.startswith("Write ")


def test_a_store_is_not_emptied_because_nothing_was_named(tmp_path):
    Store(tmp_path)
    with pytest.raises(RecipeError, match="no recipe is kept"):
        calkd_edge.collect_store([], store=tmp_path)
