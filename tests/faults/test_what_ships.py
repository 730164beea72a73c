"""A model that changes by one byte after it was published: nothing is released, and `verify` says so."""

from __future__ import annotations

import hashlib
import json
import shutil
import zipfile

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from tiny_run import TinyRun, command

import calkd_edge as ck
from calkd_edge.engine.runner import Runner
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.pipeline import run


@pytest.fixture
def own(tiny, tmp_path):
    """The tiny run with a store of its own, which may be damaged."""
    shutil.copytree(tiny.store, tmp_path / "store")
    return TinyRun(tiny.recipe, tmp_path / "store", tiny.out, tiny.done)


def flip_after(monkeypatch, stage, path, position):
    """Change one byte of a file when a stage of the next run has finished."""
    ordinary = Runner.run

    def then_flip(self, one):
        result = ordinary(self, one)
        if one.name == stage:
            content = bytearray(path.read_bytes())
            content[position % len(content)] ^= 1
            path.write_bytes(content)
        return result

    monkeypatch.setattr(Runner, "run", then_flip)


AFTER_CALIBRATION = [
    ("calibrate-student-int8", "predict-student-int8@local"),
    ("predict-student-int8@local", "benchmark-student-int8@local"),
    ("evaluate-student-int8@local", None),
    ("benchmark-student-int8@local", None),
]


@pytest.mark.parametrize(
    ("stage", "name"),
    [
        ("distill", "weights.safetensors"),
        ("predict-student-int8@local", "test.npz"),
        ("evaluate-student-int8@local", "quality.json"),
    ],
)
def test_result_that_changes_after_its_stage_is_not_read(own, tmp_path, monkeypatch, stage, name):
    flip_after(monkeypatch, stage, own.stage_folder(stage) / name, -40)
    out = tmp_path / "out"
    done = own.again(out, "--fresh", stage)
    assert done.code == 6, done.err
    assert f"the published folder of {stage} is damaged: {name} differs from its SHA-256" in done.err
    assert not (out / "report.json").exists()


@pytest.mark.parametrize("name", ["model.onnx", "model.cpu.onnx"])
@pytest.mark.parametrize(("stage", "fresh"), AFTER_CALIBRATION)
def test_model_that_changes_between_scoring_and_release_ships_nothing(
    own, tmp_path, monkeypatch, stage, fresh, name
):
    flip_after(monkeypatch, stage, own.stage_folder("calibrate-student-int8") / name, 1000)
    out = tmp_path / "out"
    done = own.again(out, *(() if fresh is None else ("--fresh", fresh)))
    assert done.code == 6, done.err
    assert f"{name} differs from its SHA-256" in done.err
    assert "rm -r" in done.err
    assert not any(path.is_file() for path in out.rglob("*") if path.name != "log.txt")


def rewritten(bundle, target, change):
    """The bundle with its model, manifest and sums changed as somebody would who knows the format."""
    with zipfile.ZipFile(bundle) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    listed = json.loads(content["manifest.json"])
    for name in listed["files"]:
        digest = hashlib.sha256(content[name]).hexdigest()
        listed["files"][name] = {"sha256": digest, "bytes": len(content[name])}
    content["manifest.json"] = json.dumps(listed).encode()
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in content.items() if name != "SHA256SUMS"}
    content["SHA256SUMS"] = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums)).encode()
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return target


def with_other_weights(content):
    """Every large weight of the float model with its sign turned: the file opens and is another model."""
    model = onnx.load_from_string(content["student.fp32.onnx"])
    for tensor in model.graph.initializer:
        if np.prod(tensor.dims) > 100:
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
    content["student.fp32.onnx"] = model.SerializeToString()


def measured_as_it_is(content):
    """The same, and manifest and report claim that this file was measured."""
    old = content["student.fp32.onnx"]
    with_other_weights(content)
    new = content["student.fp32.onnx"]
    digests = [hashlib.sha256(model).hexdigest().encode() for model in (old, new)]
    for record in ("manifest.json", "report.json"):
        content[record] = content[record].replace(*digests)
    report = json.loads(content["report.json"])
    for row in report["measurements"]:
        row["size_bytes"] = len(content.get(row["file"], b"x" * row["size_bytes"]))
    content["report.json"] = json.dumps(report).encode()


def test_model_that_was_exchanged_with_its_checksums_is_not_the_one_that_was_measured(tiny, tmp_path):
    done = command("verify", rewritten(tiny.out / "bundle.zip", tmp_path / "b.zip", with_other_weights))
    assert done.code == 3
    assert "student.fp32.onnx is not the file that was measured on local" in done.out


def test_model_that_was_exchanged_with_every_record_of_it_answers_differently(tiny, tmp_path):
    bundle = rewritten(tiny.out / "bundle.zip", tmp_path / "b.zip", measured_as_it_is)
    done = command("verify", bundle, "--run")
    assert done.code == 3
    assert "student.fp32.onnx does not answer on local as it did" in done.out


def test_release_is_verified_by_running_every_precision(tiny):
    for path in (tiny.out, tiny.out / "bundle.zip"):
        done = command("verify", path, "--run")
        assert done.code == 0, done.err
        for name in ("student.fp32.onnx", "student.int8.cpu.onnx"):
            assert f"{name} answers on local as it did" in done.err
    assert command("verify", tiny.out, "--run", "--device", "nowhere").code == 2


def test_two_runs_into_one_folder_one_is_refused(tiny, tmp_path, monkeypatch):
    """The second starts while the first is at work."""
    ordinary, refusals = run.run_stages, []

    def meanwhile(*arguments):
        with pytest.raises(EnvironmentProblem, match="another run writes into") as refused:
            ck.compress(tiny.recipe, store=tiny.store, out=tmp_path, overrides=["gates=[]"])
        refusals.append(refused.value.exit_code)
        return ordinary(*arguments)

    monkeypatch.setattr(run, "run_stages", meanwhile)
    assert tiny.again(tmp_path).code == 0
    assert refusals == [6]
    assert command("verify", tmp_path).code == 0


@pytest.mark.parametrize("bad", ["gates=[{metric: nonsense, max: 1}]", "distill.optimizer.lr=1e30"])
def test_run_that_fails_leaves_no_release_of_another_recipe(tiny, tmp_path, bad):
    """One is refused by the plan, one fails while it trains."""
    assert tiny.again(tmp_path).code == 0
    assert tiny.again(tmp_path, "--set", bad).code in (2, 7)
    assert not (tmp_path / "bundle.zip").exists()
    assert not (tmp_path / "report.json").exists()
