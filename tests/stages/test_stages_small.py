"""What stages hold against each other: stored answers, proofs, and the file that is run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from calkd_edge.data.prepared import Prepared
from calkd_edge.errors import StageFailed
from calkd_edge.export import proof
from calkd_edge.export.agreement import APART
from calkd_edge.losses.base import Loss
from calkd_edge.losses.objective import WeightedLosses
from calkd_edge.models import image_model
from calkd_edge.records import Affine, Calibration, Component, Predictions
from calkd_edge.stages import soft_labels
from calkd_edge.stages.distillation import Distillation, SoftLabels
from calkd_edge.stages.epochs import Epochs
from calkd_edge.stages.evaluate import compare_with_simulation
from calkd_edge.stages.executed import executed_file
from calkd_edge.stages.params import EpochParams
from calkd_edge.training.affine import TensorAffine
from calkd_edge.training.batch import Batch


def predictions(logits, first: int = 0) -> Predictions:
    logits = np.asarray(logits, dtype=np.float32)
    indices = np.arange(first, first + len(logits))
    shifted = np.exp(logits - logits.max(1, keepdims=True))
    probabilities = (shifted / shifted.sum(1, keepdims=True)).astype(np.float32)
    return Predictions(logits, np.zeros(len(logits), np.int64), indices, probabilities)


def calibration(scale: float) -> Calibration:
    return Calibration(
        method="temperature",
        scale=(scale,),
        bias=(0.0,),
        temperature=1 / scale,
        se=(0.1,),
        status="ok",
        split="calibration",
        images=3,
        nll_before=1.0,
        nll_after=0.9,
    )


LOGITS = np.random.default_rng(1).normal(0, 5, (40, 6)).astype(np.float32)


# --- evaluate: the proof of the fold -------------------------------------------------------------------


def test_proof_holds_for_logits_that_were_divided_in_float32():
    found = proof.prove(predictions(LOGITS), predictions(LOGITS * np.float32(0.4)), calibration(0.4))
    assert found.images == 40
    assert found.argmax_changes == 0
    assert found.max_logit_difference <= found.tolerance


@pytest.mark.parametrize(
    "broken",
    [
        lambda z: z * np.float32(0.4 * 1.0001),
        lambda z: z * np.float32(0.4) + np.float32(1e-3),
        lambda z: z,
        lambda z: np.where(np.arange(6) == 2, np.nan, z * np.float32(0.4)),
        lambda z: (z * np.float32(0.4))[:, ::-1],
    ],
    ids=["a little off", "a bias", "not folded", "NaN", "classes turned round"],
)
def test_fold_that_departs_from_dividing_by_hand_is_refused(broken):
    with pytest.raises(StageFailed) as refused:
        proof.prove(predictions(LOGITS), predictions(broken(LOGITS)), calibration(0.4))
    assert "Do not ship it" in refused.value.remedy


def test_proof_compares_image_by_image_whatever_their_order():
    order = np.random.default_rng(2).permutation(40)
    folded = predictions(LOGITS * np.float32(0.4))
    turned = Predictions(folded.logits[order], folded.labels[order], folded.indices[order])
    assert proof.prove(predictions(LOGITS), turned, calibration(0.4)).images == 40


def test_nothing_is_proven_on_different_images():
    with pytest.raises(StageFailed, match="different images"):
        proof.prove(predictions(LOGITS), predictions(LOGITS, first=1000), calibration(1.0))


def test_probabilities_that_are_not_the_softmax_of_the_logits_are_refused():
    sound = predictions(LOGITS)
    proof.check_probabilities(sound)
    off = Predictions(sound.logits, sound.labels, sound.indices, sound.probabilities + np.float32(2e-3))
    with pytest.raises(StageFailed, match="differ from the softmax"):
        proof.check_probabilities(off)
    with pytest.raises(StageFailed, match="no probabilities"):
        proof.check_probabilities(Predictions(sound.logits, sound.labels, sound.indices))


# --- evaluate: int8 as it is written ------------------------------------------------------------------


def test_a_device_that_rounds_a_little_otherwise_is_told_by_how_much():
    near = LOGITS + np.random.default_rng(3).normal(0, 0.02, LOGITS.shape).astype(np.float32)
    told = compare_with_simulation(predictions(near), predictions(LOGITS[10:], first=10))
    assert told["images"] == 30, "those that both saw"
    assert told["max_logit_difference"] == pytest.approx(np.abs(near - LOGITS)[10:].max(), rel=1e-5)
    assert told["agreement"] == (near.argmax(1) == LOGITS.argmax(1))[10:].mean()


@pytest.mark.parametrize(
    "broken",
    [
        lambda z: np.minimum(z, np.float32(4)),
        lambda z: z * np.float32(1.05),
        lambda z: z + np.random.default_rng(4).normal(0, 1, z.shape),
        lambda z: np.where(np.arange(6) == 2, np.nan, z),
    ],
    ids=["saturated", "another scale", "noise", "NaN"],
)
def test_a_device_that_does_not_compute_what_the_file_says_is_refused(broken):
    with pytest.raises(StageFailed, match="on its device differ from its simulation") as refused:
        compare_with_simulation(predictions(broken(LOGITS)), predictions(LOGITS))
    assert "Do not ship it there" in refused.value.remedy


def test_a_file_that_one_grey_level_changes_as_much_is_not_the_devices_fault():
    rough = LOGITS + np.random.default_rng(4).normal(0, 1, LOGITS.shape).astype(np.float32)
    moved = LOGITS + np.random.default_rng(5).normal(0, 1.2, LOGITS.shape).astype(np.float32)
    told = compare_with_simulation(predictions(rough), predictions(LOGITS), predictions(moved[:20]))
    assert told["apart"] > APART, "more than a trained file may differ"
    assert told["sensitivity"] == pytest.approx(told["apart"], rel=0.5)
    steady = predictions(LOGITS + np.float32(1e-3))
    with pytest.raises(StageFailed, match="one grey level in each pixel moves the simulation by 0.0"):
        compare_with_simulation(predictions(rough), predictions(LOGITS), steady)


def test_int8_is_simulated_and_held_against_it_in_every_run(tiny):
    for row in json.loads((tiny.out / "report.json").read_text())["measurements"]:
        said = [note for note in row["notes"] if "simulated as written: they differ by" in note]
        assert len(said) == (row["precision"] == "int8")


# --- soft labels ---------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=60)
@given(st.integers(2, 200), st.floats(0.01, 300), st.floats(-1e4, 1e4), st.integers(0, 10_000))
def test_packed_logits_give_back_the_probabilities(classes, spread, shift, seed):
    logits = (np.random.default_rng(seed).normal(0, spread, (8, classes)) + shift).astype(np.float32)
    centred, maxima = soft_labels.packed(logits)
    assert (centred.dtype, maxima.dtype) == (np.float16, np.float32)
    restored = centred.astype(np.float64) + maxima[:, None]

    def probabilities(values):
        shifted = np.exp(values.astype(np.float64) - values.max(1, keepdims=True))
        return shifted / shifted.sum(1, keepdims=True)

    assert np.abs(probabilities(restored) - probabilities(logits)).max() <= 3e-4
    assert (restored.max(1) == logits.max(1)).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_are_refused(bad):
    with pytest.raises(StageFailed, match="not finite"):
        soft_labels.packed(np.array([[0.0, bad, 1.0]], dtype=np.float32))


def test_logits_that_do_not_fit_into_float16_are_refused():
    with pytest.raises(StageFailed, match="spread over"):
        soft_labels.packed(np.array([[0.0, -7e4]], dtype=np.float32))


def folder_of(tiny, stage: str) -> Path:
    name = next(line["fingerprint"] for line in tiny.report["plan"] if line["stage"] == stage)
    return tiny.store / "objects" / name[:2] / name


def test_stored_answers_are_the_teachers_to_the_very_views_the_student_sees(tiny):
    prepared = Prepared.open(folder_of(tiny, "prepare"))
    teacher, _ = image_model.load(folder_of(tiny, "teacher"))
    affine = Affine(scale=(0.5,))
    stored = SoftLabels.open(folder_of(tiny, "soft-labels"), affine)
    recipe = tiny.report["recipe"]
    crop = Component(name="crop_pad", settings={})
    params = EpochParams(seed=recipe["seed"], augmentation=crop, mixing=None)
    epochs = Epochs.of(prepared, recipe["distill"]["images_per_step"], params)
    seen: list[int] = []
    for batch in stored.batches(epochs, 0, 0, 1):
        with torch.no_grad():
            live = TensorAffine(affine)(teacher.eval()(batch.images).float())
        assert torch.allclose(live, batch.teacher_logits, atol=5e-3)
        assert torch.equal(batch.labels, torch.from_numpy(prepared.labels[epochs.rows[batch.indices]]))
        seen += batch.indices.tolist()
    assert len(set(seen)) == len(seen) >= len(epochs.rows) - epochs.images_per_step


def test_a_live_teacher_answers_in_full_precision_while_the_student_autocasts(tiny):
    prepared = Prepared.open(folder_of(tiny, "prepare"))
    teacher, _ = image_model.load(folder_of(tiny, "teacher"))
    student, _ = image_model.load(folder_of(tiny, "distill"))
    seen = []

    class Spy(Loss):
        def forward(self, step):
            seen.append(step)
            return step.student.logits.sum()

    module = Distillation(student, WeightedLosses([("spy", 1.0, Spy())]), teacher, Affine(scale=(0.5,)))
    images = torch.from_numpy(prepared.images[np.arange(16)])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        module(Batch(images, torch.zeros(16, dtype=torch.long), torch.arange(16), 0.0))
    with torch.no_grad():
        assert torch.equal(seen[0].teacher.logits, 0.5 * teacher(images))
        assert not torch.equal(seen[0].student.logits.float(), student(images))


def test_mixed_batches_carry_both_labels_and_come_again(tiny):
    prepared = Prepared.open(folder_of(tiny, "prepare"))
    cutmix = Component(name="cutmix", settings={"alpha": 1.0, "probability": 1.0})
    params = EpochParams(seed=3, augmentation=Component(name="none", settings={}), mixing=cutmix)
    epochs = Epochs.of(prepared, 32, params)
    first, again = (list(epochs.fresh(1, 0, 1)) for _ in "12")
    for batch, twin in zip(first, again, strict=True):
        assert torch.equal(batch.images, twin.images)
        assert batch.share == twin.share
        assert torch.equal(batch.labels, torch.from_numpy(prepared.labels[epochs.rows[batch.indices]]))
        assert sorted(batch.other_labels.tolist()) == sorted(batch.labels.tolist())
    assert any(not torch.equal(batch.labels, batch.other_labels) for batch in first)


@pytest.mark.parametrize("length", [1, 3, 9], ids=["temperature", "vector", "matrix"])
def test_affine_on_tensors_is_the_affine_on_arrays(length):
    draw = np.random.default_rng(4)
    logits = draw.normal(0, 3, (5, 3)).astype(np.float32)
    affine = Affine(scale=tuple(draw.uniform(0.5, 2, length)), bias=tuple(draw.normal(0, 1, 3)))
    on_tensors = TensorAffine(affine)
    calibrated = on_tensors(torch.from_numpy(logits))
    np.testing.assert_allclose(calibrated, affine.apply(logits), rtol=1e-5)
    assert torch.equal(on_tensors(torch.from_numpy(logits)), calibrated)


def test_an_affine_makes_its_tensors_once(monkeypatch):
    """A matrix of 1,000 classes takes longer to convert than a small student's step."""
    on_tensors = TensorAffine(Affine(scale=tuple(np.eye(4).ravel() * 2), bias=(1.0,) * 4))
    first = on_tensors(torch.ones(2, 4))
    monkeypatch.setattr(torch, "tensor", None)
    assert torch.equal(on_tensors(torch.ones(2, 4)), first)
    assert torch.equal(first, torch.full((2, 4), 3.0))


