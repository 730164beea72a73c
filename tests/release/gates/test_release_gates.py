"""Gates: outcomes, reasons, sample sizes that would decide, and gates that are refused."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
import scipy
from release_world import latency, other_images, unknown
from tiny_run import recipe_with

from calkd_edge.errors import RecipeError
from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics.latency import p50_ratio
from calkd_edge.pipeline.checks import check as pipeline_check
from calkd_edge.recipe.schema import DeviceSection, GateSection, parse
from calkd_edge.records import Percentile, Predictions
from calkd_edge.release.gates.evidence import DataFaults, Earlier, Evidence, labels_of, paired
from calkd_edge.release.gates.metric import Metric, Reading, Span
from calkd_edge.release.gates.metrics import METRICS
from calkd_edge.release.gates.to_fp32 import compared_with_fp32
from calkd_edge.release.gates.validation import check_gates
from calkd_edge.release.gates.verdict import judge
from calkd_edge.release.report.conclusions import conclusions


def gate(metric: str, **limits) -> GateSection:
    return GateSection(metric=metric, **limits)


def only(verdict):
    """The one gate's result, beside which there may be the note that no gate judged the accuracy."""
    results = [result for result in verdict.gates if result.measurement != "student"] or verdict.gates
    assert len(results) == 1, [g.sentence for g in verdict.gates]
    return results[0]


def flipped(predictions: Predictions, rows: list[int]) -> Predictions:
    """The same model wrong on `rows`: its best class there changes places with its worst."""
    logits = predictions.logits.copy()
    best, worst = logits[rows].argmax(axis=1), logits[rows].argmin(axis=1)
    logits[rows, best], logits[rows, worst] = logits[rows, worst], logits[rows, best]
    return replace(predictions, logits=logits)


def alike(maker, images: int, precision: str = "int8", **changes) -> list[Evidence]:
    """fp32 and a copy of it under another precision."""
    same = maker.predictions(images=images)
    return [
        maker.evidence(same),
        maker.evidence(changes.pop("predictions", same), precision=precision, **changes),
    ]


def test_an_interval_inside_the_limit_passes_outside_fails_and_across_is_undecided(maker):
    fp32 = maker.evidence(maker.predictions())
    outcomes = {limit: only(judge([gate("top1", min=limit)], [fp32])).result for limit in (0.3, 0.95)}
    assert outcomes == {0.3: "passed", 0.95: "failed"}
    value = fp32.measurement.quality.top1.value
    assert only(judge([gate("top1", min=value)], [fp32])).result == "undecided"


def test_a_sentence_says_metric_measurement_interval_limit_and_outcome(maker):
    sentence = only(judge([gate("top1_drop", max=0.01)], alike(maker, 1000))).sentence
    expected = (
        "top1_drop of student int8 on local: 0.00 % [-0.27 %, 0.27 %] over 1,000 images, "
        "limit at most 1 %: passed"
    )
    assert sentence == expected


def test_no_disagreement_on_too_few_images_is_undecided_and_names_the_images_it_needs(maker):
    result = only(judge([gate("top1_drop", max=0.01)], alike(maker, 200)))
    assert result.result == "undecided"
    assert "271 images are needed even with no disagreement" in result.sentence
    assert only(judge([gate("top1_drop", max=0.01)], alike(maker, 268))).result == "passed"


def test_top1_drop_is_reference_minus_candidate_and_paired_by_index(maker):
    base = maker.predictions()
    right = np.flatnonzero(scores.top1(base.logits) == base.labels)[:400].tolist()
    worse = flipped(base, right)
    order = np.random.default_rng(0).permutation(len(worse.labels))
    mixed = Predictions(worse.logits[order], worse.labels[order], worse.indices[order])
    result = only(judge([gate("top1_drop", max=0.05)], alike(maker, 4000, predictions=mixed)))
    assert result.value == pytest.approx(0.1)
    assert result.result == "failed"


