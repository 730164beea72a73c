"""The command line during and after a run: what it prints, what it reuses, how it ends."""

from __future__ import annotations

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from functools import partial

import pytest
import yaml
from tiny_run import RECIPE, command, journal, recipe_with, written

from calkd_edge.errors import DeviceError
from calkd_edge.files.named_by_digest import first_intact
from calkd_edge.quantization import QUANTIZERS
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.traits import rounds


def in_a_process(*arguments: object, cwd=None, timeout: float = 120) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "calkd_edge", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, cwd=cwd, timeout=timeout)


def stages_run(store, since: int) -> set[str]:
    """Stages with a folder that started after the first `since` events."""
    events = journal(store)[since:]
    return {line["stage"] for line in events if line["event"] == "started" and line["fingerprint"]}


def again(tiny, tmp_path, *arguments):
    """Run again; returns the result and the stages that were not reused."""
    since = len(journal(tiny.store))
    done = tiny.again(tmp_path, *arguments)
    return done, stages_run(tiny.store, since)


def test_second_run_reuses_every_stage(tiny, tmp_path):
    done, started = again(tiny, tmp_path)
    assert (done.code, started) == (0, set())
    report = json.loads((tmp_path / "report.json").read_text())
    assert all(line["reused"] for line in report["plan"])
    assert report["measurements"] == tiny.report["measurements"]


def test_changed_limit_runs_no_stage_and_changes_the_verdict(tiny, tmp_path):
    done, started = again(tiny, tmp_path, "--set", "gates[0].max=10")
    assert (done.code, started) == (3, set())


def test_path_of_the_data_is_no_reason_to_run_anything(tiny, tmp_path):
    done, started = again(tiny, tmp_path, "--set", f"data.root={tmp_path}")
    assert (done.code, started) == (0, set())


def test_fresh_runs_what_it_names_and_what_depends_on_it(tiny, tmp_path):
    done, started = again(tiny, tmp_path, "--fresh", "evaluate")
    assert done.code == 0
    assert started == {line["stage"] for line in tiny.report["plan"] if line["stage"].startswith("evaluate-")}
    done, started = again(tiny, tmp_path, "--fresh", "calibrate-student-int8")
    dependent = (
        "calibrate",
        "predict",
        "evaluate",
        "predict-corrupted",
        "evaluate-corrupted",
        "benchmark",
    )
    expected = {f"{kind}-student-int8{'' if kind == 'calibrate' else '@local'}" for kind in dependent}
    assert started == expected | {"simulate-student-int8-cpu"}


def test_fresh_refuses_a_stage_that_is_not_planned(tiny, tmp_path):
    done = tiny.again(tmp_path, "--fresh", "evaluat")
    assert done.code == 2
    assert "evaluate-student-fp32@local" in done.err


def test_run_that_is_refused_costs_no_release(tiny, tmp_path):
    """One of another recipe is kept aside until the next release appears."""
    out = tmp_path / "out"
    shutil.copytree(tiny.out, out)
    refused = {
        ("--fresh", "evaluat"): 2,
        ("--set", "gates=[{metric: top1x, min: 0.5}]"): 2,
        ("--set", "data.calibration_images=100000"): 2,
        ("--set", "name=other", "--device", "nosuchboard"): 2,
        ("--set", "name=other", "--baseline", str(out / "bundle.zip")): 2,
    }
    for words, code in refused.items():
        done = command("compress", "--recipe", tiny.recipe, "--store", tiny.store, "--out", out, *words)
        assert done.code == code, (words, done.err)
        kept = out if (out / "report.json").exists() else out / "withdrawn"
        assert command("verify", kept).code == 0, words
        shutil.rmtree(out)
        shutil.copytree(tiny.out, out)
    assert tiny.again(out, "--set", "name=other").code == 0
    assert not (out / "withdrawn").exists()


def test_old_latency_is_measured_again_unless_it_may_be_reused(tiny, tmp_path):
    young = ("--set", "benchmark.max_age_days=1e-9")
    time.sleep(1.1)
    assert again(tiny, tmp_path, *young, "--reuse-measurements")[1] == set()
    started = again(tiny, tmp_path, *young)[1]
    assert started == {line["stage"] for line in tiny.report["plan"] if "benchmark" in line["stage"]}


def test_dry_run_shows_what_is_reused_and_runs_nothing(tiny, tmp_path):
    before = (tiny.store / "journal.jsonl").read_text()
    done = tiny.again(tmp_path / "out", "--dry-run", "--json", "--set", "distill.epochs=3")
    assert done.code == 0
    assert done.stages["teacher"]
    assert done.stages["soft-labels"]
    assert not done.stages["distill"]
    assert not done.stages["export-student"]
    table = tiny.again(tmp_path / "out", "--dry-run")
    assert table.out.count("reused") == len(done.stages)
    assert (tiny.store / "journal.jsonl").read_text() == before
    assert not (tmp_path / "out").exists()


