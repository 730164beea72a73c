"""What to ship: the gates decide first, then time, then size."""

from __future__ import annotations

import pytest
from release_world import facts

from calkd_edge.recipe.schema import GateSection
from calkd_edge.release.gates.verdict import judge
from calkd_edge.release.recommendation import recommendations

DEVICES = {"local": facts()}


def shipped(maker, *rows, gates=(), **other):
    """The recommendation for files given as (precision, p50, size)."""
    same = maker.predictions()
    world = [maker.evidence(same, precision=p, p50=p50, size=size, **other) for p, p50, size in rows]
    verdict = judge([GateSection(metric="top1", min=0.2), *gates], world)
    measured = [item.measurement for item in world]
    (one,) = recommendations(measured, verdict.gates, verdict.verdict, DEVICES)
    return one


FP32, SLOW_INT8, FAST_INT8 = ("fp32", 4.0, 9_000_000), ("int8", 6.0, 3_000_000), ("int8", 2.0, 3_000_000)


def test_the_faster_file_is_recommended_whatever_its_size(maker):
    one = shipped(maker, FP32, SLOW_INT8)
    assert (one.precision, one.file) == ("fp32", "student.fp32.onnx")
    assert one.others == ("int8 saves 67 % of the file and takes 1.50 times as long",)
    assert one.sentence.startswith("Ship student.fp32.onnx on local (")
    assert shipped(maker, FP32, FAST_INT8).precision == "int8"


def test_another_runtime_of_the_device_is_named_where_it_is_faster_or_was_not_measured(maker):
    same = maker.predictions()
    world = [
        maker.evidence(same, precision="fp32", p50=p50, runtime=runtime)
        for runtime, p50 in (("onnxruntime", 4.0), ("openvino", 2.0))
    ]
    here = {
        "local": facts().model_copy(
            update={"runtimes": dict.fromkeys(("onnxruntime", "openvino", "litert"), "1")}
        )
    }
    verdict = judge([GateSection(metric="top1", min=0.2)], world)
    slow, fast = recommendations([item.measurement for item in world], verdict.gates, verdict.verdict, here)
    assert slow.runtimes == (
        "openvino is faster here: fp32 takes 0.50 of the time. "
        "litert is on this device and was not measured: --device local:litert."
    )
    assert fast.runtimes == ""


def test_of_files_that_are_equally_fast_the_smaller_one_is_recommended(maker):
    one = shipped(maker, FP32, ("fp16", 4.02, 4_500_000))
    assert one.precision == "fp16"
    assert one.others == ("fp32 is 2.0 times as large and takes no measurably other time",)


@pytest.mark.parametrize("other", [{"emulated": True}, {}])
def test_without_times_the_size_decides(maker, other):
    rows = [(p, 1.0 if other else None, size) for p, _, size in (FP32, SLOW_INT8)]
    assert shipped(maker, *rows, **other).precision == "int8"


def test_a_file_whose_gates_failed_is_never_recommended(maker):
    limit = GateSection(metric="latency_p50_ms", max=5.0, precision="int8")
    one = shipped(maker, FP32, SLOW_INT8, gates=[limit])
    assert one.precision is None
    assert one.sentence.startswith("Nothing ships as it stands, since the release has failed; fp32 passed")
    assert "int8 failed latency_p50_ms" in one.sentence
    both = shipped(maker, FP32, SLOW_INT8, gates=[GateSection(metric="top1", min=0.99)])
    assert both.sentence.startswith("Nothing to ship on local")


def test_nothing_is_shipped_yet_only_where_every_file_is_undecided(maker):
    value = maker.evidence(maker.predictions()).measurement.quality.top1.value
    one = shipped(maker, FP32, gates=[GateSection(metric="top1", min=value)])
    assert one.sentence.startswith("Nothing can be shipped yet on local")
    untimed = GateSection(metric="latency_p50_ms", max=5.0)
    gone = shipped(maker, ("fp32", None, 9_000_000), gates=[untimed])
    assert gone.sentence.startswith("Nothing to ship on local")
    assert "fp32 is unmeasured in latency_p50_ms" in gone.sentence


def test_open_gates_are_named_with_class_threshold_and_the_largest_sample(maker):
    world = [maker.evidence(maker.predictions(images=200), precision=p) for p in ("fp32", "int8")]
    gates = [
        GateSection(metric="top1", min=0.2),
        GateSection(metric="coverage_shift", within=0.01, threshold=0.8),
        GateSection(metric="coverage_shift", within=0.005, threshold=0.5),
        GateSection(metric="top1_of_class", min=0.75, of_class="cat"),
    ]
    results = judge(gates, world).gates
    (one,) = recommendations([item.measurement for item in world], results, "undecided", DEVICES)
    of_class = next(gate for gate in results if gate.of_class == "cat")
    assert "images of cat are needed" in of_class.needed
    assert one.sentence.endswith(
        "int8 is undecided in coverage_shift at 0.8, coverage_shift at 0.5, top1_of_class cat "
        f"(542 images are needed even with no disagreement; {of_class.needed})."
    )


def test_a_file_that_no_gate_judges_is_called_that(maker):
    same = maker.predictions()
    world = [maker.evidence(same), maker.evidence(same, device="pi")]
    verdict = judge([GateSection(metric="top1", min=0.2, device="pi")], world)
    measured = [item.measurement for item in world]
    one, _ = recommendations(measured, verdict.gates, verdict.verdict, DEVICES)
    assert one.sentence.startswith("Ship student.fp32.onnx, which no gate judges, on local")


def test_a_file_whose_accuracy_no_gate_has_judged_does_not_ship_on_that_of_another(maker):
    good, poor = maker.predictions(noise=0.2), maker.predictions(noise=6.0)
    world = [maker.evidence(good), maker.evidence(poor, precision="int8", p50=1.0)]
    of_fp32 = GateSection(metric="top1", min=0.2, precision="fp32")
    small = GateSection(metric="size_bytes", max=1e9)
    verdict = judge([of_fp32, small], world)
    (one,) = recommendations([item.measurement for item in world], verdict.gates, verdict.verdict, DEVICES)
    assert verdict.verdict == "undecided"
    assert one.precision is None
    assert "int8 is undecided in top1 (a gate such as" in one.sentence
    drop = GateSection(metric="top1_drop", max=0.9)
    assert judge([of_fp32, small, drop], world).verdict == "passed", "fp32 was judged, int8 beside it"


def test_time_is_compared_over_processes_as_benchmark_compares_it(maker):
    same, medians = maker.predictions(), {"fp32": (2.0, 2.0, 2.9), "int8": (1.0, 1.0, 3.1)}
    world = []
    for precision, p50, size in (FP32, FAST_INT8):
        item = maker.evidence(same, precision=precision, p50=p50, size=size)
        latency = item.measurement.latency_ms.model_copy(update={"process_p50_ms": medians[precision]})
        world.append(item.measurement.model_copy(update={"latency_ms": latency}))
    (one,) = recommendations(world, (), "passed", DEVICES)
    assert one.precision == "int8", "equally fast, as far as three processes tell, and smaller"
    assert one.others == ("fp32 is 3.0 times as large and takes no measurably other time",)


def test_a_smoke_run_recommends_nothing(maker):
    row = maker.evidence(maker.predictions()).measurement
    assert recommendations([row], [], "smoke", DEVICES) == ()