def test_models_are_compared_on_their_common_images_only(maker):
    a, b = maker.predictions(images=600), maker.predictions()
    shifted = Predictions(b.logits[300:], b.labels[300:], b.indices[300:])
    assert len(paired(a, shifted).labels) == 300
    assert paired(a, Predictions(b.logits[600:], b.labels[600:], b.indices[600:])) is None
    assert paired(a, replace(b, labels=(b.labels + 1) % 10)) is None


def test_nll_rise_below_300_images_is_undecided_and_above_it_decides(maker):
    assert only(judge([gate("nll_rise", max=0.5)], alike(maker, 299))).result == "undecided"
    result = only(judge([gate("nll_rise", max=0.5)], alike(maker, 300)))
    assert (result.result, result.value) == ("passed", 0)


@pytest.mark.parametrize("metric", ["nll_rise", "brier_rise"])
def test_a_worse_model_fails_the_paired_gate(maker, metric):
    worse = maker.predictions(noise=2.0, seed=8)
    assert only(judge([gate(metric, max=0.01)], alike(maker, 4000, predictions=worse))).result == "failed"


def test_a_class_that_is_lost_fails_its_gates_while_top1_passes(maker):
    base = maker.predictions()
    bees = np.flatnonzero((base.labels == 2) & (scores.top1(base.logits) == 2)).tolist()
    lost = [maker.evidence(flipped(base, bees))]
    gates = [
        gate("top1", min=0.5),
        gate("top1_of_class", min=0.5, of_class="bee"),
        gate("top1_of_class", min=0.5, of_class="cat"),
        gate("recall_worst_class", min=0.2),
    ]
    results = judge(gates, lost).gates
    assert [result.result for result in results] == ["passed", "failed", "passed", "failed"]
    assert results[1].sentence.startswith("top1_of_class bee of student fp32 on local: 0.00 %")
    assert results[1].images == (base.labels == 2).sum()
    assert results[3].value == 0.0


def test_ece_below_1000_images_is_reported_not_gated(maker):
    result = only(judge([gate("ece", max=0.5)], [maker.evidence(maker.predictions(images=999))]))
    assert result.result == "undecided"
    assert result.value is not None
    assert "reported, not gated below 1,000 images" in result.sentence


def test_an_undecided_ece_gate_names_the_images_it_needs(maker):
    sample = maker.evidence(maker.predictions(images=1500))
    result = only(judge([gate("ece", max=sample.measurement.quality.ece.high - 0.002)], [sample]))
    assert result.result == "undecided"
    assert int(re.search(r"about ([\d,]+) images", result.needed)[1].replace(",", "")) > 1500


@pytest.mark.parametrize("missing", ["latency_p50_ms", "ece"])
def test_gate_fails_when_the_metric_was_not_measured(maker, missing):
    complete = maker.evidence(maker.predictions(images=1200), p50=None)
    bare = replace(complete, measurement=complete.measurement.model_copy(update={"quality": None}))
    verdict = judge([gate(missing, max=0.5)], [bare])
    assert only(verdict).result == "unmeasured"
    assert verdict.verdict == "failed"


def test_a_gate_without_any_measurement_is_unmeasured(maker):
    fp32 = [maker.evidence(maker.predictions(images=300))]
    for limit in (gate("top1", min=0.1, device="jetson"), gate("top1", min=0.1, precision="int8")):
        verdict = judge([limit], fp32)
        assert only(verdict).result == "unmeasured"
        assert verdict.verdict == "failed"
    assert judge([gate("top1", min=0.1)], []).verdict == "failed"


def test_target_gates_apply_to_the_devices_of_the_run_and_to_none_without_them(maker):
    both = [maker.evidence(maker.predictions(images=300), device=d) for d in ("local", "jetson")]
    gates = [gate("top1", min=0.2, device="target")]
    assert only(judge(gates, both)).limit == "none"
    assert "on jetson" in only(judge(gates, both, target_devices=["jetson"])).measurement
    skipped = judge(gates, both, target_devices=["orin:tensorrt"])
    assert (only(skipped).result, skipped.verdict) == ("unmeasured", "failed")
    teacher = [gate("top1", min=0.2, device="target", model="teacher")]
    assert only(judge(teacher, both, target_devices=["jetson"])).result == "unmeasured"


