"""int8 that is trained for, and int8 with layers left in float32: beside the others in one report."""

from __future__ import annotations

import json
import shutil

import numpy as np
import onnx
import pytest
from safetensors.numpy import load_file
from tiny_run import RECIPE, command, recipe_with, written

from calkd_edge.onnx_model.graph import metadata
from calkd_edge.quantization.scales import activation_scale

PRECISIONS = [
    *RECIPE["precisions"],
    {"name": "int8_mixed", "images": 32, "max_drop": 0.0},
    {"name": "int8_qat", "images": 32, "epochs": 2, "lr": 0.01},
]


@pytest.fixture(scope="module")
def run(tiny, tmp_path_factory):
    """The tiny run's store, gone on with."""
    folder = tmp_path_factory.mktemp("qat")
    shutil.copytree(tiny.store, folder / "store")
    recipe = written(folder, recipe_with(precisions=PRECISIONS))
    done = command("compress", "--recipe", recipe, "--store", folder / "store", "--out", folder / "out")
    assert done.code == 0, done.err
    return folder


def report_of(run):
    return json.loads((run / "out" / "report.json").read_text())


def folder_of(run, name):
    prints = {line["stage"]: line["fingerprint"] for line in report_of(run)["plan"]}
    return run / "store" / "objects" / prints[name][:2] / prints[name]


def test_only_what_is_new_was_run(run, tiny):
    plan = report_of(run)["plan"]
    new = [line["stage"] for line in plan if not line["reused"]]
    trained = [name for name in new if name.startswith(("qat", "export", "quantize"))]
    assert trained == [
        "quantize-student-int8_mixed",
        "qat",
        "export-student-int8_qat",
        "quantize-student-int8_qat",
    ]
    assert not {"teacher", "distill", "quantize-student-int8"} & set(new)


def test_the_file_holds_the_ranges_that_were_trained(run):
    ranges = json.loads((folder_of(run, "qat") / "ranges.json").read_text())
    quantized = onnx.load(folder_of(run, "quantize-student-int8_qat") / "model.onnx")
    stored = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    scales = [
        float(stored[node.input[1]]) for node in quantized.graph.node if node.op_type == "QuantizeLinear"
    ]
    assert len(scales) >= 8
    trained = sorted(np.float32(activation_scale(value, "free")) for value in set(ranges.values()))
    assert sorted(scales) == trained
    assert "trained_ranges" not in metadata(quantized)


def test_its_student_learned_on_with_statistics_as_they_were(run):
    before, after = (load_file(folder_of(run, name) / "weights.safetensors") for name in ("distill", "qat"))
    assert before.keys() == after.keys()
    for name, value in before.items():
        same = np.array_equal(value, after[name])
        assert same == ("running_" in name or "num_batches" in name), name
    lines = (folder_of(run, "qat") / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == [0, 1]


def test_the_report_shows_it_beside_the_others(run):
    rows = [(row["model"], row["precision"]) for row in report_of(run)["measurements"]]
    assert {("student", name) for name in ("fp32", "int8", "int8_mixed", "int8_qat")} <= set(rows)
    page = (run / "out" / "report.html").read_text()
    assert "int8_qat" in page


def test_what_layers_were_chosen_by_fits_no_temperature(run):
    told = json.loads((folder_of(run, "calibrate-student-int8_mixed") / "layers_in_float.json").read_text())
    fitted = json.loads((folder_of(run, "calibrate-student-int8_mixed") / "calibration.json").read_text())
    assert told["images"] + fitted["images"] == RECIPE["data"]["calibration_images"]
    assert fitted["split"] == "held-out calibration"
    assert told["drop"] <= 0.0
    row = next(
        row
        for row in report_of(run)["measurements"]
        if row["precision"] == "int8_mixed" and row["calibrated"]
    )
    assert any("layers" in note and "calibration images" in note for note in row["notes"])
    cost = any("what stays in float32 makes it take" in said for said in report_of(run)["conclusions"])
    assert cost == bool(told["in_float"])
