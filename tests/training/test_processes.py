"""Two processes give the results of a single one: images of each step, losses and soft labels."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from step_losses import STEPS
from tiny_run import RECIPE, recipe_with, written

from calkd_edge.data.augment import CropPad
from calkd_edge.data.mixing import Mixed
from calkd_edge.errors import RecipeError
from calkd_edge.stages.epochs import Epochs

SCRIPT = Path(__file__).parents[1] / "support" / "step_losses.py"
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


class Handful:
    """The part of a prepared folder that batches need."""

    def __init__(self, count: int) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)
        self.labels = np.arange(count)


@pytest.mark.parametrize("count", [64, 67, 70, 33])
@pytest.mark.parametrize("world", [2, 3, 4])
def test_the_shares_of_a_step_are_the_step_of_a_single_process(count, world):
    epochs = Epochs(Handful(count), np.arange(count), 16, 17, CropPad((3, 8, 8), padding=1))
    alone = list(epochs.fresh(2, 0, 1))
    shared = [list(epochs.fresh(2, rank, world)) for rank in range(world)]
    assert {len(steps) for steps in shared} == {epochs.steps(world)}
    assert epochs.steps(1) == len(alone)
    for step in range(epochs.steps(world)):
        together = np.concatenate([steps[step].indices.numpy() for steps in shared])
        kept = len(together)
        assert len({len(steps[step].indices) for steps in shared}) == 1
        assert 0 <= len(alone[step].indices) - kept < world
        assert (together == alone[step].indices[:kept].numpy()).all()
        images = np.concatenate([steps[step].images.numpy() for steps in shared])
        assert (images == alone[step].images[:kept].numpy()).all()


class Shuffled:
    """A mixing that does not change the images but draws as many random numbers as others."""

    def mix(self, images, generator):
        partners = torch.from_numpy(generator.permutation(len(images)))
        return Mixed(images, partners, 0.5)


@pytest.mark.parametrize("world", [1, 2])
def test_mixing_does_not_change_the_views(world):
    plain = Epochs(Handful(64), np.arange(64), 16, 17, CropPad((3, 8, 8), padding=1))
    mixed = replace(plain, mixing=Shuffled())
    for rank in range(world):
        for item, other in zip(plain.fresh(2, rank, world), mixed.fresh(2, rank, world), strict=True):
            assert torch.equal(item.images, other.images)
            assert torch.equal(item.indices, other.indices)
            assert sorted(other.other_labels.tolist()) == sorted(other.labels.tolist())


def test_too_few_images_for_so_many_processes_are_refused():
    epochs = Epochs(Handful(64), np.arange(64), 6, 17, CropPad((3, 8, 8), padding=1))
    assert epochs.steps(3) == 10  # the last 4 would leave one for each
    with pytest.raises(RecipeError, match="images_per_step: 6 leaves a process of 4"):
        epochs.steps(4)


def losses_of(folders: list[Path], target: Path, processes: int, normalisation: str) -> np.ndarray:
    target.parent.mkdir()
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [
        sys.executable,
        *(launch if processes > 1 else []),
        str(SCRIPT),
        *map(str, folders),
        str(target),
        normalisation,
    ]
    subprocess.run(command, env=ONE_THREAD, check=True, capture_output=True, timeout=300)
    return np.array(json.loads(target.read_text()))


def in_two_processes(folder: Path, mode: str) -> list:
    """What each of two ranks wrote."""
    script = SCRIPT.with_name("data_parallel.py")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(script), str(folder), mode],
        env=ONE_THREAD,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [json.loads((folder / f"result-{rank}.json").read_text()) for rank in (0, 1)]


def test_settings_of_ddp_change_no_bit_of_what_rank_0_ships(tmp_path):
    """Buffers are not sent in each step, and gradients are views of what is sent."""
    assert in_two_processes(tmp_path, "settings")[0] == {"shared True": True, "shared False": True}


def test_rank_that_does_not_see_the_checkpoint_of_rank_0_ends_the_training(tmp_path):
    """Two machines without a shared store would wait for each other in different epochs."""
    for message in in_two_processes(tmp_path, "apart"):
        assert "not every process sees the checkpoint epoch-000002." in message


@pytest.fixture
def prepared_and_teacher(tiny):
    return [tiny.stage_folder(name) for name in ("prepare", "teacher")]


def test_with_frozen_normalisation_each_loss_is_that_of_a_single_process(prepared_and_teacher, tmp_path):
    alone, together = (
        losses_of(prepared_and_teacher, tmp_path / str(count) / "losses.json", count, "frozen")
        for count in (1, 2)
    )
    assert len(alone) >= STEPS
    np.testing.assert_allclose(together[:STEPS], alone[:STEPS], rtol=0, atol=1e-4)
    assert alone[:STEPS].std() > 0.01  # it does learn


def test_live_normalisation_takes_the_images_of_all_processes(prepared_and_teacher, tmp_path):
    """In float64, over the few steps before differences in the last digit become visible."""
    alone, together = (
        losses_of(prepared_and_teacher, tmp_path / str(count) / "losses.json", count, "live")
        for count in (1, 2)
    )
    np.testing.assert_allclose(together[:6], alone[:6], rtol=0, atol=1e-6)
    assert np.abs(np.diff(alone[:6])).min() > 1e-4  # each of them another one


LONGER = recipe_with(
    distill={**RECIPE["distill"], "epochs": 8, "soft_labels": {"views": 3, "images_per_step": 48}}
)


def compress(recipe: Path, folder: Path, processes: int) -> list[str]:
    command = [sys.executable, "-m", "calkd_edge", "compress", "--recipe", str(recipe)]
    return [*command, "--store", str(folder / "store"), "--out", str(folder / "out")] + [
        "--processes",
        str(processes),
    ]


def stage_folder(store: Path, name: str) -> Path:
    for manifest in store.glob("objects/*/*/manifest.json"):
        if json.loads(manifest.read_text())["stage"] == name:
            return manifest.parent
    raise AssertionError(f"no stage {name} in {store}")


def workers_of(process: subprocess.Popen) -> list[int]:
    """The ranks started by a command, by their command lines."""
    result = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, PermissionError):
            continue
        is_rank = b"calkd_edge.stages" in words and any(item.startswith(b"RANK=") for item in environment)
        if is_rank and entry.name.isdigit():
            result.append(int(entry.name))
    return result


@pytest.fixture(scope="module")
def in_two(tmp_path_factory):
    """An uninterrupted run in two processes."""
    folder = tmp_path_factory.mktemp("two")
    recipe = written(folder, LONGER)
    done = subprocess.run(compress(recipe, folder, 2), env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_soft_labels_of_two_processes_are_those_of_a_single_process(in_two, tmp_path):
    """Soft labels of the same teacher: the store is copied and a single process computes them again."""
    shutil.copytree(in_two / "store", tmp_path / "store")
    two = stage_folder(in_two / "store", "soft-labels")
    command = [*compress(in_two / "recipe.yaml", tmp_path, 1), "--fresh", "soft-labels"]
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    one = stage_folder(tmp_path / "store", "soft-labels")
    first, second = (np.load(folder / "logits.npy") for folder in (one, two))
    assert first.shape == second.shape
    steps = np.abs(first.view(np.int16).astype(int) - second.view(np.int16).astype(int))
    assert (steps == 0).mean() >= 0.999
    assert steps.max() <= 1
    for name in ("dy", "dx", "flip"):
        assert (np.load(one / "views.npz")[name] == np.load(two / "views.npz")[name]).all()


@pytest.mark.slow
@pytest.mark.serial
def test_two_machines_of_one_process_train_what_one_machine_of_two_trains(in_two, tmp_path):
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{chosen.getsockname()[1]}"
    command = [*compress(in_two / "recipe.yaml", tmp_path, 1), "--nodes", "2", "--rendezvous", address]
    joined = [sys.executable, "-m", "calkd_edge.stages", "--join", str(tmp_path / "store"), "--node", "1"]
    with subprocess.Popen(joined, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as other:
        done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert other.wait(60) == 0
    assert "Training runs in 1 process on each of 2 machines" in " ".join(done.stderr.split())
    for stage in ("teacher", "distill"):
        first, second = (
            load_file(stage_folder(folder / "store", stage) / "weights.safetensors")
            for folder in (tmp_path, in_two)
        )
        assert all((first[name] == second[name]).all() for name in second)
    manifest = json.loads((stage_folder(tmp_path / "store", "distill") / "manifest.json").read_text())
    assert (manifest["processes"], manifest["nodes"]) == (1, 2)


@pytest.mark.slow
@pytest.mark.serial
def test_a_run_resumes_after_a_killed_rank(in_two, tmp_path):
    recipe = written(tmp_path, LONGER)
    command = compress(recipe, tmp_path, 2)
    with subprocess.Popen(command, env=ONE_THREAD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as run:
        deadline = time.monotonic() + 300
        pattern = "work/*/scratch/epoch-*.ckpt"
        while time.monotonic() < deadline and run.poll() is None:
            is_distilling = any(
                "calkd_edge.stages.distill" in path.read_text()
                for path in (tmp_path / "store").glob("work/*/scratch/job.json")
            )
            if is_distilling and list((tmp_path / "store").glob(pattern)):
                break
            time.sleep(0.05)
        victims = workers_of(run)
        assert len(victims) == 2
        os.kill(victims[-1], signal.SIGKILL)
        message = run.communicate(timeout=120)[0].decode()
    assert run.returncode == 7, message
    assert re.search(r"stage distill: a process of 2 failed", message)
    assert "run again to resume" in " ".join(message.split())
    assert workers_of(run) == []
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    cut, complete = (
        load_file(stage_folder(folder / "store", "distill") / "weights.safetensors")
        for folder in (tmp_path, in_two)
    )
    assert all((cut[name] == complete[name]).all() for name in complete)


def test_an_error_of_a_rank_is_reported_like_that_of_a_single_process(tiny, tmp_path):
    tree = recipe_with(distill={**RECIPE["distill"], "images_per_step": 3})
    command = compress(written(tmp_path, tree), tmp_path, 2)
    command[command.index(str(tmp_path / "store"))] = str(tiny.store)
    done = subprocess.run(command, env=ONE_THREAD, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "images_per_step: 3 leaves a process of 2 fewer than 2 images" in " ".join(done.stderr.split())