def test_a_target_gate_judges_only_the_runtime_of_its_device(maker):
    p = maker.predictions(images=300)
    rows = [maker.evidence(p, runtime=runtime) for runtime in ("onnxruntime", "openvino")]
    gates = [gate("top1", min=0.2, device="target")]
    judged = only(judge(gates, rows, target_devices=["local:openvino"]))
    assert judged.measurement == "student fp32 on local:openvino"


def test_a_result_states_its_limit_as_a_number(maker):
    rows = alike(maker, 400)
    gates = [
        gate("top1", min=0.1, precision="fp32"),
        gate("size_bytes", max=1e9, precision="fp32"),
        gate("coverage_shift", within=0.01, threshold=0.8),
    ]
    bounds = [result.bound for result in judge(gates, rows).gates]
    assert bounds[:3] == [{"min": 0.1}, {"max": 1e9}, {"within": 0.01}]
    assert judge(gates, []).gates[0].bound == {"min": 0.1}


def margin(item, peers, gate):
    """Smallest gap between the two best logits."""
    ordered = np.sort(item.predictions.logits, axis=1)
    value = float((ordered[:, -1] - ordered[:, -2]).min())
    return Reading(value, value, value, len(ordered))


def test_a_metric_is_one_function_and_one_line(world, monkeypatch):
    monkeypatch.setitem(METRICS, "margin", Metric(margin, ("min",), "plain", "smallest gap between logits"))
    gates = [{"metric": "margin", "min": 100.0, "precision": "fp32"}]
    recipe = parse(recipe_with(gates=gates), where="recipe.yaml")
    checked = pipeline_check(recipe, "recipe.yaml")
    result = only(judge(checked.recipe.gates, world))
    assert (result.result, result.limit, result.bound) == ("failed", "at least 100", {"min": 100.0})
    assert result.sentence.startswith("margin of student fp32 on local: ")
    with pytest.raises(RecipeError, match="cannot be limited by max"):
        pipeline_check(parse(recipe_with(gates=[{"metric": "margin", "max": 1}]), where="r"), "r")


def test_a_skipped_device_leaves_gates_for_every_device_unmeasured(maker):
    verdict = judge(
        [gate("size_bytes", max=1e9)],
        [maker.evidence(maker.predictions(images=300))],
        target_devices=["orin"],
    )
    assert [g.result for g in verdict.gates] == ["passed", "unmeasured"]


def test_uncalibrated_rows_and_the_teacher_are_judged_only_where_a_gate_names_them(maker):
    p = maker.predictions(images=300)
    rows = [maker.evidence(p, calibrated=False), maker.evidence(p, model="teacher"), maker.evidence(p)]
    assert only(judge([gate("top1", min=0.1)], rows)).measurement == "student fp32 on local"
    of_teacher, unjudged = judge([gate("top1", min=0.1, model="teacher")], rows).gates
    assert of_teacher.measurement == "teacher fp32 on local"
    assert unjudged.result == "undecided"


def test_drops_skip_fp32_but_not_against_the_teacher(maker):
    p = maker.predictions(images=400)
    rows = [maker.evidence(p, model="teacher"), *alike(maker, 400)]
    assert only(judge([gate("top1_drop", max=0.5)], rows)).measurement == "student int8 on local"
    assert len(judge([gate("top1_drop_from_teacher", max=0.5)], rows).gates) == 2


def test_a_drop_without_fp32_on_the_same_device_is_unmeasured(maker):
    rows = [
        maker.evidence(maker.predictions(images=300)),
        maker.evidence(maker.predictions(images=300), precision="int8", device="jetson"),
    ]
    result = only(judge([gate("top1_drop", max=0.1)], rows))
    assert result.result == "unmeasured"
    assert "no predictions of student fp32 on jetson" in result.sentence


def test_latency_on_an_emulated_device_is_undecided_with_that_reason(maker):
    result = only(
        judge(
            [gate("latency_p50_ms", max=100)], [maker.evidence(maker.predictions(images=300), emulated=True)]
        )
    )
    assert result.result == "undecided"
    assert "(emulated)" in result.sentence


