"""What may be compared with an earlier benchmark, and what is said of it."""

from __future__ import annotations

import contextlib
import json

import pytest
from benchmark_world import FACTS, benchmark, file

from calkd_edge.benchmarking.baseline import (
    Baseline,
    changed_version,
    check_against_baseline,
    check_comparable,
    compared,
    read_baseline,
)
from calkd_edge.benchmarking.caveats import doubts_of_record
from calkd_edge.errors import GateFailed, GateUndecided, RecipeError
from calkd_edge.records import Ratio

NOW = {
    "facts": FACTS,
    "runtime": "tensorrt",
    "version": "10.3.0",
    "threads": 1,
    "rate_hz": None,
    "soak_s": None,
    "precisions": ["fp32", "int8"],
}


def comparable(tmp_path, *, then=None, now=None):
    baseline = Baseline(tmp_path / "benchmark.json", benchmark(**(then or {})))
    return check_comparable(baseline, **{**NOW, **(now or {})})


def facts(**changed):
    return FACTS.model_copy(update=changed)


def test_alike_is_comparable_and_the_common_precisions_are_named(tmp_path):
    assert comparable(tmp_path) == ["fp32", "int8"]
    assert comparable(tmp_path, now={"precisions": ["int8", "fp16"]}) == ["int8"]
    assert comparable(tmp_path, now={"version": "10.16.1"}) == ["fp32", "int8"], "same major version"


@pytest.mark.parametrize(
    ("then", "now", "words"),
    [
        ({"scope": "infer"}, {}, "scope e2e, baseline infer"),
        ({}, {"facts": facts(power_mode="MAXN")}, "power mode MAXN, baseline 15W"),
        ({}, {"facts": facts(power_mode=None)}, "power mode None, baseline 15W"),
        ({}, {"facts": facts(board="another board")}, "board another board, baseline a board"),
        ({}, {"facts": facts(cpu="another")}, "processor aarch64 another"),
        ({"runtime": "onnxruntime"}, {}, "runtime tensorrt, baseline onnxruntime"),
        ({"runtime_version": "11.4.1"}, {}, "tensorrt 10.3.0, baseline 11.4.1: another major version"),
        ({"threads": 2}, {}, "threads 1, baseline 2"),
        ({"rate_hz": 30.0}, {}, "rate back to back, baseline 30 Hz"),
        ({}, {"rate_hz": 30.0}, "rate 30 Hz, baseline back to back"),
        ({"soak_s": 600.0}, {}, "soak none, baseline 600 s"),
        ({}, {"precisions": ["fp16"]}, "it has fp32, int8, not fp16"),
        ({}, {"facts": facts(emulated=True)}, "emulated"),
        ({"facts": facts(emulated=True)}, {}, "emulated"),
    ],
)
def test_what_differs_is_refused_by_name(tmp_path, then, now, words):
    with pytest.raises(RecipeError) as refused:
        comparable(tmp_path, then=then, now=now)
    assert words in refused.value.message
    assert "benchmark.json" in refused.value.message
    assert refused.value.remedy
    assert refused.value.exit_code == 2


def test_all_that_differs_is_said_at_once(tmp_path):
    with pytest.raises(RecipeError, match=r"power mode .*threads .*rate"):
        comparable(tmp_path, now={"facts": facts(power_mode="MAXN"), "threads": 4, "rate_hz": 10.0})


@pytest.mark.parametrize(
    ("low", "value", "high", "verdict", "words"),
    [
        (1.08, 1.1, 1.12, "worse", "1.10 of the time"),
        (0.8, 0.85, 0.9, "better", "0.85 of the time"),
        (1.01, 1.03, 1.04, "unchanged", "no difference of 5 %"),
        (1.01, 1.04, 1.08, "inconclusive", "do not decide"),
        (0.9, 1.2, 1.5, "inconclusive", "do not decide"),
        (0.99, 1.0, 1.01, "unchanged", "no difference of 5 %"),
    ],
)
def test_verdict_needs_an_interval_without_one_and_a_change_that_is_felt(low, value, high, verdict, words):
    found = compared("int8", Ratio(value=value, low=low, high=high, processes=3), interleaved=True)
    assert found.verdict == verdict
    assert words in found.reason


