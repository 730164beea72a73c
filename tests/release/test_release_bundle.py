"""Bundles: equal bytes for equal content, and every kind of damage is reported."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import subprocess
import sys
import time
import zipfile

import numpy as np
import pytest
import yaml
from huggingface_hub import ModelCard

from calkd_edge.errors import EnvironmentProblem, GateFailed, GateUndecided, RecipeError
from calkd_edge.release.bundle import write_bundle
from calkd_edge.release.consumption import Preprocessing
from calkd_edge.release.hub_head import head
from calkd_edge.release.report.page import render_html
from calkd_edge.release.verification import problems_of


@pytest.fixture
def parts(report, tmp_path):
    model = tmp_path / "model.int8.onnx"
    model.write_bytes(b"\x08\x09 not really a model" * 500)
    images = np.random.default_rng(0).integers(0, 256, size=(4, 3, 8, 8), dtype=np.uint8)
    golden = {
        "images": images,
        "model.int8.onnx/logits": np.ones((4, 10), np.float32),
        "model.int8.onnx/probabilities": np.full((4, 10), 0.1, np.float32),
    }
    passed = report.model_copy(update={"verdict": "passed"})
    return {
        "report": passed,
        "page": render_html(passed),
        "files": {model.name: model},
        "golden": golden,
        "preprocessing": Preprocessing(8, 8, "crop", (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "middle square"),
        "documents": {"golden/photos/02.png": b"a photo"},
        "card_first_word": "passed",
    }


@pytest.fixture
def bundle(parts, tmp_path):
    return write_bundle(tmp_path / "out" / "bundle.zip", **parts)


def rewritten(bundle, target, change):
    """The bundle with its {name: bytes} changed by `change`."""
    with zipfile.ZipFile(bundle) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    change(content)
    with zipfile.ZipFile(target, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return target


def test_a_sound_bundle_has_no_problems_and_holds_what_it_lists(bundle):
    assert problems_of(bundle) == []
    with zipfile.ZipFile(bundle) as archive:
        names = archive.namelist()
        manifest = json.loads(archive.read("manifest.json"))
        model = archive.read("model.int8.onnx")
    assert names == sorted(names)
    assert set(names) == {*manifest["files"], "manifest.json", "SHA256SUMS"}
    assert manifest["schema_version"] == 1
    assert manifest["files"]["model.int8.onnx"] == {
        "sha256": hashlib.sha256(model).hexdigest(),
        "bytes": len(model),
    }
    assert [stage["stage"] for stage in manifest["provenance"]][:2] == ["prepare", "teacher"]
    assert {"golden/inputs.npz", "golden/model.int8.onnx.npz", "report.json", "report.html"} <= set(names)


def test_equal_content_gives_equal_bytes_at_another_time(parts, bundle, tmp_path):
    for path in parts["files"].values():
        os.utime(path, (time.time() - 9e6, time.time() - 9e6))
    assert write_bundle(tmp_path / "again.zip", **parts).read_bytes() == bundle.read_bytes()


def test_golden_arrays_read_back_without_pickle(bundle, parts, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "x")
    with np.load(tmp_path / "x/golden/inputs.npz", allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["images"], parts["golden"]["images"])
    with np.load(tmp_path / "x/golden/model.int8.onnx.npz", allow_pickle=False) as stored:
        assert sorted(stored) == ["logits", "probabilities"]


def test_sha256sum_agrees(bundle, tmp_path):
    with zipfile.ZipFile(bundle) as archive:
        archive.extractall(tmp_path / "x")
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=tmp_path / "x", check=False)
    assert done.returncode == 0


def flip_a_byte(content):
    data = bytearray(content["model.int8.onnx"])
    data[100] ^= 1
    content["model.int8.onnx"] = bytes(data)


def edit_the_manifest(content):
    tree = json.loads(content["manifest.json"])
    content["manifest.json"] = json.dumps(tree | {"verdict": "splendid"}).encode()


def raise_the_schema(content):
    tree = json.loads(content["manifest.json"])
    content["manifest.json"] = json.dumps(tree | {"schema_version": 2}).encode()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (flip_a_byte, "model.int8.onnx was altered"),
        (lambda c: c.pop("report.json"), "report.json is missing"),
        (lambda c: c.pop("SHA256SUMS"), "SHA256SUMS is missing"),
        (lambda c: c.update({"extra.bin": b"x"}), "extra.bin is surplus"),
        (edit_the_manifest, "SHA256SUMS and manifest.json disagree"),
        (lambda c: c.update(SHA256SUMS=b"nothing"), "disagree"),
        (raise_the_schema, "newer than 1"),
        (lambda c: c.pop("manifest.json"), "this is not a bundle"),
        (lambda c: c.update({"manifest.json": b"{"}), "not readable"),
        (lambda c: c.update({"manifest.json": b"[]"}), "not readable"),
    ],
)
def test_every_kind_of_damage_is_reported(bundle, tmp_path, change, expected):
    problems = problems_of(rewritten(bundle, tmp_path / "bad.zip", change))
    assert any(expected in problem for problem in problems), problems


def test_a_truncated_file_is_not_a_bundle(bundle, tmp_path):
    (tmp_path / "cut.zip").write_bytes(bundle.read_bytes()[:2000])
    assert "not a readable bundle" in problems_of(tmp_path / "cut.zip")[0]


def test_a_missing_bundle_is_a_usage_error(tmp_path):
    with pytest.raises(RecipeError, match="there is no such file"):
        problems_of(str(tmp_path / "none.zip"))


def test_verifying_judging_and_reporting_import_no_training_framework():
    code = (
        "import sys; import calkd_edge.pipeline.verify, calkd_edge.release.gates.verdict; "
        "sys.exit(bool({'torch', 'onnx'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_byte_flipped_inside_the_stored_zip_is_reported(bundle, tmp_path):
    data = bytearray(bundle.read_bytes())
    data[data.index(b"not really a model") + 3] ^= 1
    (tmp_path / "flip.zip").write_bytes(bytes(data))
    assert any("model.int8.onnx was altered" in p for p in problems_of(tmp_path / "flip.zip"))


@pytest.mark.parametrize("verdict", ["failed", "smoke"])
def test_only_passed_or_undecided_releases_are_bundled(parts, tmp_path, verdict):
    parts["report"] = parts["report"].model_copy(update={"verdict": verdict})
    with pytest.raises(GateFailed):
        write_bundle(tmp_path / "b.zip", **parts)
    assert not (tmp_path / "b.zip").exists()


def test_an_undecided_release_says_so_in_the_first_word_of_its_card(parts, tmp_path):
    parts["report"] = parts["report"].model_copy(update={"verdict": "undecided"})
    with pytest.raises(GateUndecided):
        write_bundle(tmp_path / "b.zip", **parts)
    bundle = write_bundle(tmp_path / "b.zip", **(parts | {"card_first_word": "undecided"}))
    with zipfile.ZipFile(bundle) as archive:
        card = archive.read("README.md").decode()
    assert card.split("---\n", 2)[2].split()[0] == "undecided"


def test_the_card_holds_input_classes_calibration_gates_and_limits_escaped(bundle, parts):
    with zipfile.ZipFile(bundle) as archive:
        card = archive.read("README.md").decode()
    assert "[N, 3, 8, 8]" in card
    assert "1. &lt;script&gt;alert(1)&lt;/script&gt;" in card
    assert "<script>" not in card
    assert parts["report"].gates[0].sentence.replace("[", "\\[") in card
    for title in (
        "## Input",
        "## Output",
        "## Files",
        "## Measured",
        "## Calibration",
        "## Gates",
        "## Limits",
    ):
        assert title in card
    table = [line for line in card.splitlines() if line.startswith("|")]
    assert len(table) == 2 + sum(m.calibrated for m in parts["report"].measurements)


def test_the_readme_is_a_model_card_that_the_hub_reads(bundle, parts):
    with zipfile.ZipFile(bundle) as archive:
        text = archive.read("README.md").decode()
    card = ModelCard(text)
    head = card.data.to_dict()
    assert yaml.safe_load(text.split("---\n")[1]).keys() == head.keys()
    assert (head["license"], head["library_name"]) == ("unknown", "onnx")
    assert head["pipeline_tag"] == "image-classification"
    shipped = [m for m in parts["report"].measurements if m.model == "student" and m.calibrated]
    found = {(r.task_name, r.metric_type): r.metric_value for r in card.data.eval_results}
    for row in shipped:
        task = f"{row.file} on local with onnxruntime"
        assert found[task, "accuracy"] == row.quality.top1.value
        assert found[task, "expected_calibration_error"] == row.quality.ece.value
        assert found[task, "negative_log_likelihood"] == row.quality.nll.value
        assert found[task, "latency"] == row.latency_ms.p50.value
    assert len(found) == 4 * len(shipped)


@pytest.mark.parametrize(
    ("terms", "data", "teacher", "expected"),
    [
        ("MIT, copyright (c)", "fashion_mnist_small", {}, ("mit", ["zalando-datasets/fashion_mnist"], None)),
        ("the user's own images", "image_folder", {"pretrained": True}, ("unknown", None, None)),
        (
            "CC-BY-4.0: credit us",
            "cifar10",
            {"name": "timm", "architecture": "resnet50.a1_in1k", "pretrained": True},
            ("cc-by-4.0", ["uoft-cs/cifar10"], ["timm/resnet50.a1_in1k"]),
        ),
    ],
)
def test_the_head_names_on_the_hub_what_has_a_name_there(report, terms, data, teacher, expected):
    sections = {"data": {"name": data}, "teacher": teacher}
    changed = report.model_copy(update={"data": {"license": terms}, "recipe": sections})
    tree = yaml.safe_load(head(changed).strip("-\n"))
    assert (tree["license"], tree.get("datasets"), tree.get("base_model")) == expected


def test_a_program_reads_labels_input_and_thresholds(bundle, parts):
    with zipfile.ZipFile(bundle) as archive:
        labels = archive.read("labels.txt").decode().splitlines()
        preprocessing = json.loads(archive.read("preprocessing.json"))
        thresholds = json.loads(archive.read("thresholds.json"))
        assert archive.read("golden/photos/02.png") == b"a photo"
    assert labels == parts["report"].data["classes"]
    assert preprocessing["input"]["layout"] == "NCHW"
    size = {"how": "crop", "height": 8, "width": 8}
    assert preprocessing["resize"] == {**size, "filter": "bilinear", "antialias": True}
    assert preprocessing["normalization"]["where"] == "inside the file"
    assert "large_jpeg" not in preprocessing["decode"]
    with zipfile.ZipFile(bundle) as archive:
        card = archive.read("README.md").decode()
    assert "repeat grey to three channels.\n2. Cut" in card
    assert thresholds["guaranteed"] == []


def test_a_bundle_says_where_the_datas_photos_were_decoded_at_a_reduced_size(parts, tmp_path):
    fast = dataclasses.replace(parts["preprocessing"], fast_jpeg=True)
    write_bundle(tmp_path / "b.zip", **(parts | {"preprocessing": fast}))
    with zipfile.ZipFile(tmp_path / "b.zip") as archive:
        preprocessing = json.loads(archive.read("preprocessing.json"))
        card = archive.read("README.md").decode()
    assert preprocessing["decode"]["large_jpeg"] == "at a reduced size"
    first, second = card[card.index("1. Decode") :].splitlines()[:2]
    assert "`fast_jpeg`" in first
    assert second.startswith("2. Cut")


def test_a_missing_file_or_a_wrong_golden_array_writes_nothing(parts, tmp_path):
    target = tmp_path / "b.zip"
    with pytest.raises(EnvironmentProblem, match="this file is missing"):
        write_bundle(target, **(parts | {"files": {"model.int8.onnx": tmp_path / "gone"}}))
    for golden in (
        {},
        {"images": np.zeros((2, 3, 4, 4), np.float32)},
        parts["golden"] | {"other.onnx/logits": np.zeros((4, 10))},
        parts["golden"] | {"model.int8.onnx/logits": np.zeros((3, 10))},
    ):
        with pytest.raises(ValueError, match="golden"):
            write_bundle(target, **(parts | {"golden": golden}))
    assert not target.exists()


@pytest.mark.parametrize("name", ["../evil", "/abs", "a\\b", "manifest.json", "report.json"])
def test_names_that_leave_the_bundle_or_hide_its_files_are_refused(parts, tmp_path, name):
    path = next(iter(parts["files"].values()))
    with pytest.raises(ValueError, match="cannot be the name of a file"):
        write_bundle(tmp_path / "b.zip", **(parts | {"files": parts["files"] | {name: path}}))
