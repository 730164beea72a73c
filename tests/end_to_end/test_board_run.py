"""A recipe on a board over ssh: whole, with the cable cut at each kind of work, and with the board away."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time

import numpy as np
import pytest
from loopback_board import disconnect
from tiny_run import command, journal, recipe_with, written

from calkd_edge.records import Predictions

REACH = ("--device", "board")


@pytest.fixture
def inventory(board, tmp_path, monkeypatch):
    """The user's inventory, with the board in it."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    path = tmp_path / "config/calkd-edge/devices.yaml"
    path.parent.mkdir(parents=True)
    path.write_text(f"board:\n  host: {board.host}\n", encoding="utf-8")
    return path


def answers(store, report, stage):
    (print_of,) = {line["fingerprint"] for line in report["plan"] if line["stage"] == stage}
    return Predictions.load(store / "objects" / print_of[:2] / print_of / "test.npz")


def test_a_board_answers_as_this_machine_and_keeps_nothing_but_its_cache(tiny, board, inventory, tmp_path):
    done = tiny.again(tmp_path / "out", *REACH)
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out/report.json").read_text())
    rows = [(row["model"], row["precision"], row["device"]) for row in report["measurements"]]
    assert {row for row in rows if row[2] == "board"} == {
        ("student", "fp32", "board"),
        ("student", "int8", "board"),
    }
    assert set(report["devices"]) == {"local", "board"}
    for precision in ("fp32", "int8"):
        here, there = (
            answers(tiny.store, report, f"predict-student-{precision}@{name}") for name in ("local", "board")
        )
        np.testing.assert_array_equal(here.indices, there.indices)
        np.testing.assert_allclose(there.logits, here.logits, atol=1e-6)
    assert list(board.cache.glob("sessions/*")) == []
    assert {path.name for path in board.home.rglob("*") if path.is_dir()} == {
        ".cache",
        "calkd-edge",
        "files",
        "sessions",
    }
    again = tiny.again(tmp_path / "out", *REACH)
    assert again.code == 0
    assert all(command_stages(tiny, *REACH).values())


def command_stages(tiny, *arguments):
    return command(
        "compress", "--recipe", tiny.recipe, "--store", tiny.store, "--dry-run", "--json", *arguments
    ).stages


def cut_at_work(board):
    """Cut the cable as soon as the agent works there on images; ends by itself."""
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            at_work = {path.parent for path in board.cache.glob("sessions/*/pid")}
            if any((session / "images.npy").exists() for session in at_work):
                board.cut()
                return
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    return stop, thread


@pytest.mark.parametrize("stage", ["predict-student-fp32@board", "benchmark-student-int8@board"])
def test_a_cut_cable_ends_in_exit_5_and_the_next_run_resumes(tiny, board, inventory, tmp_path, stage):
    assert tiny.again(tmp_path / "out", *REACH).code == 0
    stop, thread = cut_at_work(board)
    try:
        broken = tiny.again(tmp_path / "out", *REACH, "--fresh", stage)
    finally:
        stop.set()
        thread.join()
    assert broken.code == 5
    assert "the connection to board broke" in broken.err
    assert f"{stage}: board: the connection to board broke" in (tmp_path / "out/log.txt").read_text()
    assert "run again" in broken.err
    assert command("store", "check", "--store", tiny.store).code == 0
    planned = command_stages(tiny, *REACH)
    assert not planned[stage]
    assert planned["predict-student-int8@board"]
    resumed = tiny.again(tmp_path / "out", *REACH)
    assert resumed.code == 0, resumed.err
    assert all(command_stages(tiny, *REACH).values())


def test_a_board_that_is_away_stops_before_anything_trains(tiny, board, inventory, tmp_path):
    inventory.write_text("board: {host: 127.0.0.1, port: 1}\n", encoding="utf-8")
    before = len(journal(tiny.store))
    done = tiny.again(tmp_path / "out", *REACH)
    assert done.code == 5
    assert "127.0.0.1:1 cannot be reached" in done.err
    assert len(journal(tiny.store)) == before
    assert not (tmp_path / "out/report.json").exists()


