"""A release against an earlier one, paired or independent; and a release judged again from its files."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from release_world import CLASSES, THRESHOLDS, facts, make_maker, scored
from tiny_run import command, recipe_with, written

from calkd_edge.errors import RecipeError
from calkd_edge.files.bounded import Unreadable
from calkd_edge.files.npz import npz_bytes
from calkd_edge.metrics.intervals import Bounds, independent_difference
from calkd_edge.recipe.schema import GateSection
from calkd_edge.records import Predictions, Report
from calkd_edge.release.contents import MODELS, SCORES
from calkd_edge.release.earlier import ReadRelease, read_release, with_earlier
from calkd_edge.release.folder import ReleaseFolder
from calkd_edge.release.gates.evidence import Evidence
from calkd_edge.release.gates.verdict import judge
from calkd_edge.release.judgement import judged, judged_again
from calkd_edge.release.report.page import lead
from calkd_edge.release.report.report import write_report
from calkd_edge.release.scores import kept_scores, read_scores, to_bytes

TARGET = GateSection(metric="confident_wrong", max=0.5, threshold=0.5, device="target")
LIMIT = GateSection(metric="top1_drop_from_baseline", max=0.005)


class NumberedImages:
    """Images that are their own number; `first` is that of row 0."""

    def __init__(self, first: int = 0) -> None:
        self.first = first

    def __getitem__(self, index):
        return np.frombuffer(int(index + self.first).to_bytes(12, "big"), np.uint8).reshape(3, 2, 2)


def predicted(labels: np.ndarray, right: np.ndarray, first: int = 0) -> Predictions:
    """Ten classes; a model that is right where `right` is."""
    answers = np.where(right, labels, (labels + 1) % 10)
    logits = np.zeros((len(labels), 10), np.float32)
    logits[np.arange(len(labels)), answers] = 4.0
    return Predictions(logits, labels, np.arange(len(labels), dtype=np.int64))


def released(
    small, predictions: Predictions, first: int = 0, **changed
) -> tuple[list[Evidence], ReadRelease]:
    """A release of one file, as evidence and as it is read back."""
    evidence = [small.evidence(predictions, **changed)]
    report = report_of(evidence)
    scores = kept_scores(evidence, NumberedImages(first))
    return evidence, ReadRelease("then", report, read_scores(to_bytes(scores), report))


def report_of(evidence: list[Evidence], **changed) -> Report:
    verdict = judge([GateSection(metric="top1", min=0.5)], evidence)
    content = {
        "name": "then", "verdict": verdict.verdict, "gates": verdict.gates, "conclusions": (), "plan": (),
        "measurements": tuple(item.measurement for item in evidence), "devices": {"local": facts()},
        "data": {"classes": CLASSES}, "models": {}, "environment": {"date": "2026-01-02T03:04:05+00:00"},
        "recipe": {},
    }  # fmt: skip
    return Report(**{**content, **changed})


@pytest.fixture(scope="module")
def small():
    return make_maker(100)


@pytest.mark.parametrize(
    ("images", "lost", "first", "outcome", "how"),
    [
        (10_000, 0.015, 0, "failed", "paired on the same images"),
        (10_000, 0.0, 0, "passed", "paired on the same images"),
        (50, 0.0, 0, "undecided", "paired on the same images"),
        (10_000, 0.0, 10_000, "undecided", "common to both: compared as independent samples"),
    ],
)
def test_drop_since_the_earlier_release_is_judged(small, images, lost, first, outcome, how):
    labels = np.arange(images, dtype=np.int64) % 10
    right = np.arange(images) % 100 < 90
    worse = right & ~(np.arange(images) % 200 < 400 * lost / 2)  # `lost` of all images, all right before
    evidence, _ = released(small, predicted(labels, worse))
    _, then = released(small, predicted(labels, right), first)
    scores = kept_scores(evidence, NumberedImages())
    compared = with_earlier(evidence, then, scores, {"local": facts()})
    result = judge([LIMIT], compared).gates[0]
    assert result.value == pytest.approx(lost, abs=1e-9)
    assert result.result == outcome
    assert how in result.sentence


def test_classes_and_images_are_matched_by_name_and_pixels_not_by_position(small):
    labels = np.arange(400, dtype=np.int64) % 10
    right = np.random.default_rng(0).random(400) < 0.8
    evidence, then = released(small, predicted(labels, right))
    turned = np.arange(10)[::-1]
    predictions = predicted(labels, right)
    moved = Predictions(
        predictions.logits[::-1][:, turned], turned[labels][::-1].copy(), np.arange(400, dtype=np.int64)
    )
    now = [replace(small.evidence(moved), classes=tuple(CLASSES[::-1]))]
    backwards = type(
        "Backwards", (NumberedImages,), {"__getitem__": lambda s, i: NumberedImages()[399 - i]}
    )()
    scores = kept_scores(now, backwards)
    earlier = with_earlier(now, then, scores, {})[0].earlier
    assert earlier is not None
    assert earlier.scores is not None
    assert np.array_equal(earlier.scores.indices, np.arange(400)[::-1])
    assert np.array_equal(np.sort(earlier.scores.answers), np.sort(now[0].scores.answers))
    assert judge([LIMIT], with_earlier(now, then, scores, {})).gates[0].value == 0.0


def test_every_figure_is_compared_and_times_of_another_machine_do_not_decide(small):
    then_predictions = small.predictions(noise=0.1)
    evidence, _ = released(small, small.predictions(noise=0.4), p50=8.0, size=2_000_000)
    _, then = released(small, then_predictions, p50=4.0, size=1_000_000)
    scores = kept_scores(evidence, NumberedImages())
    result = judged_of(evidence, then, scores)
    rows = {(row.metric, row.threshold): row for row in result.baseline.changes}
    assert rows["size_ratio_from_baseline", None].value == 2.0
    ratio = rows["latency_ratio_from_baseline", None]
    assert ratio.low < 2.0 < ratio.high
    assert ratio.note == ""
    assert {key for key in rows if key[1] is not None} == {
        (name, threshold)
        for name in ("coverage_shift_from_baseline", "precision_shift_from_baseline")
        for threshold in THRESHOLDS
    }
    now_nll, then_nll = scored(small.predictions(noise=0.4)).nll.value, scored(then_predictions).nll.value
    assert rows["nll_rise_from_baseline", None].value == pytest.approx(now_nll - then_nll, abs=1e-6)
    elsewhere = facts().model_copy(update={"cpu": "another"})
    moved = judge(
        [GateSection(metric="latency_ratio_from_baseline", max=1.1)],
        with_earlier(evidence, then, scores, {"local": elsewhere}),
    ).gates[0]
    assert moved.result == "undecided"
    assert "another processor" in moved.sentence


class OfGates:
    """What `judged` reads of a recipe."""

    def __init__(self, *gates: GateSection) -> None:
        self.gates, self.thresholds = gates, THRESHOLDS

    def model_dump(self, mode: str) -> dict:
        return {}


def judged_of(evidence, then, scores, *gates):
    return judged(OfGates(*gates), evidence, scores, {"local": facts()}, earlier=then)


def test_without_an_earlier_release_its_gates_do_not_judge(small):
    evidence, release = released(small, small.predictions())
    result = judged_of(evidence, None, release.scores, LIMIT, GateSection(metric="top1", min=0.1))
    assert [gate.metric for gate in result.verdict.gates] == ["top1"]
    assert result.baseline is None
    assert "top1_drop_from_baseline" in result.notes[0]


def test_gates_of_target_devices_are_named_where_no_such_device_was(small):
    evidence, release = released(small, small.predictions())
    gates = [GateSection(metric="top1", min=0.1), TARGET]
    result = judged_of(evidence, None, release.scores, *gates)
    text = (
        "No device was added by --device, so these gates with device: target did not judge: "
        "confident_wrong at 0.5."
    )
    assert (result.verdict.verdict, result.notes) == ("passed", (text,))
    report = report_of(evidence, conclusions=result.concluding(["A figure."]))
    assert report.conclusions == ("A figure.", text)
    assert lead(report) == f"Every gate that judged passed: its whole interval is inside its limit. {text}"


def test_sentences_on_an_earlier_verdict_are_not_those_of_the_present_one(small):
    evidence, then = released(small, small.predictions())
    nothing = "Nothing was shown: no gate has judged the student's answers (size_bytes): undecided."
    old = "No earlier release was named, so these gates did not judge: top1_drop_from_baseline."
    kept = replace(then, report=then.report.model_copy(update={"conclusions": (nothing, "A figure.", old)}))
    top1 = GateSection(metric="top1", min=0.1)
    alone, beside = (judged_again(kept, then.scores, OfGates(top1, LIMIT), other) for other in (None, then))
    assert (alone.conclusions, beside.conclusions) == (("A figure.", old), ("A figure.",))


def test_finished_release_is_judged_again_with_the_same_result(tmp_path, world, report):
    images = NumberedImages()
    scores = kept_scores(world, images)
    with_faults = report.model_copy(
        update={"data": {**report.data, "faults": {"test_in_train": 0.0, "conflicting_labels": 0.0}}}
    )
    target = ReleaseFolder(tmp_path / "out")
    with target.held(), target.staged() as staged:
        write_report(with_faults, staged)
        (staged / SCORES).write_bytes(to_bytes(scores))
        (staged / MODELS).mkdir()
        for item in world:  # in this world, a file's content is its name
            (staged / MODELS / item.measurement.file).write_text(item.measurement.file)
        target.publish(staged)
    read = read_release(tmp_path / "out")
    gates = [
        GateSection(metric="top1_drop", max=0.03, precision="int8"),
        GateSection(metric="nll_rise", max=0.05),
        GateSection(metric="coverage_shift", within=0.02, threshold=0.8),
        GateSection(metric="precision_shift", within=0.02, threshold=0.8),
        GateSection(metric="agreement", min=0.9),
        GateSection(metric="nll_rise_from_teacher", max=0.5),
        GateSection(metric="test_in_train", max=0.0),
    ]
    assert judged_again(read, read.scores, OfGates(*gates)).gates == judge(gates, world).gates


def test_scores_that_contradict_their_report_are_refused(small):
    evidence, release = released(small, small.predictions())
    content = to_bytes(kept_scores(evidence, NumberedImages()))
    row = release.report.measurements[0]
    top1 = row.quality.top1.model_copy(update={"value": row.quality.top1.value + 0.01})
    edited = row.model_copy(update={"quality": row.quality.model_copy(update={"top1": top1})})
    with pytest.raises(Unreadable, match="disagree on the top-1 of student fp32 on local"):
        read_scores(content, release.report.model_copy(update={"measurements": (edited,)}))
    widened = row.quality.top1.model_copy(update={"high": 1.0})
    bounds = row.model_copy(update={"quality": row.quality.model_copy(update={"top1": widened})})
    with pytest.raises(Unreadable, match="upper bound of top-1"):
        read_scores(content, release.report.model_copy(update={"measurements": (bounds,)}))
    for name, known in (("worst_recall", "lowest recall"), ("balanced_accuracy", "balanced accuracy")):
        forged = row.quality.model_copy(update={name: row.quality.top1.model_copy(update={"value": 0.999})})
        better = row.model_copy(update={"quality": forged})
        with pytest.raises(Unreadable, match=known):
            read_scores(content, release.report.model_copy(update={"measurements": (better,)}))
    other = row.model_copy(update={"precision": "int8"})
    with pytest.raises(Unreadable, match="no scores of student int8 on local"):
        read_scores(content, release.report.model_copy(update={"measurements": (row, other)}))
    with pytest.raises(Unreadable, match="classes that the report lacks"):
        read_scores(content, release.report.model_copy(update={"data": {"classes": CLASSES[:3]}}))
    assert to_bytes(kept_scores(evidence, NumberedImages())) == content


def test_folder_that_is_no_release_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="no sound release"):
        read_release(tmp_path)
    with pytest.raises(RecipeError, match="there is no such folder or file") as refused:
        read_release(tmp_path / "nothing")
    assert "verify" not in refused.value.remedy


def test_unpacked_bundle_is_called_that_with_advice_that_works(tiny, tmp_path):
    folder = tmp_path / "it's unpacked"
    with zipfile.ZipFile(tiny.out / "bundle.zip") as archive:
        archive.extractall(folder)
    for line in (("gate", folder), ("verify", folder), ("benchmark", folder), ("report", folder)):
        done = command(*line)
        assert (done.code, "is an unpacked bundle" in done.err) == (2, True), done
        advice = done.err.partition("checksums by: ")[2].replace("\n", " ")
        assert subprocess.run(["bash", "-c", advice], capture_output=True, check=False).returncode == 0


def test_difference_of_independent_figures_keeps_its_level():
    random = np.random.default_rng(0)
    draws, n, sigma = 4000, (200, 50), (1.0, 2.0)
    half = [1.645 * s / np.sqrt(m) for s, m in zip(sigma, n, strict=True)]
    missed = 0
    for first, second in zip(*(random.normal(0, h / 1.645, draws) for h in half), strict=True):
        bounds = independent_difference(
            Bounds(first, first - half[0], first + half[0]),
            Bounds(second, second - half[1], second + half[1]),
        )
        missed += bounds.low > 0
    assert missed / draws == pytest.approx(0.05, abs=0.012)


def test_release_is_judged_again_and_drawn_without_a_training_framework(tiny, tmp_path):
    code = (
        "import sys\n"
        "from calkd_edge.cli.app import main\n"
        f"codes = main(['gate', {str(tiny.out)!r}]), main(['report', {str(tiny.out)!r}, '-o', 'page.html'])\n"
        "print(codes, [name for name in ('torch', 'onnx', 'onnxruntime') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.splitlines()[-1] == "(0, 0) []", done.stderr
    assert (tmp_path / "page.html").read_text() == (tiny.out / "report.html").read_text()


def test_page_of_a_release_is_not_replaced(tiny):
    done = command("report", tiny.out, "--output", tiny.out / "report.html")
    assert (done.code, "it belongs to a release" in done.err) == (2, True)


@pytest.mark.parametrize("name", ["scores.npz", "models/below/page", "bundle.zip", "SHA256SUMS", "log.txt"])
def test_no_file_of_a_release_is_written_by_an_option(tiny, tmp_path, name):
    (tmp_path / "link").symlink_to(tiny.out)
    target = tmp_path / "link" / name
    for line in (
        ("gate", tiny.out, "--junit", target),
        ("gate", tiny.out, "--summary", target),
        ("report", tiny.out, "--output", target),
        ("compress", tiny.recipe, "--store", tiny.store, "--dry-run", "--junit", target),
    ):
        done = command(*line)
        assert (done.code, "it belongs to a release" in done.err) == (2, True), done
    planned = ("--dry-run", "--out", tmp_path / "new", "--junit", tmp_path / "new" / name)
    assert command("compress", tiny.recipe, "--store", tiny.store, *planned).code == 2
    with zipfile.ZipFile(tiny.out / "bundle.zip") as archive:
        archive.extractall(tmp_path / "unpacked")
    for part in ("README.md", "student.fp32.onnx"):
        assert command("gate", tiny.out, "--summary", tmp_path / "unpacked" / part).code == 2
    (tmp_path / "copy").write_bytes((tiny.out / "bundle.zip").read_bytes())
    assert command("gate", tiny.out, "--junit", tmp_path / "copy").code == 2
    assert command("verify", tiny.out).code == 0


def test_output_that_cannot_be_written_is_refused_with_a_sentence(tiny, tmp_path, monkeypatch):
    for line in (("gate", tiny.out, "--junit"), ("gate", tiny.out, "--summary"), ("report", tiny.out, "-o")):
        done = command(*line, "/proc/page")
        assert (done.code, "/proc cannot be written" in done.err) == (2, True), done
        assert "FILE" in done.err

    def refusing(*_):
        raise OSError(errno.EPERM, "Operation not permitted")

    same = ("--junit", tmp_path / "a", "--summary", tmp_path / "a")
    assert command("gate", tiny.out, *same).code == 2
    monkeypatch.setattr("calkd_edge.release.outputs.write_atomically", refusing)
    done = command("report", tiny.out, "-o", tmp_path / "page.html")
    assert (done.code, "it cannot be written: Operation not permitted" in done.err) == (2, True)


def test_gate_that_needs_an_earlier_release_is_refused_without_one(tiny, tmp_path):
    recipe = written(tmp_path, recipe_with(gates=[{"metric": "size_ratio_from_baseline", "max": 1.1}]))
    done = command("gate", tiny.out, "--recipe", recipe)
    assert (done.code, "--baseline none" in done.err) == (2, True)
    assert command("compress", recipe, "--dry-run", "--store", tiny.store).code == 2
    judged = command("gate", tiny.out, "--recipe", recipe, "--baseline", tiny.out / "bundle.zip", "--json")
    sizes = [gate for gate in json.loads(judged.out)["gates"] if gate["metric"] == "size_ratio_from_baseline"]
    assert {gate["value"] for gate in sizes} == {1.0}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: {"images/index": a["images/index"][::-1].copy()}, "ascending"),
        (lambda a: {"images/index": np.zeros_like(a["images/index"])}, "ascending"),
        (lambda a: {"0/row": np.zeros_like(a["0/row"])}, "none of a score"),
        (lambda a: {"0/row": a["0/row"] + 10**6}, "no scores"),
        (lambda a: {"0/confidence": np.full_like(a["0/confidence"], 0.1)}, "mean confidence"),
        (lambda a: {"0/confidence": np.roll(a["0/confidence"], 7)}, "ECE|precision at"),
        (lambda a: {"0/nll": np.full_like(a["0/nll"], np.nan)}, "none of a score"),
        (lambda a: {"x/row": a["0/row"]}, "no scores"),
    ],
)
def test_damaged_scores_are_refused(small, change, message):
    evidence, release = released(small, small.predictions())
    arrays = dict(np.load(io.BytesIO(to_bytes(kept_scores(evidence, NumberedImages())))))
    with pytest.raises(Unreadable, match=message):
        read_scores(npz_bytes({**arrays, **change(arrays)}), release.report)


def test_release_of_other_classes_is_shown_and_decides_nothing(small):
    evidence, then = released(small, small.predictions())
    others = then.report.model_copy(update={"data": {"classes": [*CLASSES[:-1], "lynx"]}})
    scores = kept_scores(evidence, NumberedImages())
    result = judge(
        [LIMIT], with_earlier(evidence, ReadRelease("then", others, then.scores), scores, {})
    ).gates[0]
    assert (result.result, "other classes" in result.sentence) == ("undecided", True)
    assert (result.needed, "needed" in result.sentence) == (None, False)


def sentence_of(now, then, images=None):
    """The comparison's sentence, and the result of a gate on ECE."""
    scores = kept_scores(now, images or NumberedImages())
    rise = GateSection(metric="ece_rise_from_baseline", max=0.5)
    result = judged_of(now, then, scores, rise)
    return result.baseline.sentence, result.verdict.gates[0].sentence


