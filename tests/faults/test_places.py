"""Places that cannot be written, full disks by their right names, folders that a kill leaves behind."""

from __future__ import annotations

import errno
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from chain_stages import Silent
from safetensors.torch import save_file
from small_disk import ROOM, mounted
from tiny_run import RECIPE, command, written

from calkd_edge.devices.local import Local
from calkd_edge.devices.session import Session, open_session
from calkd_edge.engine.runner import Runner
from calkd_edge.engine.stage import Stage
from calkd_edge.engine.store import Store
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files import scratch
from calkd_edge.files.full_disk import Place, full_disk
from calkd_edge.files.named_by_digest import write_with_digest
from calkd_edge.files.new_array import new_array


@pytest.fixture(scope="module")
def mounted_disk(tmp_path_factory):
    with mounted(tmp_path_factory.mktemp("small")) as folder:
        yield folder


@pytest.fixture
def small_disk(mounted_disk):
    """The same, empty."""
    for path in mounted_disk.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return mounted_disk


def save_weights(path: Path) -> None:
    save_file({"weight": torch.zeros(ROOM)}, path / "weights.safetensors")


def save_checkpoint(path: Path) -> None:
    write_with_digest(path / "last.ckpt", lambda stream: torch.save({"weight": torch.zeros(ROOM)}, stream))


def save_array(path: Path) -> None:
    np.save(path / "array.npy", np.zeros(ROOM))


def save_arrays(path: Path) -> None:
    np.savez(path / "arrays.npz", a=np.zeros(ROOM))


def map_array(path: Path) -> None:
    new_array(path / "array.npy", (ROOM, 2))[:] = 1


def write_text(path: Path) -> None:
    (path / "text").write_text("x" * 2 * ROOM)


WRITERS = [save_weights, save_checkpoint, save_array, save_arrays, map_array, write_text]


def stage_that(function, **locations):
    return Stage(function.__name__, f"{__name__}:{function.__name__}", 1, {}, locations=locations)


def write_out(job):
    """Write with one of the writers."""
    globals()[job.locations["writer"]](Path(job.locations["folder"] or job.out))


@pytest.mark.parametrize("writer", WRITERS)
def test_full_disk_of_the_store_is_named_whatever_writes(small_disk, writer):
    runner = Runner(Store(small_disk / "store"), Silent(), dict)
    with pytest.raises(EnvironmentProblem) as full:
        runner.run(stage_that(write_out, writer=writer.__name__, folder=""))
    assert str(small_disk) in full.value.message
    assert full.value.exit_code == 6
    assert full.value.remedy


def test_disk_that_is_too_small_is_refused_with_sizes_before_anything_runs(small_disk, tmp_path):
    line = ("--recipe", written(tmp_path, RECIPE), "--store", small_disk / "store", "--out", tmp_path / "out")
    done = command("compress", *line)
    assert done.code == 6
    assert re.search(r"may need 5\d\d MiB, 1 MiB are free\nfix: Free space", done.err), done.err


