"""A whole run on real, small parts: what is in the report, the bundle, and what the gates make of them."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from tiny_run import RECIPE, command, recipe_with, written

from calkd_edge.devices import DEVICES
from calkd_edge.devices.local import Local
from calkd_edge.pipeline.notices import EVIDENCE
from calkd_edge.records import Report

FEW_IMAGES = ("--set", "evaluate.images=60")
"""Below 271, so that a limit of one point cannot be decided."""


def rows(report: dict) -> dict[tuple[str, str, bool], dict]:
    return {(m["model"], m["precision"], m["calibrated"]): m for m in report["measurements"]}


@pytest.fixture(scope="session")
def few(tiny, tmp_path_factory):
    """A run whose only gate cannot be decided, bundled all the same."""
    out = tmp_path_factory.mktemp("few")
    gate = "gates=[{metric: top1_drop, within: 0.01}]"
    done = tiny.again(out, *FEW_IMAGES, "--set", gate, "--allow-undecided")
    return done, out


def test_report_holds_teacher_and_student_in_every_precision_calibrated_and_not(tiny):
    found = rows(tiny.report)
    expected = {("teacher", "fp32"), ("student", "fp32"), ("student", "int8")}
    assert set(found) == {(*pair, state) for pair in expected for state in (True, False)}
    for (_, _, calibrated), row in found.items():
        assert row["images"] == 300
        assert row["sha256"]
        assert (row["calibration"] is not None) == calibrated
        assert (row["latency_ms"] is not None) == calibrated


def test_report_validates_as_its_own_record(tiny):
    report = Report.model_validate(tiny.report)
    assert report.verdict == "passed"
    assert (tiny.out / "report.html").read_text().lstrip().lower().startswith("<!doctype html")


def test_calibration_moves_no_answer_and_is_proven_on_every_calibration_image(tiny):
    found = rows(tiny.report)
    for (model, precision, calibrated), row in found.items():
        if calibrated:
            proof = row["calibration"]["proof"]
            assert proof["images"] == 120
            assert proof["max_logit_difference"] <= proof["tolerance"]
            assert proof["argmax_changes"] == 0
            assert row["quality"]["top1"] == found[model, precision, False]["quality"]["top1"]


def test_published_models_are_the_files_that_were_measured(tiny):
    for row in tiny.report["measurements"]:
        content = (tiny.out / "models" / row["file"]).read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["sha256"]
        assert len(content) == row["size_bytes"]


def test_bundle_gives_its_golden_outputs_when_its_files_run_again(tiny, execute):
    with zipfile.ZipFile(tiny.out / "bundle.zip") as bundle:
        images = np.load(io.BytesIO(bundle.read("golden/inputs.npz")))["images"]
        golden = [n for n in bundle.namelist() if n.startswith("golden/student")]
        assert {Path(name).name for name in golden} == {"student.fp32.onnx.npz", "student.int8.cpu.onnx.npz"}
        for name in golden:
            stored = np.load(io.BytesIO(bundle.read(name)))
            model = onnx.load_from_string(bundle.read(name.removeprefix("golden/").removesuffix(".npz")))
            again = execute(model, images)
            for output in ("logits", "probabilities"):
                np.testing.assert_allclose(again[output], stored[output], rtol=0, atol=1e-5)


def test_report_names_weights_data_and_versions(tiny):
    report = tiny.report
    assert len(report["models"]["student"]["weights_sha256"]) == 64
    assert report["data"]["images"] == {"train": 480, "calibration": 120, "test": 300}
    assert report["environment"]["versions"]["torch"]
    assert report["environment"]["threads"] >= 1


def test_report_says_what_the_fitted_temperature_does_to_the_student(tiny):
    (fitted,) = rows(tiny.report)["teacher", "fp32", True]["calibration"]["scale"]
    said = tiny.report["models"]["teacher_calibration"]
    assert f"dividing the teacher's logits by {1 / fitted:.3g} is" in said


@pytest.mark.parametrize(("calibrator", "warned"), [("temperature", True), ("vector", False)])
def test_plan_warns_only_of_a_calibration_that_the_losses_cannot_feel(tmp_path, calibrator, warned):
    losses = [{"name": "cross_entropy"}, {"name": "kd", "standardize": True}]
    tree = recipe_with(calibrator={"name": calibrator}, distill={**RECIPE["distill"], "losses": losses})
    done = command(
        "compress", "--recipe", written(tmp_path, tree), "--dry-run", "--store", tmp_path / "store"
    )
    assert done.code == 0, done.err
    plan = " ".join(done.err.split())
    assert ("calibrating the teacher changes nothing" in plan) == warned
    assert "docs/evidence.md" not in plan, "it is of temperatures that losses feel"


@pytest.mark.parametrize("control", [False, True])
def test_plan_says_what_calibrating_the_teacher_was_shown_to_do(tiny, tmp_path, control):
    done = tiny.again(tmp_path, "--dry-run", "--set", f"distill.control={str(control).lower()}")
    plan = " ".join(done.err.split())
    assert f"Calibrating the teacher: by docs/evidence.md {EVIDENCE}" in plan
    assert ("distill.control: true measures it" in plan) != control


def test_plan_cites_no_evidence_for_a_temperature_that_was_not_fitted(tiny, tmp_path):
    done = tiny.again(tmp_path, "--dry-run", "--set", "calibrator={name: constant, temperature: 1.5}")
    assert done.code == 0, done.err
    assert "docs/evidence.md" not in done.err


def test_impossible_limit_exits_3_with_a_report_and_takes_an_old_bundle_away(tiny, tmp_path):
    assert tiny.again(tmp_path).code == 0
    assert (tmp_path / "bundle.zip").is_file()
    done = tiny.again(tmp_path, "--set", "gates=[{metric: top1, min: 0.99}]")
    assert done.code == 3
    assert json.loads((tmp_path / "report.json").read_text())["verdict"] == "failed"
    assert not (tmp_path / "bundle.zip").exists()
    assert "did not pass" in done.err


def test_one_point_drop_on_few_images_is_refused_or_undecided_and_says_how_many_are_needed(
    few, tiny, tmp_path
):
    refused = tiny.again(tmp_path, *FEW_IMAGES, "--set", "gates=[{metric: top1_drop, max: 0.01}]")
    assert refused.code == 2
    assert "268 are needed" in refused.err
    _, out = few
    report = json.loads((out / "report.json").read_text())
    assert report["verdict"] == "undecided"
    assert any("271 images" in gate["sentence"] for gate in report["gates"])


def test_allowed_undecided_release_says_so_first_and_still_exits_4(few):
    done, out = few
    assert done.code == 4
    with zipfile.ZipFile(out / "bundle.zip") as bundle:
        assert bundle.read("README.md").decode().split("---\n", 2)[2].split()[0] == "undecided"


@pytest.fixture
def second_device():
    """Another device of the same machine: the agent in a folder of its own."""
    DEVICES.add("second", Local)
    yield "second"
    del DEVICES._added["second"]


def test_skipped_device_leaves_its_gates_unmeasured_and_fails(tiny, tmp_path, second_device):
    gate = "gates=[{metric: top1, min: 0.01}]"
    done = tiny.again(tmp_path, "--device", "second", "--skip-device", "second", "--set", gate)
    assert done.code == 3
    report = json.loads((tmp_path / "report.json").read_text())
    results = {gate["measurement"]: gate["result"] for gate in report["gates"]}
    assert results["student int8 on local"] == "passed"
    assert results["student int8 on second"] == "unmeasured"
    assert not (tmp_path / "bundle.zip").exists()


def test_gate_of_a_skipped_device_is_unmeasured_not_unknown(tiny, tmp_path, second_device):
    gate = "gates=[{metric: top1, min: 0.01, device: second}]"
    done = tiny.again(tmp_path, "--device", "second", "--skip-device", "second", "--set", gate)
    assert done.code == 3
    report = json.loads((tmp_path / "report.json").read_text())
    assert {gate["result"] for gate in report["gates"]} == {"unmeasured"}


def test_device_that_fails_on_the_way_keeps_the_others_rows_and_exits_5(tiny, tmp_path):
    class Broken(Local):
        """Answers the probe and nothing else, as a board that loses its power."""

        def run(self, argv, **more):
            return super().run(argv if "probe" in argv else ["false"], **more)

    DEVICES.add("broken", Broken)
    try:
        done = tiny.again(tmp_path, "--device", "broken")
    finally:
        del DEVICES._added["broken"]
    assert done.code == 5
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["verdict"] == "failed"
    results = {gate["measurement"]: gate["result"] for gate in report["gates"]}
    assert results["student int8 on local"] == "passed"
    assert results["student int8 on broken"] == "unmeasured"


def test_unreachable_device_stops_everything_before_a_stage_runs(tmp_path):
    class Gone(Local):
        """Nobody answers."""

        def run(self, argv, **more):
            return super().run(["false"], **more)

    DEVICES.add("gone", Gone)
    try:
        store = tmp_path / "store"
        recipe = written(tmp_path, RECIPE)
        done = command(
            "compress", "--recipe", recipe, "--store", store, "--out", tmp_path / "out", "--device", "gone"
        )
    finally:
        del DEVICES._added["gone"]
    assert done.code == 5
    assert "gone" in done.err
    assert not list(store.glob("objects/*/*"))


@pytest.mark.slow
def test_training_in_two_processes_ends_as_a_release_and_is_written_down(tmp_path):
    recipe = written(tmp_path, RECIPE)
    line = ("compress", "--recipe", recipe, "--store", tmp_path / "store", "--out", tmp_path / "out")
    done = command(*line, "--processes", "2")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["environment"]["processes"] == 2
    assert "batch normalisation is synchronised" in done.err


def test_training_with_every_choice_at_once_runs_and_resumes_from_the_store(tmp_path):
    training = {
        "epochs": 2,
        "images_per_step": 32,
        "optimizer": {"lr": 0.05},
        "schedule": {"name": "one_cycle"},
        "ema_decay": 0.9,
        "autocast": "bf16",
    }
    tree = recipe_with(
        data={
            **RECIPE["data"],
            "augmentation": {"name": "rand_augment", "operations": 1, "magnitude": 9},
        },
        teacher_training={**training, "label_smoothing": 0.1, "mixing": {"name": "mixup", "alpha": 0.4}},
        distill={**RECIPE["distill"], **training, "mixing": {"name": "cutmix"}},
    )
    recipe, store = written(tmp_path, tree), tmp_path / "store"
    done = command("compress", "--recipe", recipe, "--store", store, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert "cutmix mixes images, so no view occurs twice" in done.out + done.err
    again = command("compress", "--recipe", recipe, "--store", store, "--dry-run", "--json")
    assert all(again.stages.values())


def test_report_tells_what_became_of_confidence_under_corruptions_and_against_fp32(tiny):
    shifted = {one["measurement"]: one["rows"] for one in tiny.report["out_of_distribution"]}
    assert set(shifted) == {"student fp32 on local", "student int8 on local"}
    for lines in shifted.values():
        assert [(line["corruption"], line["severity"]) for line in lines] == [
            ("none", 0),
            *((name, severity) for name in ("brightness", "blur", "noise", "jpeg") for severity in (1, 2, 3)),
        ]
        assert all(line["images"] == 300 for line in lines)
        assert lines[9]["top1"]["value"] <= lines[0]["top1"]["value"]
    found = rows(tiny.report)
    clean = found["student", "int8", True]["quality"]
    assert shifted["student int8 on local"][0]["top1"] == clean["top1"]
    assert shifted["student int8 on local"][0]["thresholds"] == clean["thresholds"]
    (drift,) = tiny.report["drift"]
    assert drift["measurement"] == "student int8 on local"
    assert [at["threshold"] for at in drift["shifts"][2]["thresholds"]] == [0.5, 0.8, 0.9]


def test_a_control_shows_what_calibrating_the_teacher_bought(tiny, tmp_path):
    done = tiny.again(tmp_path, "--set", "distill.control=true")
    assert done.code == 0, done.err
    assert "doubles the time of distillation" in " ".join(done.err.split())
    report = json.loads((tmp_path / "report.json").read_text())
    found = rows(report)
    assert ("control", "fp32", True) in found
    assert found["student", "fp32", True]["sha256"] == rows(tiny.report)["student", "fp32", True]["sha256"]
    (said,) = [text for text in report["conclusions"] if text.startswith("Calibrating the teacher changed")]
    assert "its NLL by" in said
    reused = {line["stage"]: line["reused"] for line in report["plan"]}
    assert reused["distill"]
    assert not reused["control"]
    assert not list((tmp_path / "models").glob("control*"))
    assert set(report["models"]) == {"teacher", "student", "control", "teacher_calibration"}


COMPARED = "calibrate.compare=[{name: vector}, {name: isotonic}, {name: histogram, bins: 5}]"


def test_other_maps_are_measured_on_the_calibration_split_and_the_plan_says_which_cannot_ship(tiny, tmp_path):
    done = tiny.again(tmp_path, "--set", COMPARED)
    assert done.code == 0, done.err
    said = " ".join(done.err.split())
    assert "isotonic, histogram: measured for comparison, cannot ship: its map is a table" in said
    assert "Calibration (temperature): folded into the last layer of every precision." in said
    report = json.loads((tmp_path / "report.json").read_text())
    fp32, int8 = report["comparisons"]
    assert (fp32["measurement"], int8["measurement"]) == ("student fp32 on local", "student int8 on local")
    names = [(row["method"], row["ships"]) for row in fp32["rows"]]
    assert names == [("as it is", True), ("vector", True), ("isotonic", False), ("histogram", False)]
    assert all(row["images"] == 120 for row in fp32["rows"])
    assert [row["nll"] is None for row in fp32["rows"]] == [False, False, True, True]
    assert fp32["rows"][2]["ece"]["value"] > 1e-6  # 0 only where it was fitted
    assert "isotonic (measured only)" in (tmp_path / "report.html").read_text()


def test_a_calibrator_that_cannot_ship_is_refused_with_where_to_measure_it(tiny, tmp_path):
    done = tiny.again(tmp_path, "--set", "calibrator={name: isotonic}")
    assert done.code == 2
    said = " ".join(done.err.split())
    assert "isotonic can be measured, but it cannot ship" in said
    assert "compare: [{name: isotonic}]" in said


@pytest.mark.parametrize(
    ("calibrator", "said", "folds"),
    [
        ("affine", "two nodes after int8", {"fp32": "folded", "int8": "nodes_appended"}),
        ("bias", "folded into the last layer of every precision", {"fp32": "folded", "int8": "folded"}),
    ],
)
def test_other_calibrators_run_whole_and_go_where_the_plan_says(tiny, tmp_path, calibrator, said, folds):
    done = tiny.again(tmp_path, "--set", f"calibrator={{name: {calibrator}}}")
    assert done.code == 0, done.err
    assert said in " ".join(done.err.split())
    report = json.loads((tmp_path / "report.json").read_text())
    for (model, precision, calibrated), row in rows(report).items():
        if calibrated and model == "student":
            assert row["calibration"]["fold"] == folds[precision]
            proof = row["calibration"]["proof"]
            assert proof["max_logit_difference"] <= proof["tolerance"]