def test_a_percentile_that_the_runs_cannot_carry_is_undecided_and_says_how_many_are_needed(maker):
    complete = maker.evidence(maker.predictions(images=300))
    few = complete.measurement.latency_ms.model_copy(
        update={"p95": Percentile(value=None, low=4.0, high=None), "effective_samples": 31.0}
    )
    thin = replace(complete, measurement=complete.measurement.model_copy(update={"latency_ms": few}))
    result = only(judge([gate("latency_p95_ms", max=9)], [thin]))
    assert result.result == "undecided"
    assert "31 effective runs are too few for p95; 59 effective runs are needed" in result.sentence


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"others_cores": 1.2}, "other work used 1.2 cores during the runs"),
        ({"steady": False}, "the warm-up did not settle"),
        ({"processes": 1}, "one process alone was timed"),
    ],
)
def test_doubtful_times_decide_no_gate_and_no_comparison(maker, change, words):
    rows = alike(maker, 300)
    quiet = judge([gate("latency_p95_ms", max=1e4, precision="int8")], rows)
    assert only(quiet).result == "passed"
    m = rows[-1].measurement
    doubtful = m.model_copy(update={"latency_ms": m.latency_ms.model_copy(update=change)})
    rows = [*rows[:-1], replace(rows[-1], measurement=doubtful)]
    for limit in (1e4, 1e-4):
        result = only(judge([gate("latency_p95_ms", max=limit, precision="int8")], rows))
        assert result.result == "undecided"
        assert f"({words}" in result.sentence
        assert "compress --fresh benchmark-student-int8@local measures again" in result.sentence
    sentence = next(text for text in conclusions(rows) if "a median of" in text)
    assert sentence.startswith("Whether student int8 on local is faster than fp32 is open, as")
    assert words in sentence


def test_times_of_two_files_differ_by_more_than_their_processes_do():
    fast, slow = latency(2.0), latency(2.2)
    bounds = p50_ratio(fast, slow)
    assert bounds.high < 1
    apart = [
        summary.model_copy(update={"process_p50_ms": tuple(summary.p50.value * np.array([0.9, 1.0, 1.1]))})
        for summary in (fast, slow)
    ]
    wide = p50_ratio(*apart)
    assert wide.value == bounds.value
    assert wide.low < bounds.low < bounds.high < 1 < wide.high


def test_a_gate_on_the_devices_of_this_run_does_not_cover_the_others(maker):
    p = maker.predictions(images=300)
    bad = maker.evidence(p, status="separable")
    gates = [gate("temperature_status", max=0, device="target"), gate("top1", min=0.1)]
    verdict = judge(gates, [bad, maker.evidence(p, device="jetson")], target_devices=["jetson"])
    assert verdict.verdict == "undecided"
    assert any("separable" in result.sentence for result in verdict.gates)


def test_a_failed_fit_is_undecided_even_without_a_gate_on_it(maker):
    bad = maker.evidence(maker.predictions(images=300), status="separable")
    verdict = judge([], [bad])
    assert only(verdict).metric == "temperature_status"
    assert "separable" in only(verdict).sentence
    assert verdict.verdict == "undecided"
    assert len(judge([gate("temperature_status", max=0)], [bad]).gates) == 1
    constant = judge([], [maker.evidence(maker.predictions(images=300), status="constant")])
    assert [result.metric for result in constant.gates] == ["top1"]


def test_equivalence_passes_only_with_the_whole_interval_on_both_sides(maker):
    same = alike(maker, 4000)
    gates = [
        gate("coverage_shift", within=0.01, threshold=0.8),
        gate("precision_shift", within=0.01, threshold=0.8),
    ]
    assert [g.result for g in judge(gates, same).gates] == ["passed", "passed", "undecided"]  # accuracy
    sharper = alike(maker, 4000, predictions=maker.predictions(sharp=1.6))
    assert judge(gates[:1], sharper).gates[0].result == "failed"
    assert judge(gates[:1], sharper).gates[0].value > 0.01