def test_full_disk_of_the_store_is_named_by_a_process_of_several(small_disk, monkeypatch):
    """Not a byte is left there, so that the process cannot write down what it met."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
    runner = Runner(Store(small_disk / "store"), Silent(), dict, processes=2)
    stage = replace(stage_that(write_out, writer="save_array", folder=""), parallel=True)
    with pytest.raises(EnvironmentProblem, match=f"the disk under {small_disk / 'store'} is full") as full:
        runner.run(stage)
    assert "--store" in full.value.remedy


@pytest.mark.parametrize("writer", [save_weights, save_array, write_text])
def test_full_folder_for_temporary_files_is_named(small_disk, tmp_path, monkeypatch, writer):
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    runner = Runner(Store(tmp_path / "store"), Silent(), dict)
    with pytest.raises(EnvironmentProblem, match=f"the disk under {small_disk} is full") as full:
        runner.run(stage_that(write_out, writer=writer.__name__, folder=str(small_disk)))
    assert "TMPDIR" in full.value.remedy


@pytest.mark.parametrize("room", [0, 400_000])
def test_device_on_a_full_disk_names_the_folder_for_temporary_files(
    small_disk, exported, tmp_path, monkeypatch, room
):
    """Both where the images do not fit, and where the outputs do not."""
    net = exported("resnet20")
    images = tmp_path / "images.npy"
    np.save(images, np.concatenate([net.images] * 20))
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    names = ("model.onnx", "images.npy")
    monkeypatch.setattr(Local, "put", linked(Local.put, names if room else ()))
    runner = Runner(Store(tmp_path / "store"), Silent(), dict)
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * room)
    stage = stage_that(predict, model=str(net.path), images=str(images), leave=60_000 if room else 0)
    try:
        with pytest.raises(EnvironmentProblem, match=f"the disk under {small_disk} is full"):
            runner.run(stage)
    finally:
        filler.unlink()


def linked(put, names):
    """Large files are linked into the folder, so that the outputs alone must fit."""

    def put_or_link(device, source, target):
        if target in names:
            (device.temporary_folder / target).symlink_to(source)
        else:
            put(device, source, target)

    return put_or_link


def predict(job):
    """Run a model on the local device, with so many bytes left."""
    with open_session("local") as session:
        if job.locations["leave"]:
            free = Place(session.device.temporary_folder, "").free_bytes
            (session.device.temporary_folder / "more").write_bytes(b"x" * (free - job.locations["leave"]))
        session.predict(
            Path(job.locations["model"]), Path(job.locations["images"]), runtime="onnxruntime", options={}
        )


def test_copy_that_fails_names_the_disk_of_its_target(tmp_path):
    places = [Place(tmp_path / "store", "a"), Place(tmp_path, "b"), Place(tmp_path / "out", "c")]
    files = [str(tmp_path / name / "file") for name in ("store", "else", "out")]
    for source, target, remedy in ((0, 1, "b"), (1, 0, "a"), (0, 2, "c"), (2, None, "c")):
        second = None if target is None else files[target]
        full = full_disk(OSError(errno.ENOSPC, "full", files[source], None, second), places)
        assert full.remedy == remedy


def test_other_failures_are_no_full_disk(tmp_path):
    places = [Place(tmp_path, "Free space.")]
    for failure in (
        ValueError("shape"),
        OSError(errno.ENOENT, "gone"),
        RuntimeError("PytorchStreamReader failed"),
    ):
        assert full_disk(failure, places) is None


def places(folder: Path) -> dict[str, Path]:
    """Places that no folder can be made at."""
    (folder / "file").write_text("x")
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("nothing")
    names = ("file", "file/below", "loop", "loop/below", "dangling", "x" * 300, "/".join(["x" * 200] * 30))
    return {name[:12]: folder / name for name in names} | {"proc": Path("/proc/x"), "sys": Path("/sys/x")}


@pytest.mark.parametrize(
    "kind", ["file", "file/below", "loop", "loop/below", "dangling", "x" * 12, "proc", "sys"]
)
def test_place_that_cannot_be_written_is_refused_with_a_sentence(tmp_path, kind):
    bad, recipe = places(tmp_path)[kind], written(tmp_path, RECIPE)
    lines = {
        "--out": ("compress", "--recipe", recipe, "--out", bad, "--store", tmp_path / "store"),
        "--store": ("compress", "--recipe", recipe, "--store", bad, "--out", tmp_path / "out"),
        "check": ("store", "check", "--store", bad),
        "gc": ("store", "gc", "--keep", recipe, "--store", bad),
    }
    for option, line in lines.items():
        done = command(*line)
        assert done.code in (2, 6), (option, done)
        assert "error: " in done.err
        assert "fix: " in done.err
        assert "bug" not in done.err
    assert not os.path.exists(bad) or kind == "file"


def test_store_on_a_read_only_disk_is_checked_and_refused_for_runs(tmp_path):
    with mounted(tmp_path / "disk") as disk:
        store = disk / "readonly"
        Runner(Store(store), Silent(), dict).run(stage_that(write_small))
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        assert command("store", "check", "--store", store).code == 0
        recipe = written(tmp_path, RECIPE)
        for line in (
            ("--store", store, "--out", tmp_path),
            ("--store", tmp_path / "s", "--out", disk / "out"),
        ):
            done = command("compress", "--recipe", recipe, *line)
            assert done.code in (2, 6), done
            assert "cannot be written" in done.err
        done = command("store", "gc", "--keep", recipe, "--store", store)
        assert done.code in (2, 6), done


def write_small(job):
    """Write one small file."""
    (job.out / "a.txt").write_text("content")


def calkd(line: str, **more) -> subprocess.CompletedProcess:
    prefix = f"{sys.executable} -m calkd_edge"
    return subprocess.run(
        line.format(prefix), shell=True, capture_output=True, text=True, check=False, **more
    )


def test_removed_working_folder_is_said(tmp_path):
    (tmp_path / "gone").mkdir()
    here = os.pathsep.join(filter(None, [str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": here}
    done = calkd("rmdir ../gone; {} list losses", cwd=tmp_path / "gone", env=environment)
    assert done.returncode == 6
    assert "error: the working directory was removed" in done.stderr


def test_output_in_an_encoding_that_lacks_a_character():
    done = calkd("{} list losses", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()


HOLDER = """
import sys, tempfile, time
tempfile.tempdir = sys.argv[1]
from calkd_edge.devices.session import open_session
with open_session("local"):
    print(flush=True)
    time.sleep(60)
"""


def test_folders_of_a_killed_process_are_swept_and_those_of_others_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(scratch, "YOUNG_S", -1.0)
    (tmp_path / "calkd-somebody").mkdir()
    (tmp_path / "other").mkdir()
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        made = {path.name.split("-")[1] for path in tmp_path.glob("calkd-*")}
        assert made == {"local", "session", "somebody"}
        scratch.sweep(tmp_path)
        assert len(list(tmp_path.iterdir())) == 4
        process.send_signal(signal.SIGKILL)
    scratch.sweep(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"calkd-somebody", "other"}


def test_folder_that_is_being_made_is_not_swept(tmp_path):
    folder = tmp_path / "calkd-new"
    folder.mkdir()
    (folder / scratch.LOCK).touch()
    scratch.sweep(tmp_path)
    assert folder.is_dir()
    os.utime(folder, (time.time() - 100,) * 2)
    scratch.sweep(tmp_path)
    assert not folder.exists()


def test_session_that_is_forgotten_leaves_nothing():
    session = Session(Local())
    folders = session._scratch.path, session.device.temporary_folder
    del session
    assert not any(folder.exists() for folder in folders)
