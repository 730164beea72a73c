"""Truncated rows keep their largest logits exactly and their tails in form; maps apply when they are read."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special
from tiny_run import command, recipe_with, written

from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.fitted import fitted_kind
from calkd_edge.engine.stage import Job
from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.pipeline import estimate
from calkd_edge.pipeline.preparation import make_plan, prepare_run
from calkd_edge.records import Affine
from calkd_edge.stages import soft_labels, top_logits
from calkd_edge.stages.distillation import SoftLabels
from calkd_edge.stages.top_logits import TailForm, bytes_per_row, truncated

TOP = 3


def restored(logits, top):
    rows = truncated(logits, top)
    form = TailForm.of([(rows.order_sums, rows.shape_sums)])
    return form.restored(rows.logits, rows.classes, rows.tail)


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 30), st.integers(0, 12), st.booleans())
def test_largest_logits_are_exact_and_the_others_stay_below(seed, top, more, ties):
    classes = top + 1 + more
    logits = np.random.default_rng(seed).normal(-5, 3, (20, classes)).astype(np.float32)
    logits = np.round(logits) if ties else logits
    rows, complete = truncated(logits, top), restored(logits, top)
    expected = -np.sort(-logits, axis=1)
    assert np.array_equal(rows.logits, expected[:, :top])
    index = rows.classes.astype(int)
    assert np.array_equal(np.take_along_axis(logits, index, axis=1), rows.logits)
    assert np.array_equal(np.take_along_axis(complete, index, axis=1), rows.logits)
    assert np.array_equal(-np.sort(-complete, axis=1)[:, :top], rows.logits)
    tail = expected[:, top:].astype(np.float64)
    assert np.allclose(rows.tail, np.stack([tail.mean(1), tail.var(1)], axis=1), atol=1e-5)
    assert np.isfinite(complete).all()


def test_a_normal_tail_has_the_log_sum_exp_of_its_mean_and_variance():
    """log n + mean / t + variance / (2 t^2), by hand; a few dozen of so many classes do not matter."""
    logits = np.random.default_rng(0).normal(-4, 1.5, (40, 20_000)).astype(np.float32)
    complete = restored(logits, 1)
    mean, variance = logits.mean(1, dtype=np.float64), logits.var(1, dtype=np.float64)
    for temperature in (2.0, 4.0):
        by_hand = np.log(20_000) + mean / temperature + variance / (2 * temperature**2)
        assert np.abs(special.logsumexp(complete / temperature, axis=1) - by_hand).max() < 0.01


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0])
def test_the_tail_has_its_probability_at_every_temperature_where_equal_logits_have_not(temperature):
    """Of logits that are not normal either: Gumbel's, with a common preference for some classes."""
    generator = np.random.default_rng(3)
    logits = generator.gumbel(0, 1.2, (400, 200)) + generator.normal(0, 1, 200)
    logits = logits.astype(np.float32)
    rows, complete = truncated(logits, 8), restored(logits, 8)
    is_tail = np.ones(logits.shape, dtype=bool)
    np.put_along_axis(is_tail, rows.classes.astype(int), False, axis=1)
    expected, ours = (
        (special.softmax(values.astype(np.float64) / temperature, axis=1) * is_tail).sum(1)
        for values in (logits, complete)
    )
    assert abs(ours.mean() / expected.mean() - 1) < 0.01
    at_mean = np.where(is_tail, rows.tail[:, :1], logits).astype(np.float64)
    equal = (special.softmax(at_mean / temperature, axis=1) * is_tail).sum(1)
    assert np.abs(ours - expected).mean() < 0.25 * np.abs(equal - expected).mean()


def test_the_common_form_does_not_depend_on_how_the_pass_was_divided(monkeypatch):
    logits = np.random.default_rng(1).normal(0, 3, (300, 50)).astype(np.float32)
    whole = truncated(logits, 5)
    monkeypatch.setattr(top_logits, "NUMBERS_AT_A_TIME", 7 * 50)
    pieces = [truncated(logits[at], 5) for at in (slice(200, 300), slice(0, 1), slice(1, 200))]
    forms = [TailForm.of([(rows.order_sums, rows.shape_sums) for rows in part]) for part in ([whole], pieces)]
    assert np.array_equal(forms[0].order, forms[1].order)
    assert np.array_equal(forms[0].shape, forms[1].shape)


def test_tails_of_a_single_value_come_back_as_they_were():
    logits = np.full((4, 6), -2.5, np.float32)
    logits[:, 1] = 0.0
    assert np.array_equal(restored(logits, 1), logits)
    varied = np.arange(6, dtype=np.float32)[None].repeat(4, axis=0)
    assert np.array_equal(restored(varied, 5), varied)


def test_more_than_65_536_classes_need_four_bytes_each():
    logits = np.zeros((1, 2**16 + 2), np.float32)
    logits[0, -1] = 1.0
    assert truncated(logits, 1).classes[0, 0] == 2**16 + 1
    assert bytes_per_row(2**16 + 2, 32) == 32 * 6 + 12
    assert (bytes_per_row(1000, 32), bytes_per_row(1000, None)) == (140, 2004)


