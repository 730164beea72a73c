"""The probe: what it reads from the files and programs that a board has."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from jetson_roots import plant, zones

from calkd_edge.agent import board, probe
from calkd_edge.agent.latency import measure, warm_up
from calkd_edge.agent.machine import Machine
from calkd_edge.records import DeviceFacts

X86 = "processor\t: 0\nvendor_id\t: AuthenticAMD\nmodel name\t: AMD EPYC\nflags\t\t: fpu avx2 fma f16c\n"
ORIN = "processor\t: 0\nFeatures\t: fp asimd asimddp asimdhp\nCPU implementer\t: 0x41\nCPU part\t: 0xd42\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n", "36.4.3"),
        ("# R35 (release), REVISION: 3.1, GCID: 32827747, BOARD: t186ref\n# more\n", "35.3.1"),
        ("# R32 (release), REVISION: 7.1, GCID: 29818004\n", "32.7.1"),
        ("", None),
        ("something else\n", None),
    ],
)
def test_l4t_release_is_read(tmp_path, text, wanted):
    plant(tmp_path, {"/etc/nv_tegra_release": text})
    assert board.l4t(Machine(str(tmp_path))) == wanted


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("echo 'NV Power Mode: MAXN'; echo 0", "MAXN"),
        ("echo 'NV Fan Mode:quiet'; echo 'NV Power Mode: MODE_15W'; echo 2", "MODE_15W"),
        ("echo 'NV Power Mode: MAXN_SUPER'; exit 1", "MAXN_SUPER"),
        ("echo 'permission denied' >&2; exit 1", None),
    ],
)
def test_power_mode_is_what_nvpmodel_says(tmp_path, monkeypatch, script, wanted):
    stub = tmp_path / "nvpmodel"
    stub.write_text(f'#!/bin/sh\n[ "$1" = -q ] || exit 9\n{script}\n', encoding="utf-8")
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert board.power_mode(Machine()) == wanted


def test_no_nvpmodel_means_no_power_mode(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert board.power_mode(Machine()) is None


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "wanted"),
    [
        ("x86_64", X86, False),
        ("aarch64", ORIN, False),
        ("aarch64", X86, True),
        ("armv7l", X86, True),
        ("aarch64", "", False),
        ("x86_64", ORIN, True),
        ("AMD64", ORIN, True),
        ("x86_64", X86 + ORIN, False),
        ("x86_64", "", False),
        ("riscv64", ORIN, False),
    ],
)
def test_board_played_by_another_processor_is_noticed(tmp_path, machine, cpuinfo, wanted):
    plant(tmp_path, {"/proc/cpuinfo": cpuinfo})
    assert board.is_emulated(Machine(str(tmp_path), machine)) is wanted


class WithCpuinfo(Machine):
    """This machine, with a /proc/cpuinfo and a chosen name of its processor."""

    def __init__(self, cpuinfo, machine):
        super().__init__("/", machine)
        self.cpuinfo = cpuinfo

    def read(self, name):
        return self.cpuinfo if name == "/proc/cpuinfo" else super().read(name)


def test_arm_machine_is_not_emulated_for_being_arm():
    assert not board.is_emulated(WithCpuinfo(ORIN, "aarch64"))


def test_emulator_that_writes_the_processors_facts_itself_is_noticed(arm64):
    """As qemu does from 8.2 on: /proc/cpuinfo speaks of ARM; an older one is made to."""
    planted = arm64.parent / "root" / "proc" / "cpuinfo"
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(ORIN, encoding="utf-8")
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1])\n"
        "from calkd_edge.agent import board\n"
        "from calkd_edge.agent.machine import Machine\n"
        "machine = Machine()\n"
        "arm = 'vendor_id' in machine.read('/proc/cpuinfo'), board.is_emulated(machine)\n"
        "print(json.dumps((machine.architecture, *arm)))"
    )
    try:
        argv = [str(arm64), "-c", code, str(Path(board.__file__).parents[2])]
        done = subprocess.run(argv, capture_output=True, text=True, check=True)
    finally:
        shutil.rmtree(planted.parent)
    assert json.loads(done.stdout) == ["aarch64", False, True]


@pytest.mark.parametrize(
    ("machine", "cpuinfo", "wanted"),
    [("x86_64", X86, "AMD EPYC"), ("aarch64", ORIN, "0xd42"), ("aarch64", X86, "aarch64")],
)
def test_processor_is_named(tmp_path, machine, cpuinfo, wanted):
    plant(tmp_path, {"/proc/cpuinfo": cpuinfo})
    assert board.cpu_name(Machine(str(tmp_path), machine)) == wanted


def test_facts_of_this_machine_are_a_valid_record():
    facts = DeviceFacts.model_validate(probe.run({}))
    assert facts.machine == platform.machine()
    assert facts.python == platform.python_version()
    assert facts.cores >= 1
    assert facts.memory_bytes > 2**28
    assert facts.numpy == np.__version__
    assert facts.runtimes["onnxruntime"] == onnxruntime.__version__
    assert not facts.emulated


def test_state_is_plain_json():
    state = probe.state()
    assert set(state) == {"temperatures_c", "clocks_mhz", "governor", "load_1min"}
    assert all(-50 < value < 200 for value in state["temperatures_c"].values())


def test_state_of_a_board_has_a_clock_for_each_core(tmp_path):
    for core, clock in ((0, "729600"), (1, "off"), (2, "1728000"), (10, "1728001")):
        plant(tmp_path, {f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq": clock + "\n"})
    plant(tmp_path, {"/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n"})
    plant(tmp_path, zones(("cpu-thermal", "44156"), ("cv0-thermal", ""), ("outdoors", "-5500")))
    state = probe.state(Machine(str(tmp_path)))
    assert state["clocks_mhz"] == [729.6, 1728.0, 1728.001]
    assert state["governor"] == "schedutil"
    assert state["temperatures_c"] == {"cpu-thermal": pytest.approx(44.156), "outdoors": -5.5}


def test_unreadable_file_is_empty(tmp_path):
    machine = Machine(str(tmp_path))
    (tmp_path / "folder").mkdir()
    assert machine.read("/none") == machine.read("/folder") == ""
    assert machine.number("/none") is None


class Counting:
    """A runtime that counts its runs."""

    def __init__(self):
        self.seen = []

    def infer(self, images):
        self.seen.append(images)
        return {}


def job(**given):
    defaults = {
        "warmup_min_runs": 7,
        "warmup_min_seconds": 0.0,
        "warmup_max_seconds": 0.05,
        "warmup_window_seconds": 0.0,
    }
    return defaults | given


def test_measure_keeps_every_sample_and_cycles_through_the_images():
    runtime = Counting()
    samples = measure(runtime, ["a", "b", "c"], 10, 0.0).durations
    assert len(samples) == 10
    assert all(isinstance(sample, int) and sample >= 0 for sample in samples)
    assert runtime.seen == ["a", "b", "c"] * 3 + ["a"]


def test_measure_goes_on_until_the_seconds_are_met_too():
    samples = measure(Counting(), ["a"], 1, 0.02).durations
    assert sum(samples) <= 0.02 * 1e9 * 50
    assert len(samples) > 1


def test_warm_up_ends_at_its_limit_and_says_that_it_was_not_steady():
    result = warm_up(Counting(), ["a"], job(warmup_min_runs=sys.maxsize))
    assert result["seconds"] >= 0.05
    assert result["runs"] >= 1


def test_warm_up_runs_its_minimum_and_counts_every_run():
    runtime = Counting()
    result = warm_up(runtime, ["a"], job(warmup_max_seconds=5.0))
    assert result["runs"] == len(runtime.seen) >= 7