def test_json_is_all_there_is_on_standard_output(tiny, tmp_path):
    done = tiny.again(tmp_path, "--json")
    assert json.loads(done.out) == json.loads((tmp_path / "report.json").read_text())
    assert "recipe" in done.err
    failed = tiny.again(tmp_path, "--json", "--set", "gates[0].max=10")
    assert json.loads(failed.out)["verdict"] == "failed"
    assert failed.code == 3


def test_recipe_is_the_argument_or_the_option(tiny, tmp_path):
    line = ("--store", tiny.store, "--out", tmp_path, "--dry-run", "--json")
    assert (
        command("compress", tiny.recipe, *line).out == command("compress", "--recipe", tiny.recipe, *line).out
    )


def test_bundle_verifies_and_a_tampered_one_exits_3(tiny, tmp_path):
    bundle = tiny.out / "bundle.zip"
    assert command("verify", bundle).code == 0
    tampered = tmp_path / "tampered.zip"
    with zipfile.ZipFile(bundle) as source, zipfile.ZipFile(tampered, "w") as target:
        for name in source.namelist():
            content = source.read(name)
            if name.endswith("student.fp32.onnx"):
                content = content[:-1] + bytes([content[-1] ^ 1])
            target.writestr(name, content)
    done = command("verify", tampered)
    assert done.code == 3
    assert "student.fp32.onnx was altered" in done.out


def test_store_of_a_run_is_sound_and_gc_keeps_what_a_recipe_uses(tiny):
    assert command("store", "check", "--store", tiny.store).code == 0
    kept = set(tiny.store.glob("objects/*/*"))
    done = command("store", "gc", "--keep", tiny.recipe, "--store", tiny.store)
    assert done.code == 0, done.err
    left = set(tiny.store.glob("objects/*/*"))
    fingerprints = {line["fingerprint"] for line in tiny.report["plan"]}
    assert left <= kept
    assert {folder.name for folder in left} >= fingerprints


def test_smoke_runs_every_stage_on_tiny_numbers_and_exits_0_without_a_bundle(tiny, tmp_path):
    impossible = "gates=[{metric: top1, min: 0.9999}]"
    done = tiny.again(tmp_path, "--smoke", "--set", impossible)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["name"] == "tiny-smoke"
    assert report["verdict"] == "smoke"
    assert {gate["result"] for gate in report["gates"]} <= {"failed", "undecided"}
    assert report["data"]["images"] == {"train": 256, "calibration": 120, "test": 128}
    assert not (tmp_path / "bundle.zip").exists()