@pytest.mark.parametrize(
    ("then", "doubts"),
    [
        ({}, ("one process alone",)),
        ({"processes": 3}, ()),
        (
            {"processes": 3, "others_cores": 0.6},
            ("other work used 0.6 cores during the runs of the baseline",),
        ),
        ({"processes": 3, "others_cores": 0.1}, ()),
    ],
)
def test_doubts_about_recorded_samples_are_those_of_their_record(then, doubts):
    reasons = doubts_of_record(benchmark(**then), "int8", {"threads": 1, "tensorrt": "10.4.0"})
    assert len(reasons) == len(doubts)
    assert all(reason.startswith(doubt) for reason, doubt in zip(reasons, doubts, strict=True))


def test_recorded_samples_that_were_throttled_do_not_decide():
    then = benchmark(processes=3, files=(file("int8", throttled=("oc1 +40",)),))
    assert doubts_of_record(then, "int8", {}) == ("the baseline's int8 was throttled: oc1 +40",)
    assert doubts_of_record(then, "fp32", {}) == ()


def test_recorded_samples_of_other_options_do_not_decide():
    then = benchmark(processes=3, files=(file("int8", session_options={"optimization": "none"}),))
    assert doubts_of_record(then, "int8", {"optimization": "all"}) == (
        "the baseline ran with optimization none, this file with all",
    )


def test_no_benchmark_is_a_usage_error(tmp_path):
    with pytest.raises(RecipeError, match="No such file"):
        read_baseline(tmp_path / "missing.json")
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"name": "tiny"}))
    with pytest.raises(RecipeError, match="is not a benchmark"):
        read_baseline(path)
    newer = json.loads(benchmark().model_dump_json()) | {"schema_version": 2}
    path.write_text(json.dumps(newer))
    with pytest.raises(RecipeError, match="schema_version"):
        read_baseline(path)


def test_folder_names_its_json(tmp_path):
    (tmp_path / "benchmark.json").write_text(benchmark().model_dump_json())
    assert read_baseline(tmp_path).record == benchmark()


@pytest.mark.parametrize(
    ("ratios", "error"),
    [
        ([(1.2, 1.1, 1.3), (1.0, 0.99, 1.01)], GateFailed),
        ([(1.2, 0.9, 1.5), (1.0, 0.99, 1.01)], GateUndecided),
        ([(0.7, 0.6, 0.8), (1.0, 0.99, 1.01)], None),
    ],
)
def test_pipeline_fails_on_what_is_surely_worse(ratios, error):
    against = tuple(
        compared(name, Ratio(value=value, low=low, high=high, processes=3), interleaved=True)
        for name, (value, low, high) in zip(("int8", "fp16"), ratios, strict=True)
    )
    with pytest.raises(error) if error else contextlib.nullcontext():
        check_against_baseline(benchmark().model_copy(update={"against": against}))


def test_times_in_doubt_decide_nothing_even_where_they_agree():
    ratio = Ratio(value=1.0, low=0.99, high=1.01, processes=3)
    doubted = compared("int8", ratio, interleaved=True, doubts=["other work used 1.0 cores"])
    with pytest.raises(GateUndecided, match="other work used"):
        check_against_baseline(benchmark().model_copy(update={"against": (doubted,)}))


def test_change_of_the_runtime_is_named(tmp_path):
    record = benchmark()
    baseline = Baseline(tmp_path, record)
    assert changed_version(baseline, record.runtime, record.runtime_version) == []
    (sentence,) = changed_version(baseline, record.runtime, "9.9.9")
    assert f"is 9.9.9 and was {record.runtime_version} for the baseline" in sentence