def test_a_skipped_board_is_not_asked(tiny, board, inventory, tmp_path):
    inventory.write_text("board: {host: 127.0.0.1, port: 1}\n", encoding="utf-8")
    done = tiny.again(tmp_path / "out", *REACH, "--skip-device", "board")
    assert done.code == 3  # its gates are unmeasured, which is not passed
    assert "gate(s) did not pass" in done.err


def test_a_kind_of_board_without_an_address_is_told_the_lines(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    done = tiny.again(tmp_path / "out", "--device", "jetson")
    assert done.code == 5
    assert "jetson:\n" in done.err
    assert "host: USER@ADDRESS" in done.err


def test_another_address_of_the_same_board_makes_nothing_anew(tiny, board, inventory, tmp_path):
    assert tiny.again(tmp_path / "out", *REACH).code == 0
    inventory.write_text(f"board: {{host: 127.0.0.1, port: {board.port}}}\n", encoding="utf-8")
    config = board.folder / "ssh_config"
    text = config.read_text()
    config.write_text(text.replace("Host board\n", "Host board 127.0.0.1\n"))
    try:
        assert all(command_stages(tiny, *REACH).values())
    finally:
        config.write_text(text)


def test_doctor_looks_at_a_board_and_cleans_up_there(board, inventory):
    done = command("doctor", "--device", "board", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert report["device"] == "board"
    assert {"runtime": "onnxruntime", "precision": "int8", "runs": True}.items() <= next(
        line for line in report["runnable"] if (line["runtime"], line["precision"]) == ("onnxruntime", "int8")
    ).items()
    assert board.cache.exists()
    assert command("doctor", "--device", "board", "--clean").code == 0
    assert not board.cache.exists()


def test_doctor_whose_cable_is_cut_says_so(board, inventory):
    stop = threading.Event()

    def watch():
        while not stop.is_set():
            if list(board.cache.glob("sessions/*/pid")):
                board.cut()
                return
            time.sleep(0.002)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        done = command("doctor", "--device", "board")
    finally:
        stop.set()
        thread.join()
    assert done.code == 5
    assert "the connection to board broke" in done.err
    assert command("doctor", "--device", "board").code == 0


def test_a_recipe_may_name_a_device_of_the_inventory_and_calibrate_on_it(tiny, board, inventory, tmp_path):
    inventory.write_text(f"lab: {{host: {board.host}}}\n", encoding="utf-8")
    changes = {"devices": [{"name": "lab"}], "calibrate": {"on": "lab"}}
    changes["evaluate"] = {"corruptions": []}
    recipe = written(tmp_path, recipe_with(**changes))
    done = command("compress", "--recipe", recipe, "--store", tiny.store, "--out", tmp_path / "out")
    assert done.code == 0, done.err
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert {row["device"] for row in report["measurements"]} == {"lab"}
    stages = [line["stage"] for line in report["plan"]]
    assert not [stage for stage in stages if stage.endswith("@local")]
    assert "predict-raw-student-int8@lab" in stages


@pytest.mark.parametrize(("spare", "said"), [(-700, "its disk is full"), (12, "No space left")])
def test_a_board_whose_disk_is_full_says_what_to_do(tiny, board, inventory, tmp_path, spare, said):
    """Full before the images have arrived, and full when the agent writes what it found; `spare` in KiB."""
    fresh = (*REACH, "--fresh", "predict-student-fp32@board")
    assert tiny.again(tmp_path / "out", *REACH).code == 0
    shutil.rmtree(board.cache)
    assert tiny.again(tmp_path / "out", *fresh).code == 0
    needed = sum(-(-path.stat().st_size // 4096) * 4 for path in board.cache.glob("files/*"))
    shutil.rmtree(board.cache)
    board.cache.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={needed + spare}k", "tmpfs", str(board.cache)]
    if subprocess.run(mounted, capture_output=True, check=False).returncode != 0:
        pytest.skip("a small disk can only be mounted by root")
    try:
        full = tiny.again(tmp_path / "out", *fresh)
    finally:
        disconnect()
        subprocess.run(["umount", str(board.cache)], check=True)
    assert full.code == 5
    assert said in full.err
    assert "Free space" in full.err
    assert "--clean" in full.err
    assert command("store", "check", "--store", tiny.store).code == 0
    assert tiny.again(tmp_path / "out", *REACH).code == 0