class Copies(NumberedImages):
    """Every picture three times."""

    def __getitem__(self, index):
        return super().__getitem__(index // 3)


def test_copies_of_an_image_are_counted_once(small):
    labels = np.arange(1200, dtype=np.int64) // 3 % 10
    thrice = [small.evidence(predicted(labels, labels < 8))]
    then = ReadRelease("then", report_of(thrice), kept_scores(thrice, Copies()))
    once, _ = released(small, predicted(labels[::3].copy(), labels[::3] < 8))
    sentence, ece = sentence_of(once, then)
    assert "on the 400 of 400 test images that both have. ECE and the worst recall are over all" in sentence
    assert "over all images of each release; 400 are common to both" in ece
    assert (
        "400 of 400 test images that both have, copies counted once."
        in sentence_of(thrice, then, images=Copies())[0]
    )


def test_comparison_says_why_no_image_is_paired_and_what_is_over_all_images(small):
    labels = np.arange(1000, dtype=np.int64) % 10
    evidence, then = released(small, predicted(labels, labels < 8))
    without = replace(then, scores=None)
    sentence, ece = sentence_of(evidence, without)
    assert "; the earlier release kept no scores: the figures are compared as those of" in sentence
    assert "the earlier release kept no scores: compared as independent samples" in ece
    _, half = released(small, predicted(labels, labels < 8), first=400)
    sentence, ece = sentence_of(evidence, half)
    assert "on the 600 of 1,000 test images that both have. ECE and the worst recall are over all" in sentence
    assert "over all images of each release; 600 are common to both" in ece
    assert sentence_of(evidence, then)[0].endswith("on the 1,000 of 1,000 test images that both have.")
    coverage = GateSection(metric="coverage_shift_from_baseline", within=0.1, threshold=0.7)
    result = judged_of(evidence, without, kept_scores(evidence, NumberedImages()), coverage)
    assert "in this release it was not measured at confidence 0.7, only at 0.5, 0.8" in (
        result.verdict.gates[0].sentence
    )


def test_ece_since_the_earlier_release_names_the_images_that_ece_needs(small):
    labels = np.arange(300, dtype=np.int64) % 10
    evidence, then = released(small, predicted(labels, labels < 8))
    compared = with_earlier(evidence, then, kept_scores(evidence, NumberedImages()), {})
    result = judge([GateSection(metric="ece_rise_from_baseline", max=0.5)], compared).gates[0]
    assert "reported, not gated below 1,000 images" in result.sentence
    assert result.needed == "about 1,000 images are needed"


def test_times_under_other_conditions_need_no_more_runs(small):
    evidence, then = released(small, small.predictions())
    elsewhere = facts().model_copy(update={"cpu": "another"})
    scores = kept_scores(evidence, NumberedImages())
    compared = with_earlier(evidence, then, scores, {"local": elsewhere})
    result = judge([GateSection(metric="latency_ratio_from_baseline", max=1.1)], compared).gates[0]
    assert (result.result, result.needed) == ("undecided", None)


def test_page_is_not_written_over_what_is_no_file(tiny, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    done = command("report", tiny.out, "--output", tmp_path / "pipe")
    assert (done.code, "it is a pipe" in done.err) == (2, True)