# --- the stage, and what reads it ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tiny, tmp_path_factory):
    """The rows of the tiny run, complete, and truncated by another pass of the same teacher."""
    out, scratch = tmp_path_factory.mktemp("truncated"), tmp_path_factory.mktemp("scratch")
    manifest = json.loads((tiny.stage_folder("soft-labels") / "manifest.json").read_text())
    inputs = {"data": tiny.stage_folder("prepare"), "teacher": tiny.stage_folder("teacher")}
    locations = {"accelerator": "cpu", "cache": "disk"}
    params = {**manifest["params"], "top": TOP}
    soft_labels.run(Job(params, locations, inputs, out, scratch, lambda done, total: None))
    return tiny.stage_folder("soft-labels"), out


def test_truncated_rows_are_calibrated_when_they_are_read_without_another_pass(folders, tmp_path):
    """By any map that changes each logit for itself: what is stored stays exact under it."""
    complete, short = folders
    chosen = np.arange(50, 250)
    classes = np.load(short / "classes.npy")[0, chosen].astype(int)
    by_class = Affine(scale=tuple(np.linspace(0.5, 1.5, 10)), bias=tuple(np.linspace(-1, 1, 10)))
    for affine in (Affine(scale=(1.0,)), Affine(scale=(1 / 1.7,)), by_class):
        rows = [affine.apply(SoftLabels.open(folder, affine).raw(0, chosen)) for folder in (complete, short)]
        kept = [np.take_along_axis(row, classes, axis=1) for row in rows]
        assert np.array_equal(*kept)
        first, second = (special.softmax(row / 4.0, axis=1) for row in rows)
        divergence = special.rel_entr(first, second).sum(1).mean()
        assert divergence < 0.5 * special.rel_entr(first, np.full_like(first, 0.1)).sum(1).mean()
    prints = {}
    for name in ("temperature", "vector"):
        recipe = recipe_with(calibrator={"name": name})
        recipe["distill"]["soft_labels"]["top"] = TOP
        plan, _ = make_plan(
            prepare_run(written(tmp_path, recipe), store=tmp_path / "store", out=tmp_path / "out")
        )
        prints[name] = {stage.name: stage.fingerprint for stage in plan.stages}
    assert prints["temperature"]["soft-labels"] == prints["vector"]["soft-labels"]
    assert prints["temperature"]["distill"] != prints["vector"]["distill"]


def test_a_matrix_is_refused_before_the_student_trains(folders):
    mixing = Affine(scale=tuple(np.eye(10).ravel()))
    with pytest.raises(RecipeError, match="multiplies a row of logits by a matrix") as refused:
        SoftLabels.open(folders[1], mixing)
    assert "calibrator: {name: vector}" in refused.value.remedy
    assert SoftLabels.open(folders[0], mixing).tails is None


@pytest.mark.parametrize(
    ("soft_labels", "calibrator", "message", "fix"),
    [
        ({"top": 10}, "temperature", "distill.soft_labels.top: 10 logits", "set it to 9 or less"),
        ({"top": 3}, "affine", "calibrator: affine: it multiplies", "calibrator: {name: vector}"),
        ({"top": 3, "live": True}, "temperature", "live: true stores none", "remove one of them"),
    ],
)
def test_what_truncated_rows_cannot_serve_is_refused_by_the_plan(
    soft_labels, calibrator, message, fix, tmp_path
):
    recipe = recipe_with(calibrator={"name": calibrator})
    recipe["distill"]["soft_labels"] = {"views": 1, **soft_labels}
    done = command("compress", written(tmp_path, recipe), "--dry-run", "--store", tmp_path / "store")
    assert done.code == 2
    printed = " ".join(done.err.split())
    assert message in printed
    assert fix in printed


def test_every_calibrator_but_the_matrix_is_one_that_a_row_can_be_read_with():
    kinds = {name: fitted_kind(CALIBRATORS.load(name)) for name in CALIBRATORS.names()}
    assert {name for name, kind in kinds.items() if kind == "matrix"} == {"affine"}
    for name, kind in kinds.items():
        if name != "affine":
            top_logits.check_kind(kind, name)


def test_the_disk_that_a_plan_needs_follows_from_what_is_stored(tmp_path, monkeypatch):
    """480 images, 4 views, 10 classes, each row twice; the prepared images are there already."""
    plans = {}
    for top in (None, TOP):
        recipe = recipe_with()
        recipe["distill"].update(epochs=4, soft_labels={"views": 4, **({} if top is None else {"top": top})})
        plans[top], _ = make_plan(
            prepare_run(written(tmp_path, recipe), store=tmp_path / "store", out=tmp_path / "out")
        )
    monkeypatch.setattr(estimate, "MARGIN_BYTES", 0)
    needed = {top: least_free(plan, tmp_path, monkeypatch) for top, plan in plans.items()}
    assert needed[None] == 2 * 480 * 4 * 24
    assert needed[TOP] == 2 * 480 * 4 * (3 * 4 + 12)


def least_free(plan, folder, monkeypatch) -> int:
    """The fewest free bytes with which the plan does not refuse."""
    low, high = 0, 10**8
    while low < high:
        free = (low + high) // 2
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr(estimate.shutil, "disk_usage", lambda path, usage=usage: usage)
        try:
            estimate.check_disk(plan, folder, {plan.data.fingerprint})
        except EnvironmentProblem:
            low = free + 1
        else:
            high = free
    return low