# --- which file is run; a stage in a process of its own -------------------------------------------------


def test_onnxruntime_runs_the_derived_file_and_others_the_canonical_one(tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"")
    assert executed_file(tmp_path, "onnxruntime").name == "model.onnx"
    (tmp_path / "model.cpu.onnx").write_bytes(b"")
    assert executed_file(tmp_path, "onnxruntime").name == "model.cpu.onnx"
    assert executed_file(tmp_path, "tensorrt").name == "model.onnx"
    elsewhere = {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]}
    assert executed_file(tmp_path, "onnxruntime", elsewhere).name == "model.onnx"
    assert executed_file(tmp_path, "onnxruntime", {"threads": 2}).name == "model.cpu.onnx"


def test_stage_runs_from_its_description_as_torchrun_starts_it(tiny, tmp_path):
    """The teacher again, in a process of its own: the same weights, bit for bit."""
    manifest = json.loads((folder_of(tiny, "teacher") / "manifest.json").read_text())
    out, scratch = tmp_path / "out", tmp_path / "scratch"
    out.mkdir()
    scratch.mkdir()
    description = {
        "function": manifest["function"],
        "params": manifest["params"],
        "locations": {"accelerator": "cpu", "cache": "disk", "weights": None, "pretrained": None},
        "inputs": {"data": str(folder_of(tiny, "prepare"))},
        "out": str(out),
        "scratch": str(scratch),
    }
    (tmp_path / "job.json").write_text(json.dumps(description))
    subprocess.run([sys.executable, "-m", "calkd_edge.stages", str(tmp_path / "job.json")], check=True)
    made = (out / "weights.safetensors").read_bytes()
    assert made == (folder_of(tiny, "teacher") / "weights.safetensors").read_bytes()


def test_every_stage_says_what_it_reads_and_writes(tiny):
    """Every file a stage published is named by its manifest, and its inputs are folders of the same plan."""
    names = {line["fingerprint"] for line in tiny.report["plan"]}
    for line in tiny.report["plan"]:
        manifest = json.loads((folder_of(tiny, line["stage"]) / "manifest.json").read_text())
        assert manifest["stage"] == line["stage"]
        assert set(manifest["inputs"].values()) <= names
        assert manifest["files"]
        assert manifest["threads"] >= 1


def test_student_is_not_moved_by_what_only_measures(tiny):
    """Precisions, gates, devices and limits do not enter the fingerprint of training."""
    manifest = json.loads((folder_of(tiny, "distill") / "manifest.json").read_text())
    text = json.dumps(manifest["params"])
    for word in ("precision", "gates", "device", "benchmark", "root", "accelerator"):
        assert word not in text