def test_thresholds_read_the_probabilities_that_the_file_returned(maker):
    p = maker.predictions(images=1000)
    rows = [
        maker.evidence(p),
        maker.evidence(replace(p, probabilities=np.full(p.logits.shape, 0.1)), precision="int8"),
    ]
    result = only(judge([gate("coverage_shift", within=0.01, threshold=0.8)], rows))
    assert result.value == pytest.approx(-float((scores.confidence(p.logits) >= 0.8).mean()))


@pytest.mark.parametrize("metric", ["precision_shift", "coverage_shift"])
def test_no_image_above_the_threshold_is_undecided(maker, metric):
    flat = replace(maker.predictions(images=400), probabilities=np.full((400, 10), 0.1))
    rows = [maker.evidence(flat), maker.evidence(flat, precision="int8")]
    result = only(judge([gate(metric, within=0.01, threshold=0.8)], rows))
    assert (result.result, result.images) == ("undecided", 0)
    assert "no image reaches confidence 0.8" in result.sentence


def test_agreement_with_fp32_has_exact_bounds(maker):
    base = maker.predictions()
    result = only(
        judge([gate("agreement", min=0.9)], alike(maker, 4000, predictions=flipped(base, list(range(40)))))
    )
    assert result.value == pytest.approx(0.99)
    assert result.result == "passed"


def test_divergence_from_fp32_ranks_files_that_top1_cannot_tell_apart(maker):
    """Logits of which each row moves by a constant, and by ever larger factors."""
    base = maker.predictions(images=1000)
    factors = {"same": 1.0, "near": 1.05, "far": 1.5}
    rows = [maker.evidence(base)]
    rows += [
        maker.evidence(replace(base, logits=base.logits * factor + 3), precision=name)
        for name, factor in factors.items()
    ]
    compared = compared_with_fp32(rows)
    assert compared[0].measurement.to_fp32 is None
    values = [item.measurement.to_fp32 for item in compared[1:]]
    assert [value.agreement.value for value in values] == [1.0, 1.0, 1.0]
    expected = [
        scipy.stats.entropy(
            scipy.special.softmax(base.logits, axis=1),
            scipy.special.softmax(base.logits * factor, axis=1),
            axis=1,
        ).mean()
        for factor in factors.values()
    ]
    np.testing.assert_allclose([value.kl.value for value in values], expected, rtol=1e-4, atol=1e-6)
    results = judge([gate("kl_to_fp32", max=values[1].kl.high * 1.01)], compared).gates
    assert [result.result for result in results] == ["passed", "passed", "failed"]


@pytest.mark.parametrize(("copies", "outcome"), [(0.01, "passed"), (0.02, "undecided")])
def test_copies_among_the_test_images_decide_nothing(maker, copies, outcome):
    """20 pictures 60 times each are no 1,200 images."""
    faults = DataFaults(test_in_train=0.0, conflicting_labels=0.0, copies_in_test=copies)
    item = replace(maker.evidence(maker.predictions()), data=faults)
    verdict = judge([gate("top1", min=0.05), gate("top1", min=0.99), gate("size_bytes", max=1e9)], [item])
    assert [result.result for result in verdict.gates] == [outcome, "failed", "passed"]
    assert ("data.drop_duplicates: true" in verdict.gates[0].sentence) == (outcome == "undecided")


def test_divergence_of_few_images_does_not_decide(maker):
    base = maker.predictions(images=200)
    rows = compared_with_fp32([maker.evidence(base), maker.evidence(base, precision="int8")])
    assert only(judge([gate("kl_to_fp32", max=1.0)], rows)).result == "undecided"


@pytest.mark.parametrize(
    ("outcomes", "expected"), [("fup", "failed"), ("up", "undecided"), ("p", "passed"), ("", "undecided")]
)
def test_failed_beats_undecided_beats_passed(maker, outcomes, expected):
    fp32 = maker.evidence(maker.predictions(images=500))
    value = fp32.measurement.quality.top1.value
    limits = {"f": 0.99, "u": value, "p": 0.01}
    gates = [gate("top1", min=limits[o]) for o in outcomes]
    assert judge(gates, [fp32]).verdict == expected
    assert judge(gates, [fp32], smoke=True).verdict == "smoke"


