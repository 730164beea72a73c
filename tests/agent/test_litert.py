"""LiteRT in the agent: it answers as ONNX Runtime does, from the file that the host made, one image a run."""

from __future__ import annotations

import hashlib
import json
import sys
import zipfile

import numpy as np
import onnx
import pytest
from played_classifier import classifier_model
from tiny_run import RECIPE, command, recipe_with, written

from calkd_edge.agent import PROTOCOL, __main__, packages
from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import open_runtime
from calkd_edge.export.litert import convert

pytest.importorskip("ai_edge_litert", reason="needs the extra [litert]")
IMAGES = np.random.default_rng(1).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("file") / "model.tflite"
    path.write_bytes(convert(classifier_model()))
    return path


def sealed(path):
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_it_answers_as_onnx_runtime_does(file, tmp_path):
    onnx.save(classifier_model(), tmp_path / "model.onnx")
    with open_runtime("onnxruntime", str(tmp_path / "model.onnx"), {}) as other:
        wanted = other.infer(IMAGES)
    with open_runtime("litert", str(file), {"threads": 2, **sealed(file)}) as opened:
        results = [opened.infer(IMAGES[index : index + 1]) for index in range(len(IMAGES))]
        options = opened.session_options()
    assert set(wanted) == set(results[0]) == {"logits", "probabilities"}
    for name, values in wanted.items():
        np.testing.assert_allclose(np.concatenate([outputs[name] for outputs in results]), values, atol=1e-5)
    assert options["threads"] == 2
    assert options["litert"] == packages.runtimes()["litert"]


def test_later_runs_do_not_change_earlier_results(file):
    with open_runtime("litert", str(file), {}) as opened:
        first = opened.infer(IMAGES[:1])["logits"]
        kept = first.copy()
        opened.infer(IMAGES[1:2])
        np.testing.assert_array_equal(first, kept)


def test_several_images_a_run_are_refused(file):
    with (
        open_runtime("litert", str(file), {}) as opened,
        pytest.raises(AgentProblem, match=r"\[2, 3, 8, 8\]"),
    ):
        opened.infer(IMAGES[:2])


@pytest.mark.parametrize("damage", ["a byte", "the end", "everything"])
def test_a_damaged_file_is_refused_before_it_is_opened(file, tmp_path, damage):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    ways = {"a byte": bytes(content), "the end": file.read_bytes()[:-64], "everything": b""}
    (tmp_path / "model.tflite").write_bytes(ways[damage])
    runtime = open_runtime("litert", str(tmp_path / "model.tflite"), sealed(file))
    with pytest.raises(AgentProblem, match="not the file that was converted"), runtime:
        pass


def test_what_cannot_be_opened_is_refused(file, tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"no model")
    with (
        pytest.raises(AgentProblem, match="refuses"),
        open_runtime("litert", str(tmp_path / "model.tflite"), {}),
    ):
        pass
    with pytest.raises(AgentProblem, match="unknown option providers"):
        open_runtime("litert", str(file), {"providers": []})


def test_agent_predicts_a_single_image_a_run(file, tmp_path):
    np.save(tmp_path / "images.npy", IMAGES)
    job = {"protocol": PROTOCOL, "model": str(file), "images": str(tmp_path / "images.npy")}
    job.update(runtime="litert", options=sealed(file), outputs=str(tmp_path / "out.npz"), images_per_run=1)
    (tmp_path / "job.json").write_text(json.dumps(job))
    status = __main__.main(["predict", str(tmp_path / "job.json"), str(tmp_path / "reply.json")])
    assert status == 0, (tmp_path / "reply.json").read_text()
    assert np.load(tmp_path / "out.npz")["probabilities"].shape == (20, 5)


