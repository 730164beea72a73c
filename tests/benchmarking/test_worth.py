"""Is int8 worth it here: each verdict, and what its reason says."""

from __future__ import annotations

import pytest
from benchmark_world import FACTS, energy, file, series

from calkd_edge.benchmarking.worth import worth
from calkd_edge.records import Estimate


def judged(files, centres, facts=FACTS, runtime="onnxruntime", report=None):
    samples = {name: [series(centre, seed)] for seed, (name, centre) in enumerate(centres.items())}
    return worth(files, samples, runtime=runtime, facts=facts, report=report)


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
    for part in ("p50 1.02 ms against 2.0", "0.30 of the size", "0.25 of the energy", "module rails"):
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


def test_runs_that_do_not_decide_are_undecided():
    samples = {"fp32": [series(2.0, seed) for seed in range(3)]}
    samples["int8"] = [series(centre) for centre in (1.0, 2.5, 1.6)]
    (found,), best = worth(
        [file(), file("int8", 1.7)], samples, runtime="onnxruntime", facts=FACTS, report=None
    )
    assert found.worth == "undecided"
    assert best is None


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