def guessing(maker, images: int, share: float) -> Predictions:
    """A model that always names class 0, on images of which a share is of class 0."""
    labels = np.where(np.arange(images) < share * images, 0, 1 + np.arange(images) % 9)
    logits = np.tile(np.linspace(1.0, 0.0, 10, dtype=np.float32), (images, 1))
    return replace(maker.predictions(images=images), logits=logits, labels=labels)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.98])
@pytest.mark.parametrize(
    "gates",
    [
        [],
        [gate("size_bytes", max=1e9)],
        [gate("top1_drop", max=0.02), gate("top1_drop_from_teacher", max=0.05), gate("nll_rise", max=0.05)],
        [gate("coverage_shift", within=0.01, threshold=0.9)],
        [gate("top1", min=0.05), gate("agreement", min=0.9)],
    ],
    ids=["none", "size", "relative", "threshold that nobody reaches", "low floor"],
)
def test_student_that_names_one_class_never_passes(maker, share, gates):
    p = guessing(maker, 1000, share)
    rows = [maker.evidence(p, model="teacher"), maker.evidence(p), maker.evidence(p, precision="int8")]
    verdict = judge(gates, rows)
    assert verdict.verdict in ("undecided", "failed")
    told = [result.sentence for result in verdict.gates if result.sentence.startswith("Nothing was shown by")]
    assert len(told) == 3  # the teacher too
    assert f"always naming the largest class is right on {share:.1%}".replace("%", " %") in told[0]


def test_gates_that_ask_for_no_accuracy_of_a_good_student_show_nothing(maker):
    good = alike(maker, 4000)
    for gates in (
        [],
        [gate("size_bytes", max=1e9)],
        [gate("top1_drop", max=0.1), gate("agreement", min=0.9)],
        [gate("ece", max=0.5)],
    ):
        verdict = judge(gates, good)
        assert verdict.verdict == "undecided"
        assert "no gate has judged the student's accuracy" in verdict.gates[-1].sentence


def test_two_runtimes_on_one_device_get_different_names(maker):
    a = maker.evidence(maker.predictions(images=300)).measurement
    b = a.model_copy(update={"runtime": "tensorrt"})
    assert labels_of([a, b]) == ["student fp32 on local:onnxruntime", "student fp32 on local:tensorrt"]
    assert labels_of([a]) == ["student fp32 on local"]


@pytest.mark.parametrize(
    ("bad", "where", "remedy"),
    [
        (gate("top1_dropp", max=0.1), "gates[0].metric", "Did you mean 'top1_drop'"),
        (gate("top1", max=0.9), "gates[0].max", "Give min instead of max"),
        (gate("ece", min=0.1), "gates[0].min", "Give max instead of min"),
        (gate("coverage_shift", max=0.1, threshold=0.9), "gates[0].max", "Give within"),
        (gate("coverage_shift", within=0.1), "gates[0].threshold", "Add threshold"),
        (gate("ece", max=0.1, threshold=0.9), "gates[0].threshold", "Remove threshold"),
        (gate("top1_of_class", min=0.1), "gates[0].of_class", "Add of_class"),
        (gate("top1", min=0.1, of_class="bee"), "gates[0].of_class", "Remove of_class"),
        (gate("ece", max=0.1, precision="int4"), "gates[0].precision", "add it to precisions"),
        (gate("ece", max=0.1, device="local:openvinoo"), "gates[0].device", "Did you mean 'local:openvino'"),
        (gate("top1_drop", max=0.1, precision="fp32"), "gates[0].precision", "another precision"),
        (gate("top1_drop", max=0.1, model="teacher"), "gates[0].model", "Remove model"),
    ],
)
def test_gates_that_cannot_work_are_refused_with_a_remedy(bad, where, remedy):
    devices = [DeviceSection(name="local"), DeviceSection(name="local", runtime="openvino")]
    with pytest.raises(RecipeError) as caught:
        check_gates([bad], precisions=["fp32", "int8"], devices=devices, where="my.yaml")
    assert caught.value.message.startswith(f"my.yaml: {where}: ")
    assert remedy in caught.value.remedy


