"""Where a training runs: GPUs are counted, Slurm is not asked, TF32 is the student's, memory is named."""

from __future__ import annotations

import os
import subprocess
import sys

import chain_stages
import pytest
import torch
from chain_stages import Silent
from tiny_run import RECIPE, command, written

from calkd_edge.engine.runner import Runner
from calkd_edge.engine.stage import Stage
from calkd_edge.engine.store import Store
from calkd_edge.errors import EnvironmentProblem
from calkd_edge.files.environment import CUBLAS_WORKSPACE, naming_lack_of_memory
from calkd_edge.training.accelerator import check_processes
from calkd_edge.training.cuda import cuda_facts, driver_version, full_float32, set_up_cuda


@pytest.fixture
def one_gpu(monkeypatch):
    """A machine whose torch sees a single GPU, as far as counting goes."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)


def test_more_processes_than_gpus_are_refused_before_any_stage(one_gpu, tmp_path):
    with pytest.raises(EnvironmentProblem, match="--processes 2: each needs a GPU, and torch sees 1"):
        check_processes(2, "cuda")
    check_processes(1, "cuda")
    check_processes(8, "cpu")
    folders = "--store", tmp_path / "store", "--out", tmp_path / "out"
    done = command("compress", "--recipe", written(tmp_path, RECIPE), *folders, "--processes", 2)
    assert done.code == 6
    assert "Use --processes 1, or --accelerator cpu" in " ".join(done.err.split())
    assert not list((tmp_path / "store").glob("objects/*/*"))


@pytest.mark.parametrize("tasks", ["4", "1"])
def test_variables_of_slurm_change_nothing(tasks):
    """Fabric alone would take the job for its own launcher and refuse --ntasks."""
    slurm = {"SLURM_NTASKS": tasks, "SLURM_JOB_NAME": "train.sh", "SLURM_PROCID": "2", "SLURM_LOCALID": "2"}
    code = (
        "from calkd_edge.training.accelerator import fabric_for\n"
        "fabric = fabric_for('cpu')\n"
        "print(fabric.global_rank, fabric.world_size)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **slurm}, capture_output=True, text=True
    )
    assert done.stdout.split() == ["0", "1"], done.stderr


def test_teacher_is_computed_without_tf32_and_the_student_with_it():
    settings = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [setting.allow_tf32 for setting in settings]
    repeats = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.deterministic
    try:
        set_up_cuda()
        assert [setting.allow_tf32 for setting in settings] == [True, True]
        with full_float32():
            assert [setting.allow_tf32 for setting in settings] == [False, False]
        assert [setting.allow_tf32 for setting in settings] == [True, True]
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.backends.cudnn.deterministic
        assert not torch.backends.cudnn.benchmark
        assert CUBLAS_WORKSPACE[0] in os.environ
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.allow_tf32 = value
        torch.use_deterministic_algorithms(repeats[0])
        torch.backends.cudnn.deterministic = repeats[1]
        torch.utils.deterministic.fill_uninitialized_memory = True


def test_a_manifest_of_the_cpu_names_no_gpu_and_a_driver_is_read_from_its_file():
    assert cuda_facts("cpu") == {}
    text = (
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build  (dvs-builder)\n"
        "GCC version:  gcc version 12.2.0\n"
    )
    assert driver_version(text) == "570.86.15"
    assert (
        driver_version(text.replace("Open Kernel Module for x86_64", "x86_64 Kernel Module")) == "570.86.15"
    )
    assert driver_version("") is None


def out_of_memory(job):
    raise torch.OutOfMemoryError(
        "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 79.10 GiB."
    )


def out_of_ram(job):
    torch.empty(10**14)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (out_of_memory, "memory on the GPU: CUDA out of memory. Tried to allocate 20.00 MiB"),
        (out_of_ram, "memory"),
    ],
)
def test_lack_of_memory_in_a_stage_is_a_problem_of_the_environment(tmp_path, monkeypatch, function, message):
    monkeypatch.setattr(chain_stages, "failing", function, raising=False)
    stage = Stage("distill", "chain_stages:failing", 1, {})
    runner = Runner(Store(tmp_path), Silent(), dict)
    with pytest.raises(EnvironmentProblem, match=f"stage distill: not enough {message}") as failed:
        runner.run(stage)
    assert "images_per_step" in failed.value.remedy
    assert failed.value.message.count("GPU") <= 1


def test_other_errors_pass_unchanged():
    with pytest.raises(RuntimeError, match="mat1 and mat2"), naming_lack_of_memory("stage distill"):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


def test_lack_of_memory_in_the_time_estimate_is_one_too(tmp_path, monkeypatch):
    from calkd_edge.pipeline import estimate
    from calkd_edge.records import Component
    from calkd_edge.training import step_time

    def too_large(*step, **settings):
        out_of_memory(None)

    monkeypatch.setattr(step_time, "_timed", too_large)
    resnet = Component(name="resnet8", settings={"width": 0.5})
    with pytest.raises(EnvironmentProblem, match="a trial step of resnet8 with 4,096 images") as failed:
        estimate._seconds_per_image(resnet, 4096, (3, 32, 32), "cpu")
    assert "images_per_step below 4,096" in failed.value.remedy