def test_recipe_measures_the_converted_files_and_ships_them(tiny, tmp_path):
    done = tiny.again(tmp_path / "out", "--device", "local:litert")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    rows = [row for row in report["measurements"] if row["model"] == "student" and row["calibrated"]]
    results = {(row["runtime"], row["precision"]): row for row in rows}
    assert set(results) == {(run, kind) for run in ("onnxruntime", "litert") for kind in ("fp32", "int8")}
    with zipfile.ZipFile(tmp_path / "out" / "bundle.zip") as bundle:
        packed = bundle.namelist()
    for kind in ("fp32", "int8"):
        row, other = results["litert", kind], results["onnxruntime", kind]
        shipped = tmp_path / "out" / "models" / f"student.{kind}.tflite"
        assert row["file"] == shipped.name
        assert row["sha256"] == row["session_options"]["sha256"]
        assert row["sha256"] == hashlib.sha256(shipped.read_bytes()).hexdigest()
        assert row["size_bytes"] == shipped.stat().st_size
        assert row["latency_ms"]["p50"]["value"] > 0
        assert row["calibration"]["scale"] == other["calibration"]["scale"]
        assert row["calibration"]["proof"]["argmax_changes"] == 0
        gap = 1e-4 if kind == "fp32" else 0.02
        assert row["quality"]["nll"]["value"] == pytest.approx(other["quality"]["nll"]["value"], abs=gap)
        assert any("made from the ONNX file: they differ by" in note for note in row["notes"])
        assert {shipped.name, f"golden/{shipped.name}.npz"} <= set(packed)


def test_it_is_the_calibrated_file_that_was_converted(tiny, tmp_path):
    done = tiny.again(tmp_path / "out", "--device", "local:litert")
    assert done.code == 0, done.err
    models = tmp_path / "out" / "models"
    assert (models / "student.int8.tflite").read_bytes() == convert(onnx.load(models / "student.int8.onnx"))


def test_without_it_nothing_is_converted_and_old_files_go(tiny, tmp_path):
    assert tiny.again(tmp_path / "out", "--device", "local:litert").code == 0
    done = tiny.again(tmp_path / "out")
    assert done.code == 0, done.err
    assert not list((tmp_path / "out" / "models").glob("*.tflite"))
    plan = json.loads((tmp_path / "out" / "report.json").read_text())["plan"]
    assert not [line for line in plan if line["stage"].startswith("convert")]


def test_the_calibration_can_be_fitted_on_what_it_answers(tiny, tmp_path):
    recipe = written(tmp_path, recipe_with(devices=[{"name": "local", "runtime": "litert"}]))
    done = command("compress", "--recipe", recipe, "--store", tiny.store, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert {row["runtime"] for row in report["measurements"]} == {"litert"}
    assert (tmp_path / "out" / "models" / "teacher.fp32.tflite").is_file()


def test_a_file_that_says_something_else_stops_the_run(tiny, tmp_path, monkeypatch):
    """The conversion is made wrong: the activation functions behind layers are forgotten."""
    from calkd_edge.export.litert.translation import Translation

    def forgetful(self, enumeration, name):
        number = getattr(getattr(self.file.schema, enumeration), name)
        return 0 if enumeration == "ActivationFunctionType" else int(number)

    monkeypatch.setattr(Translation, "code", forgetful)
    recipe = written(
        tmp_path,
        recipe_with(
            devices=[{"name": "local"}, {"name": "local", "runtime": "litert"}],
            precisions=[{"name": "fp32"}],
            name="other",
            seed=18,
        ),
    )
    done = command("compress", "--recipe", recipe, "--store", tmp_path / "store", "--out", tmp_path / "out")
    assert done.code == 7
    assert "the converted file differs from the ONNX file" in " ".join(done.err.split())


def test_without_the_package_the_recipe_is_refused_before_anything_trains(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.schema_py_generated", None)
    recipe = written(
        tmp_path, recipe_with(devices=[{"name": "local", "runtime": "litert"}], student=RECIPE["student"])
    )
    done = command("compress", "--recipe", recipe, "--store", tmp_path / "store", "--out", tmp_path / "out")
    assert done.code == 6
    assert "pip install 'calkd-edge[litert]'" in " ".join(done.err.split())
    assert not (tmp_path / "store" / "stages").exists()