CORRUPTED, UNKNOWN = other_images(("noise", 1, 2000, 0.1, 0.5)), unknown(0.8, 10, 400)


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_is_measured_in_a_complete_run(world, name):
    metric = METRICS[name]
    limit = {metric.limits[0]: 0.5} | ({"threshold": 0.8} if metric.threshold else {})
    limit |= {"of_class": "bee"} if metric.of_class else {}
    world = [
        replace(item, earlier=Earlier(item.measurement, item.scores), corrupted=CORRUPTED, unknown=UNKNOWN)
        for item in world
    ]
    results = judge([gate(name, **limit)], compared_with_fp32(world)).gates
    asked = [result for result in results if result.limit != "none"]
    assert all(result.result != "unmeasured" and result.value is not None for result in asked)
    assert asked
    assert all((result.images or 0) > 0 for result in asked if metric.counts_images)
    assert metric.meaning


def edges(span, limit):
    """Limits at the ends of a span, beyond them and inside, each with whether it may be written."""
    inside = span.low + 0.01 if span.low > -np.inf else 0.01
    yield inside if limit != "within" else 0.01, True
    if span.high < np.inf:
        yield span.high, limit == "min"
        yield from ((span.high + 1, False), (100 * span.high, False))
    if limit != "within" and span.low > -np.inf:
        yield span.low, limit == "max" and span.reaches_low
        yield span.low - 1, False


LIMITS = [(name, limit) for name, metric in METRICS.items() for limit in metric.limits]


@pytest.mark.parametrize(("name", "limit"), LIMITS)
def test_limit_that_no_measurement_or_every_one_breaks_is_refused_when_planned(name, limit):
    metric = METRICS[name]
    more = {"threshold": 0.8} if metric.threshold else {"of_class": "a"} if metric.of_class else {}
    for value, valid in edges(metric.span, limit):
        limited = [gate(name, **{limit: value}, **more)]
        if valid:
            check_gates(limited)
            continue
        with pytest.raises(RecipeError, match="decides nothing") as refused:
            check_gates(limited)
        assert str(metric.span) in refused.value.message
        assert ("0.9 means 90 %" in refused.value.remedy) == (metric.unit == "share")


def test_every_metric_but_a_rise_of_a_logarithm_has_a_range_with_an_end():
    assert {name for name, metric in METRICS.items() if metric.span == Span()} == {
        "nll_rise",
        "nll_rise_from_teacher",
        "nll_rise_from_baseline",
    }


OF_ACCURACY = {
    "alone": "top1 top5 balanced_accuracy recall_worst_class top1_of_class nll brier top1_drop_from_teacher "
    "nll_rise_from_teacher top1_drop_from_baseline nll_rise_from_baseline",
    "beside fp32": "top1_drop nll_rise brier_rise agreement kl_to_fp32",
}


@pytest.mark.parametrize("accuracy", OF_ACCURACY)
def test_only_these_metrics_speak_of_accuracy(accuracy):
    names = {name for name, metric in METRICS.items() if metric.accuracy == accuracy}
    assert names == set(OF_ACCURACY[accuracy].split())


def test_top5_of_five_classes_is_no_evidence(maker):
    item = replace(maker.evidence(maker.predictions(images=400)), classes=tuple("abcde"))
    result = only(judge([gate("top5", min=0.95)], [item]))
    assert result.result == "undecided"
    assert "always 100 %" in result.sentence
    with pytest.raises(RecipeError, match="top5 of 5 classes"):
        check_gates([gate("top5", min=0.95)], classes=tuple("abcde"))


@pytest.mark.parametrize("metric", ["recall_worst_class", "balanced_accuracy"])
def test_a_class_without_test_images_is_not_known_to_be_recognised(maker, metric):
    p = maker.predictions(images=400)
    rows = p.labels != 3
    part = replace(p, logits=p.logits[rows], labels=p.labels[rows], indices=p.indices[rows])
    result = only(judge([gate(metric, min=0.01)], [maker.evidence(part)]))
    assert result.result == "undecided"
    assert "has no test image" in result.sentence
