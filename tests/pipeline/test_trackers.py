"""Experiment trackers: what reaches each client, and that none of them can end a run."""

from __future__ import annotations

import json

import pytest
from tiny_run import command

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.pipeline import trackers
from calkd_edge.pipeline.trackers import check_trackers, log_to
from calkd_edge.records import Report

HISTORIES = {
    "student": [{"epoch": 1, "calibration_top1": 0.4, "steps": 3}, {"epoch": 2, "calibration_top1": 0.5}]
}


@pytest.fixture
def report(tiny) -> Report:
    return Report.model_validate(tiny.report)


def logged(name: str, report: Report, folder) -> str:
    messages: list[str] = []
    log_to([name], report, HISTORIES, folder, messages.append)
    assert messages[0].startswith(f"Logged to {name}: "), messages
    return messages[0]


def test_tensorboard_shows_curves_and_figures(tiny, report, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logged("tensorboard", report, tmp_path)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    curve = [(event.step, round(event.value, 3)) for event in events.Scalars("student/calibration_top1")]
    assert curve == [(1, 0.4), (2, 0.5)]
    expected = next(m for m in report.measurements if m.precision == "int8" and m.calibrated)
    figure = events.Scalars("release/student_int8_on_local/top1")[0].value
    assert figure == pytest.approx(expected.quality.top1.value)


def test_mlflow_holds_a_run_with_parameters_curves_and_files(tiny, report, tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.chdir(tmp_path)
    mlflow.set_tracking_uri((tmp_path / "runs").as_uri())
    logged("mlflow", report, tiny.out)
    run = mlflow.search_runs(output_format="list")[0]
    assert run.data.tags["verdict"] == report.verdict
    assert run.data.params["seed"] == "17"
    assert run.data.metrics["student/calibration_top1"] == 0.5
    names = {item.path for item in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert names == {"report.html", "report.json", "bundle.zip"}


def test_wandb_writes_a_run(tiny, report, tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    logged("wandb", report, tmp_path)
    assert list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))


def test_client_that_fails_leaves_the_release_as_it_is(tiny, tmp_path, monkeypatch):
    def refuses(*arguments: object) -> str:
        raise ConnectionError("no server")

    monkeypatch.setitem(trackers.TRACKERS, "json", refuses)  # a package that is always there
    out = tmp_path / "out"
    done = command("compress", tiny.recipe, "--store", tiny.store, "--out", out, "--log-to", "json")
    assert (done.code, "WARNING: not logged to json: ConnectionError: no server" in done.err) == (0, True)
    assert json.loads((out / "report.json").read_text())["verdict"] == "passed"


def test_unknown_tracker_and_missing_client_are_refused_before_the_run(monkeypatch):
    with pytest.raises(RecipeError, match="no tracker has this name"):
        check_trackers(["tensorbord"])
    monkeypatch.setattr(trackers, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentProblem, match="client is not installed"):
        check_trackers(["wandb"])