def test_bug_exits_1_and_names_the_log_that_holds_its_traceback(tiny, tmp_path, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr("calkd_edge.pipeline.run.write_release", broken)
    done = tiny.again(tmp_path)
    assert done.code == 1
    assert "error: ZeroDivisionError: a bug of ours\nfix: This is a bug in calkd-edge." in done.err
    assert str(tmp_path / "log.txt") in done.err
    assert "Traceback" not in done.err
    assert "ZeroDivisionError: a bug of ours" in (tmp_path / "log.txt").read_text()


def test_bug_outside_a_run_exits_1_and_prints_its_traceback(monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("a bug of ours")

    monkeypatch.setattr("calkd_edge.pipeline.listing.schema", broken)
    done = command("schema", "recipe")
    assert done.code == 1
    assert done.err.startswith("error: ZeroDivisionError: a bug of ours\nfix: This is a bug in calkd-edge.")
    assert done.err.rstrip().endswith("ZeroDivisionError: a bug of ours")
    assert "Traceback" in done.err


def test_command_without_a_log_names_a_new_file_of_what_a_board_reported(monkeypatch, tmp_path):
    def failed(*_):
        logging.getLogger("calkd_edge.devices.session").error("board: failed\nTraceback of the board")
        raise DeviceError("board: KeyError: 'x'", remedy="The log holds the board's traceback.")

    monkeypatch.setattr("calkd_edge.pipeline.listing.schema", failed)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    done = command("schema", "recipe")
    (written,) = tmp_path.glob("*.log")
    assert done.code == DeviceError.exit_code
    assert done.err.endswith(f"log: {written}\n")
    assert "Traceback of the board" in written.read_text()
    assert command("list", "no_such_kind").code != 0
    assert list(tmp_path.glob("*.log")) == [written]


def test_full_disk_outside_a_stage_exits_6(tiny, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("calkd_edge.pipeline.run.write_release", full)
    done = tiny.again(tmp_path)
    assert done.code == 6
    assert "full" in done.err


def test_failed_stage_exits_7_and_is_named(tiny, tmp_path, monkeypatch):
    done = tiny.again(tmp_path, "--set", "distill.optimizer.lr=1e30")
    assert done.code == 7
    assert "error: stage distill: " in done.err
    assert "Lower optimizer.lr" in done.err


def test_damaged_store_exits_6_with_the_command_that_fixes_it(tmp_path):
    recipe = written(tmp_path, RECIPE)
    line = ("compress", "--recipe", recipe, "--store", tmp_path / "store", "--out", tmp_path / "out")
    assert command(*line, "--set", "teacher_training.optimizer.lr=1e30").code == 7
    folder = next((tmp_path / "store" / "objects").glob("*/*"))
    (folder / "labels.npy").write_bytes(b"damaged")
    done = command(*line)
    assert done.code == 6
    assert f"rm -r {folder}" in done.err


@pytest.mark.serial
@pytest.mark.parametrize(
    ("number", "code", "message"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "ended by SIGTERM")],
    ids=["SIGINT", "SIGTERM"],
)
def test_signal_ends_a_run_in_order_and_keeps_the_checkpoint(tmp_path, number, code, message):
    tree = recipe_with(teacher_training={**RECIPE["teacher_training"], "epochs": 2000})
    recipe, store = written(tmp_path, tree), tmp_path / "store"
    line = [sys.executable, "-m", "calkd_edge", "compress", "--recipe", str(recipe)]
    line += ["--store", str(store), "--out", str(tmp_path / "out")]
    # Tests in the background of a shell ignore SIGINT, and so do their child processes.
    default = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    (tmp_path / "temporary").mkdir()
    session = {"stderr": subprocess.PIPE, "text": True, "start_new_session": True, "preexec_fn": default}
    session["env"] = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    with subprocess.Popen(line, **session) as process:
        deadline = time.monotonic() + 100
        while not list(store.glob("work/*/scratch/epoch-*.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.05)
        os.killpg(process.pid, number)
        _, messages = process.communicate(timeout=60)
    assert process.returncode == code
    assert f"error: {message}\nfix: Run the same line again" in messages
    assert not list((tmp_path / "temporary").glob("calkd-*"))
    assert "Traceback" not in messages
    assert first_intact(store.glob("work/*/scratch/epoch-*.ckpt"))
    assert command("store", "check", "--store", store).code == 0


def test_run_from_another_folder_finds_what_the_recipe_names(tiny, tmp_path):
    """A relative data.root is relative to the recipe's folder, --store and --out to the shell's."""
    recipes, shell = tmp_path / "recipes", tmp_path / "shell"
    recipes.mkdir()
    shell.mkdir()
    written(recipes, recipe_with(data={**RECIPE["data"], "root": "images"}), "mine.yaml")
    (shell / "store").symlink_to(tiny.store)
    line = ("compress", "--recipe", "../recipes/mine.yaml", "--store", "store", "--json")
    done = in_a_process(*line, cwd=shell)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["recipe"]["data"]["root"] == str(recipes / "images")
    assert (shell / "runs" / "tiny" / "report.html").is_file()


def test_plugin_registers_a_loss_and_enters_the_fingerprints(tiny, tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(
        '"""A registered loss."""\n'
        "from calkd_edge.losses import LOSSES\n"
        "from calkd_edge.losses.cross_entropy import CrossEntropy\n"
        'LOSSES.add("mine", CrossEntropy)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    losses = yaml.safe_dump([{"name": "mine"}], default_flow_style=True).strip()
    arguments = ("--dry-run", "--json", "--set", f"distill.losses={losses}")
    try:
        done = tiny.again(tmp_path / "out", *arguments, "--plugin", "my_losses")
    finally:
        from calkd_edge.losses import LOSSES

        LOSSES._added.pop("mine", None)
    assert done.code == 0, done.err
    assert not done.stages["distill"]
    assert tiny.again(tmp_path / "out", *arguments).code == 2


def test_precision_of_a_plugin_that_rounds_is_simulated_and_must_say_that_it_rounds(tiny, tmp_path):
    def mine(model, source, progress):
        return int8(model, source, progress, images=16)

    precisions = "precisions=[{name: fp32}, {name: mine}]"
    try:
        QUANTIZERS.add("mine", mine)
        refused = tiny.again(tmp_path / "out", "--set", precisions)
        QUANTIZERS._added["mine"] = rounds(mine)
        planned = tiny.again(tmp_path / "out", "--set", precisions, "--dry-run", "--json")
    finally:
        QUANTIZERS._added.pop("mine", None)
    assert refused.code == 2
    assert "precision mine: its file rounds to integers" in refused.err
    assert "simulate-student-mine-cpu" in planned.stages


@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["while printing", "at the end"])
def test_reader_that_has_seen_enough_ends_a_command_quietly(unbuffered):
    line = f"{sys.executable} -m calkd_edge list losses | head -1; exit ${{PIPESTATUS[0]}}"
    world = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False, env=world)
    assert done.returncode in (0, 141)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1
