"""Is int8 worth it here: each verdict, and what its reason says."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from benchmark_world import FACTS, energy, file, series

from calkd_edge.benchmarking.worth import worth
from calkd_edge.records import Estimate, GateResult, Paced


def judged(files, centres, facts=FACTS, runtime="onnxruntime", report=None, doubts=()):
    samples = {name: [series(centre, seed)] for seed, (name, centre) in enumerate(centres.items())}
    return worth(files, samples, device="pi", runtime=runtime, facts=facts, report=report, doubts=doubts)


def test_half_the_time_is_worth_it_and_the_reason_tells_price_and_gain():
    files = [
        file("fp32", top1=Estimate(value=0.72, low=0.7, high=0.74), energy=energy(0.010, 0.004)),
        file("int8", 1.0, top1=Estimate(value=0.71, low=0.69, high=0.73), energy=energy(0.006, 0.001)),
    ]
    files = [one.model_copy(update={"measured_on": "pi:litert"}) for one in files]
    (found,), best = judged(files, {"fp32": 2.0, "int8": 1.0})
    assert found.worth == "yes"
    assert best == "int8"
    assert found.energy_ratio == pytest.approx(0.25), "idle is taken off"
    assert found.size_ratio == pytest.approx(0.3)
    for part in ("1.02 ms against 2.0", "0.30 of the size", "0.25 of the energy", "module rails"):
        assert part in found.reason
    assert "top-1 71.0 % against 72.0 % (on pi:litert)" in found.reason


@pytest.mark.parametrize(
    ("centre", "verdict", "words"),
    [(2.4, "no", "it is slower"), (1.97, "no", "less than 5 %")],
)
def test_little_or_no_gain_is_not_worth_it(centre, verdict, words):
    (found,), best = judged([file(), file("int8", centre)], {"fp32": 2.0, "int8": centre})
    assert (found.worth, best) == (verdict, "fp32")
    assert words in found.reason


def test_reason_of_a_slow_int8_is_the_processor_where_it_lacks_the_instructions():
    old = FACTS.model_copy(update={"isa": ("avx2",), "machine": "x86_64"})
    (found,), _ = judged([file(), file("int8", 2.4)], {"fp32": 2.0, "int8": 2.4}, facts=old)
    assert "no VNNI or dot-product int8 instructions" in found.reason


def test_doubtful_times_give_no_verdict_unless_accuracy_alone_decides():
    doubts = ("other work used 1.0 cores during the runs",)
    (found,), best = judged([file(), file("int8", 1.0)], {"fp32": 2.0, "int8": 1.0}, doubts=doubts)
    assert (found.worth, best) == ("undecided", None)
    assert found.reason.startswith("the times do not decide: other work used 1.0 cores")
    poor = [scored_file("fp32", 0.72), scored_file("int8", 0.60)]
    (found,), _ = judged(poor, {"fp32": 2.0, "int8": 1.0}, doubts=doubts)
    assert found.worth == "no"


def scored_file(precision, top1):
    return file(precision, top1=Estimate(value=top1, low=top1 - 0.01, high=top1 + 0.01))


def test_sentence_gives_the_times_whose_quotient_is_the_ratio():
    """The slowest process of each would say the contrary: 3.0 ms against 2.9 ms."""
    samples = {"fp32": [series(centre) for centre in (2.0, 2.0, 2.9)]}
    samples["int8"] = [series(centre) for centre in (1.0, 1.0, 3.0)]
    (found,), _ = worth(
        [file(), file("int8", 1.7)], samples, device="pi", runtime="onnxruntime", facts=FACTS, report=None
    )
    own, plain = (float(text.split(" ms")[0].split()[-1]) for text in found.reason.split(" against ")[:2])
    assert own / plain == pytest.approx(found.ratio.value, rel=0.01)


def test_runs_that_do_not_decide_are_undecided():
    samples = {"fp32": [series(2.0, seed) for seed in range(3)]}
    samples["int8"] = [series(centre) for centre in (1.0, 2.5, 1.6)]
    (found,), best = worth(
        [file(), file("int8", 1.7)], samples, device="pi", runtime="onnxruntime", facts=FACTS, report=None
    )
    assert found.worth == "undecided"
    assert best is None


def scored(top1: float, ece: float, half: float = 0.002) -> list:
    """fp32 at 72 % with an ECE of 1.5 %, and an int8 twice as fast; each known to `half` an interval."""
    figures = {"fp32": (0.72, 0.015), "int8": (top1, ece)}
    return [
        file(
            name,
            centre,
            top1=Estimate(value=figures[name][0], low=figures[name][0] - half, high=figures[name][0] + half),
            ece=Estimate(value=figures[name][1], low=figures[name][1] - half, high=figures[name][1] + half),
        )
        for name, centre in (("fp32", 2.0), ("int8", 1.0))
    ]


@pytest.mark.parametrize(
    ("top1", "ece", "words"),
    [(0.705, 0.015, "it loses 1.5 points of top-1"), (0.72, 0.04, "it gains 2.5 points of ECE")],
)
def test_twice_as_fast_is_not_worth_a_model_that_is_wrong_or_too_sure(top1, ece, words):
    (found,), best = judged(scored(top1, ece), {"fp32": 2.0, "int8": 1.0})
    assert (found.worth, best) == ("no", "fp32")
    assert words in found.reason


def test_what_may_be_chance_is_undecided():
    (found,), best = judged(scored(0.70, 0.015, half=0.015), {"fp32": 2.0, "int8": 1.0})
    assert (found.worth, best) == ("undecided", None)
    assert "a gate on it in the recipe decides" in found.reason


def test_figures_of_two_devices_are_not_compared():
    plain, own = scored(0.60, 0.10)
    files = [plain, own.model_copy(update={"measured_on": "pi:litert"})]
    (found,), _ = judged(files, {"fp32": 2.0, "int8": 1.0})
    assert found.worth == "yes"


def gate(metric: str, result: str, measurement: str) -> GateResult:
    edges = dict.fromkeys(("value", "low", "high"), 0.0)
    told = {"metric": metric, "measurement": measurement, "result": result, "limit": "x", "sentence": "x"}
    return GateResult.model_validate({**told, **edges, "level": 0.95})


def report_of(one, *devices):
    """A report with that gate, of a student that was measured in int8 on devices NAME:RUNTIME."""
    measured = [
        SimpleNamespace(
            model="student",
            precision="int8",
            device=name,
            runtime=runtime,
            label=f"student int8 on {name}",
        )
        for name, runtime in (device.split(":") for device in devices)
    ]
    return SimpleNamespace(gates=(one,), measurements=measured)


@pytest.mark.parametrize(
    ("place", "devices"),
    [
        ("pi", ["local:litert", "pi:onnxruntime"]),
        ("pi:onnxruntime", ["pi:litert", "pi:onnxruntime"]),
    ],
)
def test_the_recipes_own_gate_says_how_much_may_be_lost(place, devices):
    for result, verdict in (("passed", "yes"), ("failed", "no")):
        report = report_of(gate("top1_drop", result, f"student int8 on {place}"), *devices)
        (found,), _ = judged(scored(0.70, 0.015), {"fp32": 2.0, "int8": 1.0}, report=report)
        assert found.worth == verdict
    assert "a gate failed: top1_drop" in found.reason


@pytest.mark.parametrize("result", ["undecided", "unmeasured"])
def test_an_open_gate_allows_no_loss(result):
    report = report_of(gate("top1_drop", result, "student int8 on pi"), "pi:onnxruntime")
    (judgement,), best = judged(scored(0.66, 0.015, half=0.1), {"fp32": 2.0, "int8": 1.0}, report=report)
    assert (judgement.worth, best) == ("undecided", None)
    assert judgement.reason.startswith(f"the gate top1_drop is {result}")
    (judgement,), _ = judged(scored(0.66, 0.015), {"fp32": 2.0, "int8": 1.0}, report=report)
    assert judgement.worth == "no", "it surely loses more than a gate is needed for"


def test_missed_ticks_recommend_nothing():
    late = Paced(rate_hz=30, held_hz=12, ticks=1000, missed=400, late_p95_ms=1, late_max_ms=2)
    slow = [file("fp32", paced=late), file("int8", 1.0, paced=late)]
    (judgement,), best = judged(slow, {"fp32": 60.0, "int8": 40.0})
    assert (judgement.worth, best) == ("no", None)
    assert judgement.reason.startswith("it missed 400 of 1000 ticks at 30 Hz")


@pytest.mark.parametrize(
    ("place", "devices"),
    [
        ("local", ["local:onnxruntime", "pi:onnxruntime"]),
        ("pi", ["pi:litert"]),  # another runtime, the only one that the run measured
        ("pi:litert", ["pi:litert", "pi:onnxruntime"]),
        ("pi2", ["pi2:onnxruntime"]),
    ],
)
def test_a_gate_that_failed_elsewhere_says_nothing_here(place, devices):
    report = report_of(gate("latency_p95_ms", "failed", f"student int8 on {place}"), *devices)
    (found,), _ = judged([file(), file("int8", 1.0)], {"fp32": 2.0, "int8": 1.0}, report=report)
    assert found.worth == "yes"


def test_emulated_device_is_told_and_no_ratio_is():
    files = [file(emulated=True, latency_ms=None), file("int8", emulated=True, latency_ms=None)]
    (found,), best = judged(files, {"fp32": 2.0, "int8": 1.0})
    assert (found.worth, found.ratio, best) == ("emulated", None, None)
    assert " ms" not in found.reason
    assert "of the time" not in found.reason


def test_without_fp32_nothing_is_said():
    assert judged([file("int8")], {"int8": 1.0}) == ((), None)


def test_fastest_of_those_that_pay_is_taken():
    files = [file(), file("fp16", 1.2), file("int8", 1.5)]
    found, best = judged(files, {"fp32": 2.0, "fp16": 1.2, "int8": 1.5})
    assert [one.worth for one in found] == ["yes", "yes"]
    assert best == "fp16"


def test_net_energy_that_is_not_above_idle_gives_no_ratio():
    files = [file(energy=energy(0.01, -0.001)), file("int8", 1.0, energy=energy(0.01, 0.002))]
    (found,), _ = judged(files, {"fp32": 2.0, "int8": 1.0})
    assert found.energy_ratio is None
