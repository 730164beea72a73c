"""The report on each played machine, and on what may be wrong with one."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from jetson_roots import MACHINES, TENSORRT, command, orin_nano, plant, python
from rich.console import Console

from calkd_edge.agent import doctor
from calkd_edge.agent.board import core_kinds
from calkd_edge.agent.interpreters import interpreters
from calkd_edge.agent.machine import Machine
from calkd_edge.cli.doctor_screen import show
from calkd_edge.devices.doctor import examine
from calkd_edge.records import DoctorReport, Interpreter, MachineFacts

CASES = list(MACHINES)


def facts_of(machine: Machine, folder: Path) -> MachineFacts:
    """What the agent would reply from there, through JSON as on its way home."""
    return MachineFacts.model_validate(json.loads(json.dumps(doctor.facts(machine, str(folder)))))


@pytest.fixture(scope="module")
def machine_facts(tmp_path_factory) -> Callable[[str], MachineFacts]:
    """machine_facts(name): the facts of that machine, read once."""
    known: dict[str, MachineFacts] = {}

    def ask(name: str) -> MachineFacts:
        if name not in known:
            root = tmp_path_factory.mktemp(name)
            known[name] = facts_of(MACHINES[name](root), root)
        return known[name]

    return ask


@pytest.fixture
def report(machine_facts) -> Callable[[str], DoctorReport]:
    return lambda name: examine("board", machine_facts(name))


def runs(report: DoctorReport, runtime: str) -> dict[str, bool]:
    return {item.precision: item.runs for item in report.runnable if item.runtime == runtime}


def gains(report: DoctorReport, runtime: str) -> dict[str, bool | None]:
    return {item.precision: item.gains for item in report.runnable if item.runtime == runtime}


def texts(report: DoctorReport, kind: str) -> list[str]:
    return [item.what for item in report.symptoms if item.kind == kind]


def remedy(report: DoctorReport, part: str) -> str:
    """What to do about the one symptom whose words hold that part."""
    (diagnosis,) = [item for item in report.symptoms if part in item.what]
    return diagnosis.remedy


def with_packages(facts: MachineFacts, **packages: str | None) -> MachineFacts:
    """The same with other packages in the Python that runs the agent; None takes one away."""
    running, *others = facts.interpreters
    kept = {**running.packages, **packages}
    changed = {name: version for name, version in kept.items() if version is not None}
    running = running.model_copy(update={"packages": changed})
    return facts.model_copy(update={"interpreters": (running, *others)})


def changed(facts: MachineFacts, **update) -> MachineFacts:
    return facts.model_copy(update=update)


def test_orin_nano(machine_facts, report):
    facts, diagnosis = machine_facts("orin_nano"), report("orin_nano")
    assert facts.board == "NVIDIA Jetson Orin Nano Developer Kit Super"
    assert facts.system == "Ubuntu 22.04.5 LTS 5.15.148-tegra"
    assert facts.compatible == ("nvidia,p3767-0005", "nvidia,tegra234")
    assert (facts.cpu, facts.cores, facts.isa) == ("0xd42", 6, ("asimddp", "asimdhp"))
    assert (facts.l4t, facts.power_mode) == ("36.4.3", "25W")
    assert facts.memory.model_dump() == {
        "total_bytes": 7802848 * 1024,
        "available_bytes": 5 * 2**30,
        "swap_total_bytes": 3901424 * 1024,
        "swap_free_bytes": 3901424 * 1024,
    }
    assert facts.disk.free_bytes > 0
    assert facts.load_1min == 0.08
    assert facts.power.source == "hwmon"
    assert facts.power.rails_mw == pytest.approx(
        {"VDD_IN": 5257.6, "VDD_CPU_GPU_CV": 713.088, "VDD_SOC": 1792.624}
    )
    assert facts.temperatures_c == pytest.approx({"cpu-thermal": 44.156, "tj-thermal": 45.968})
    assert facts.events == {"oc1": 0, "oc2": 0, "oc3": 0}
    assert facts.throttled == {"cpu-throttle-alert": 0}, "a fan slows nothing down"
    assert [
        (item.name, item.min_mhz, item.max_mhz, item.now_mhz, item.governor) for item in facts.clocks
    ] == [
        ("cpu0", 729.6, 1728.0, 729.6, "schedutil"),
        ("cpu4", 729.6, 1728.0, 1344.0, "schedutil"),
        ("gpu", 306.0, 1020.0, 306.0, "nvhost_podgov"),
    ]
    assert all(item.floats for item in facts.clocks)
    assert facts.libraries == {"libnvinfer": "10.3.0", "libcudart": "12.6.68", "libnvdla_compiler": ""}
    assert diagnosis.jetson.model_dump() == {
        "chip": "tegra234 (Orin)",
        "capability": "sm_87",
        "jetpack": "6.2",
        "cuda": "12.6",
        "tensorrt": "10.3",
        "dla": "no DLA cores",
    }
    assert runs(diagnosis, "tensorrt") == dict.fromkeys(("fp32", "fp16", "int8", "int8_fp16"), True)
    assert runs(diagnosis, "onnxruntime") == dict.fromkeys(("fp32", "fp16", "int8"), False)
    assert diagnosis.usable
    python = facts.python.path
    assert remedy(diagnosis, "cannot import onnxruntime") == f"{python} -m pip install --user onnxruntime"
    assert texts(diagnosis, "trap") == [
        "TensorRT 10.0 to 10.3 (JetPack 6) read ONNX up to opset 20, which exported files have"
    ]
    (floating,) = texts(diagnosis, "warning")
    assert floating.startswith("clocks follow the load (cores, gpu)")
    assert remedy(diagnosis, "clocks follow").endswith("sudo jetson_clocks")


def test_agx_orin(machine_facts, report):
    facts, diagnosis = machine_facts("agx_orin"), report("agx_orin")
    assert (facts.l4t, facts.power_mode, facts.cores) == ("39.2.0", "MAXN", 12)
    assert (diagnosis.jetson.jetpack, diagnosis.jetson.cuda, diagnosis.jetson.tensorrt) == (
        "7.2",
        "13.2",
        "10.16",
    )
    assert facts.power.source == "tegrastats"
    assert facts.power.rails_mw == {
        "VDD_GPU_SOC": 3193,
        "VDD_CPU_CV": 399,
        "VIN_SYS_5V0": 4306,
        "VDDQ_VDD2_1V8AO": 604,
    }
    assert {item.name: item.floats for item in facts.clocks} == {
        "cpu0": False,
        "cpu4": False,
        "cpu8": False,
        "gpu": False,
        "emc": False,
    }
    assert facts.events == {"oc1": 3, "oc2": 0}
    assert [item.version for item in facts.interpreters] == ["3.12.3", "3.11.9"]
    assert facts.python.managed
    assert all(runs(diagnosis, "tensorrt").values())
    assert texts(diagnosis, "trap") == [
        "DLA cores, which TensorRT 10.8 to 11.4.0 do not use: 10.7 was the last, "
        "11.4.1 has them again on AGX Orin"
    ]
    assert texts(diagnosis, "warning") == ["throttled or over its current since the start: oc1 3 times"]
    venv = "~/calkd-venv"
    assert remedy(diagnosis, "cannot import onnxruntime") == (
        f"{facts.python.path} -m venv --system-site-packages {venv} && {venv}/bin/pip install onnxruntime; "
        f"then use {venv}/bin/python there"
    )


def test_thor(machine_facts, report):
    facts, diagnosis = machine_facts("thor"), report("thor")
    assert (facts.l4t, facts.power_mode) == ("38.4.0", "120W")
    assert (diagnosis.jetson.jetpack, diagnosis.jetson.chip, diagnosis.jetson.capability) == (
        "7.1",
        "tegra264 (Thor)",
        "sm_110",
    )
    assert diagnosis.jetson.dla == "no DLA cores"
    assert facts.isa == ("asimddp", "asimdhp", "i8mm", "sve")
    assert facts.power.rails_mw == {"VDD_GPU": 11900, "VDD_CPU_SOC_MSS": 5950, "VIN": 36487}
    assert [item.name for item in facts.clocks] == ["cpu0", "gpu", "gpu-nvd-0"]
    assert not any(item.floats for item in facts.clocks), "a governor that keeps the highest does not follow"
    assert not any(runs(diagnosis, "tensorrt").values())
    assert all(runs(diagnosis, "onnxruntime").values())
    assert gains(diagnosis, "onnxruntime") == {"fp32": None, "fp16": False, "int8": True}
    (other,) = [item for item in facts.interpreters if not item.running]
    assert texts(diagnosis, "missing") == [f"{facts.python.path} cannot import tensorrt, {other.path} can"]
    assert (
        remedy(diagnosis, "cannot import tensorrt")
        == f"Name that Python for the device: python: {other.path}"
    )
    assert texts(diagnosis, "trap") == texts(diagnosis, "warning") == []
    at_home = examine("local", facts)
    assert remedy(at_home, "cannot import tensorrt") == "sudo apt install python3-libnvinfer"


def test_raspberry_pi(machine_facts, report):
    facts, diagnosis = machine_facts("raspberry_pi"), report("raspberry_pi")
    assert (facts.board, facts.cpu) == ("Raspberry Pi 5 Model B Rev 1.0", "0xd0b")
    assert (diagnosis.jetson, facts.power_mode, facts.l4t) == (None, None, None)
    assert facts.power.model_dump() == {"source": None, "rails_mw": {}}
    assert not diagnosis.usable
    assert texts(diagnosis, "missing") == [f"{facts.python.path} cannot import onnxruntime"]
    assert texts(diagnosis, "trap") == []
    warnings = " | ".join(texts(diagnosis, "warning"))
    for part in (
        "slowed down now: cpufreq-cpu0",
        "the firmware reports: under-voltage, throttled, under-voltage since the start, throttled since",
        "cpu-thermal is at 86 °C",
        "only 391 MiB of memory are free",
        "clocks follow the load (cores)",
    ):
        assert part in warnings
    assert remedy(diagnosis, "clocks follow").endswith("sudo cpupower frequency-set -g performance")


def test_laptop(machine_facts, report):
    facts, diagnosis = machine_facts("laptop"), report("laptop")
    assert (facts.board, facts.machine) == ("Example Book 13", "x86_64")
    assert facts.cpu == "Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz"
    assert facts.isa == ("avx2", "fma", "f16c")
    assert facts.temperatures_c == {"x86_pkg_temp": 51.0, "acpitz": 49.0, "acpitz#2": 20.0}
    assert facts.on_battery is True
    assert all(runs(diagnosis, "onnxruntime").values())
    assert gains(diagnosis, "onnxruntime")["int8"] is False
    assert texts(diagnosis, "missing") == [], "a machine without a GPU does not miss TensorRT"
    assert "no NVIDIA GPU" in next(item.why for item in diagnosis.runnable if item.runtime == "tensorrt")
    (saturating,) = texts(diagnosis, "trap")
    assert "no VNNI" in saturating
    assert "session.x64quantprecision=1" in remedy(diagnosis, "no VNNI")
    warnings = texts(diagnosis, "warning")
    assert [text for text in warnings if "battery" in text]
    assert [text for text in warnings if "package 7 times" in text]


@pytest.mark.parametrize(
    ("name", "change", "blocked", "fix"),
    [
        ("orin_nano", {"tensorrt": "8.6.2"}, "TensorRT 8.6.2 is refused", "JetPack 6.1 or later"),
        ("orin_nano", {"tensorrt": "11.0.0"}, "runs on no Jetson", "python3-libnvinfer"),
        ("orin_nano", {"tensorrt": "11.4.0"}, "runs on no Jetson", "python3-libnvinfer"),
        (
            "orin_nano",
            {"tensorrt": "11.4.1"},
            "needs JetPack 7.2.2 or later; this is 6.2 (L4T 36.4.3)",
            "python3-libnvinfer",
        ),
        (
            "agx_orin",
            {"tensorrt": "11.4.1"},
            "needs JetPack 7.2.2 or later; this is 7.2 (L4T 39.2.0)",
            "python3-libnvinfer",
        ),
        ("orin_nano", {"tensorrt": None}, "cannot import tensorrt", "sudo apt install python3-libnvinfer"),
        ("orin_nano", {"numpy": None}, "has no numpy", "-m pip install --user numpy"),
    ],
)
def test_package_that_keeps_tensorrt_from_running(machine_facts, name, change, blocked, fix):
    diagnosis = examine("board", with_packages(machine_facts(name), **change))
    assert not any(runs(diagnosis, "tensorrt").values())
    assert fix in remedy(diagnosis, blocked)
    assert not diagnosis.usable


def test_tensorrt_11_4_1_runs_where_it_may_and_has_dla_again(machine_facts):
    facts = changed(with_packages(machine_facts("agx_orin"), tensorrt="11.4.1.9"), l4t="39.2.2")
    diagnosis = examine("board", facts)
    assert diagnosis.jetson.jetpack == "7.2.2"
    assert all(runs(diagnosis, "tensorrt").values())
    assert "fp16" in diagnosis.jetson.dla
    assert texts(diagnosis, "trap") == []


@pytest.mark.parametrize(
    ("release", "jetpack", "runs_there"),
    [
        ("39.2.2", "7.2.2", True),
        ("39.2.3", "7.x", True),
        ("39.3.0", "7.x", True),
        ("41.0.0", None, True),
        (None, None, True),
        ("39.2.1", "7.2.1", False),
        ("38.5.0", "7.x", False),
        ("38.4.0", "7.1", False),
        ("37.0.0", None, False),
        ("36.9.0", "6.x", False),
    ],
)
def test_tensorrt_11_4_1_is_refused_by_older_releases_and_by_none_that_are_not_known_yet(
    machine_facts, release, jetpack, runs_there
):
    facts = changed(with_packages(machine_facts("agx_orin"), tensorrt="11.4.1.9"), l4t=release)
    libraries = {**facts.libraries, "libnvdla_compiler": ""}
    diagnosis = examine("board", changed(facts, libraries=libraries))
    assert diagnosis.jetson.jetpack == jetpack
    assert set(runs(diagnosis, "tensorrt").values()) == {runs_there}
    refused = [text for text in texts(diagnosis, "trap") if "needs JetPack 7.2.2" in text]
    assert len(refused) == (not runs_there)
    assert all(f"L4T {release}" in text for text in refused)


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("release", ["38.2.1", "38.4.0"])
def test_jetpack_7_0_and_7_1_run_their_tensorrt(machine_facts, release, container):
    facts = with_packages(machine_facts("thor"), tensorrt="10.13.3.9")
    diagnosis = examine("board", changed(facts, l4t=release, container=container))
    assert "libnvdla_compiler" not in facts.libraries
    assert all(runs(diagnosis, "tensorrt").values())
    assert not [text for text in texts(diagnosis, "trap") if "libnvdla_compiler" in text]


def test_library_that_tensorrt_asks_for_on_jetpack_6_is_named(machine_facts):
    facts = machine_facts("orin_nano")
    without = {key: value for key, value in facts.libraries.items() if key != "libnvdla_compiler"}
    diagnosis = examine("board", changed(facts, libraries=without))
    assert not any(runs(diagnosis, "tensorrt").values())
    assert "sudo apt install nvidia-l4t-dla-compiler" in remedy(diagnosis, "libnvdla_compiler.so is missing")


def test_old_and_new_container_on_jetpack_7_2_are_distinguished(machine_facts):
    facts = changed(machine_facts("agx_orin"), container=True)
    for release in ("39.2.0", "39.3.0"):
        old = examine("board", changed(with_packages(facts, tensorrt="10.11.0"), l4t=release))
        assert not any(runs(old, "tensorrt").values())
    assert "a container made for JetPack 7.2" in remedy(old, "containers made for older releases")
    new = examine("board", facts)
    assert all(runs(new, "tensorrt").values())
    assert [text for text in texts(new, "trap") if "its TensorRT is not that of JetPack" in text]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("orin_nano", "cuda-cudart-12-6"), ("agx_orin", "cuda-cudart-13-2")],
)
def test_cudart_is_installed_in_the_version_of_the_jetpack(machine_facts, name, wanted):
    facts = changed(machine_facts(name), libraries={"libnvdla_compiler": ""})
    diagnosis = examine("board", facts)
    assert remedy(diagnosis, "libcudart.so is not found") == f"sudo apt install {wanted}"
    assert not any(runs(diagnosis, "tensorrt").values())


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [
        ("36.3.0", "6.0"),
        ("36.4.0", "6.1"),
        ("36.4.3", "6.2"),
        ("36.4.4", "6.2.1"),
        ("36.4.7", "6.2.1"),
        ("36.5.0", "6.2.2"),
        ("36.5.2", "6.2.3"),
        ("38.2.1", "7.0"),
        ("38.4.0", "7.1"),
        ("39.2.0", "7.2"),
        ("39.2.1", "7.2.1"),
        ("39.2.2", "7.2.2"),
        ("36.9.0", "6.x"),
        ("35.3.1", "5.x"),
        ("41.0.0", None),
        (None, None),
        ("", None),
    ],
)
def test_jetpack_follows_the_release_of_jetson_linux(machine_facts, release, jetpack):
    assert examine("board", changed(machine_facts("agx_orin"), l4t=release)).jetson.jetpack == jetpack


@pytest.mark.parametrize(
    ("model", "compatible", "version", "wanted"),
    [
        ("NVIDIA Jetson Orin NX", "nvidia,p3767-0000", "10.3.0", "DLA cores: fp16"),
        ("NVIDIA Jetson AGX Orin", "nvidia,p3701-0005", "10.7.0", "DLA cores: fp16"),
        ("NVIDIA Jetson AGX Orin", "nvidia,p3701-0005", "10.8.0", "DLA cores, which"),
        ("NVIDIA Jetson AGX Orin", "nvidia,p3701-0005", "11.4.0", "DLA cores, which"),
        ("NVIDIA Jetson AGX Orin", "nvidia,p3701-0005", "11.4.1", "DLA cores: fp16"),
        ("NVIDIA Jetson Orin Nano", "nvidia,p3767-0000", "10.3.0", "no DLA cores"),
        ("A carrier board of someone else", "nvidia,p3767-0004", "10.3.0", "no DLA cores"),
    ],
)
def test_dla_is_of_the_board_and_of_the_version(machine_facts, model, compatible, version, wanted):
    facts = with_packages(machine_facts("agx_orin"), tensorrt=version)
    diagnosis = examine("board", changed(facts, board=model, compatible=(compatible, "nvidia,tegra234")))
    assert diagnosis.jetson.dla.startswith(wanted)


def test_opset_is_a_trap_of_old_builders_alone(machine_facts):
    for version, trapped in (("10.3.0", True), ("10.4.0", False), ("10.16.2", False)):
        diagnosis = examine("board", with_packages(machine_facts("orin_nano"), tensorrt=version))
        assert any("opset 20" in text for text in texts(diagnosis, "trap")) is trapped


def test_version_of_the_library_replaces_an_unknown_version_of_the_module(machine_facts):
    facts = changed(
        machine_facts("orin_nano"), libraries={**machine_facts("orin_nano").libraries, "libnvinfer": "8.6.2"}
    )
    diagnosis = examine("board", with_packages(facts, tensorrt="unknown"))
    assert not any(runs(diagnosis, "tensorrt").values())
    assert [text for text in texts(diagnosis, "trap") if "8.6.2 is refused" in text]


@pytest.mark.parametrize(
    ("isa", "machine", "pays"),
    [
        (("avx2", "avx_vnni"), "x86_64", None),
        (("avx512f", "avx512_vnni"), "x86_64", None),
        (("avx2", "avx512f"), "x86_64", False),
        (("asimddp",), "aarch64", True),
        (("i8mm",), "aarch64", True),
        ((), "aarch64", False),
    ],
)
def test_int8_pays_where_the_processor_has_products_for_it(machine_facts, isa, machine, pays):
    diagnosis = examine("board", changed(machine_facts("laptop"), isa=isa, machine=machine))
    assert gains(diagnosis, "onnxruntime")["int8"] is pays
    assert runs(diagnosis, "onnxruntime")["int8"]


def test_emulated_machine_is_marked_and_claims_no_gain(machine_facts):
    diagnosis = examine("board", changed(machine_facts("thor"), emulated=True))
    assert texts(diagnosis, "warning")[0].startswith("this machine is emulated")
    assert gains(diagnosis, "onnxruntime")["int8"] is None


@pytest.mark.parametrize(
    ("update", "part"),
    [
        ({"load_1min": 2.5}, "other work runs there: 2.5 tasks"),
        ({"disk": {"folder": "/data", "free_bytes": 300 << 20}}, "only 300 MiB are free in /data"),
        ({"throttled": {"gpu-throttle-alert": 2.0}}, "slowed down now: gpu-throttle-alert"),
        ({"power": {"source": None, "rails_mw": {}}}, "no energy will be measured"),
    ],
)
def test_warning(machine_facts, update, part):
    quiet, facts = examine("board", machine_facts("thor")), machine_facts("thor").model_dump()
    diagnosis = examine("board", MachineFacts.model_validate(facts | update))
    assert not [text for text in texts(quiet, "warning") if part in text]
    assert len([text for text in texts(diagnosis, "warning") if part in text]) == 1


@pytest.mark.parametrize(
    ("update", "wanted"),
    [
        ({"venv": True}, "{} -m pip install onnxruntime"),
        ({"venv": True, "packages": {}}, "{0} -m ensurepip && {0} -m pip install onnxruntime"),
        ({"packages": {"pip": "24"}}, "{} -m pip install --user onnxruntime"),
        ({"packages": {}}, "sudo apt install python3-pip && {} -m pip install --user onnxruntime"),
        (
            {"managed": True, "packages": {"pip": "24"}},
            "sudo apt install python3-venv && {} -m venv --system-site-packages ~/calkd-venv && "
            "~/calkd-venv/bin/pip install onnxruntime; then use ~/calkd-venv/bin/python there",
        ),
    ],
)
def test_install_command_fits_the_python(machine_facts, update, wanted):
    python = machine_facts("laptop").python.model_copy(update=update)
    packages = {name: version for name, version in python.packages.items() if name != "onnxruntime"}
    python = python.model_copy(update={"packages": packages, "path": "/opt/a b/python"})
    facts = changed(machine_facts("laptop"), interpreters=(python,))
    assert remedy(examine("board", facts), "cannot import onnxruntime") == wanted.format("'/opt/a b/python'")


def test_jetson_with_a_bare_venv_gets_the_remedy_for_jetpacks_packages(machine_facts):
    facts = with_packages(machine_facts("orin_nano"), tensorrt=None)
    python = facts.python.model_copy(update={"venv": True})
    diagnosis = examine("local", changed(facts, interpreters=(python,)))
    assert "--system-site-packages" in remedy(diagnosis, "cannot import tensorrt")


def test_machine_without_a_python_says_so(machine_facts):
    diagnosis = examine("board", changed(machine_facts("laptop"), interpreters=()))
    assert texts(diagnosis, "missing") == ["no Python answered there"]
    assert not diagnosis.usable


def test_workstation_with_a_gpu_and_tensorrt_runs_it(machine_facts):
    facts = with_packages(machine_facts("laptop"), tensorrt="11.4.0")
    facts = changed(facts, nvidia_gpu=True, libraries={"libcudart": "13.0.48"})
    assert all(runs(examine("board", facts), "tensorrt").values())
    without = examine("board", changed(facts, libraries={}))
    assert not any(runs(without, "tensorrt").values())
    assert "nvidia-cuda-runtime-cu12" in remedy(without, "libcudart.so is not found")


def test_tensorrt_without_a_gpu_does_not_run(machine_facts):
    diagnosis = examine("board", with_packages(machine_facts("laptop"), tensorrt="11.4.0"))
    assert {item.why for item in diagnosis.runnable if item.runtime == "tensorrt"} == {
        "there is no NVIDIA GPU, or its driver is not loaded"
    }


def test_faulty_version_is_named(machine_facts):
    diagnosis = examine("board", with_packages(machine_facts("orin_nano"), tensorrt="10.2.0.19"))
    assert remedy(diagnosis, "TensorRT 10.2.0") == "Take 10.3 or later."


def test_no_runtime_runs_without_numpy(machine_facts):
    diagnosis = examine(
        "board", with_packages(machine_facts("laptop"), numpy=None, openvino="2026.4.1", litert="2.3.0")
    )
    assert not diagnosis.usable
    assert {item.why for item in diagnosis.runnable if item.runtime != "tensorrt"} == {
        f"{diagnosis.facts.python.path} has no numpy"
    }


def test_litert_is_a_runtime_that_nobody_must_have(machine_facts):
    without = examine("board", machine_facts("thor"))
    assert not any(runs(without, "litert").values())
    assert not [text for text in texts(without, "missing") if "litert" in text]
    diagnosis = examine("board", with_packages(machine_facts("thor"), litert="2.3.0"))
    assert all(runs(diagnosis, "litert").values())
    assert gains(diagnosis, "litert") == {"fp32": None, "fp16": False, "int8": True}


@pytest.mark.parametrize(
    ("isa", "reported"), [(("avx2", "amx_bf16"), True), (("avx512_bf16",), True), (("avx2",), False)]
)
def test_bfloat16_is_reported_where_the_processor_has_it(machine_facts, isa, reported):
    diagnosis = examine(
        "board", changed(with_packages(machine_facts("laptop"), openvino="2026.4.1"), isa=isa)
    )
    (line,) = [item for item in diagnosis.runnable if (item.runtime, item.precision) == ("openvino", "fp32")]
    assert ("inference_precision: bf16" in line.why) == reported


@pytest.mark.parametrize("name", CASES)
def test_report_is_its_json(report, name):
    diagnosis = report(name)
    assert DoctorReport.model_validate_json(diagnosis.model_dump_json()) == diagnosis


@pytest.mark.parametrize("name", CASES)
def test_screen_shows_what_the_report_says(machine_facts, report, name):
    out = io.StringIO()
    show(report(name), Console(file=out, width=200))
    text, facts = out.getvalue(), machine_facts(name)
    shown = [facts.board, facts.machine, facts.python.version, *facts.power.rails_mw]
    shown += [item.what for item in report(name).symptoms] + [item.remedy for item in report(name).symptoms]
    shown += [word for word in (facts.power_mode, facts.l4t) if word]
    for word in shown:
        assert word in text
    assert len(text.splitlines()) < 50, "it is one screen"


def test_screen_says_runs_and_no(report):
    out = io.StringIO()
    show(report("laptop"), Console(file=out, width=200))
    rows = {line.split()[0]: line for line in out.getvalue().splitlines() if line.strip()}
    assert rows["tensorrt"].split() == ["tensorrt", "no", "no", "no", "no"]
    assert rows["onnxruntime"].split("  ")[0] == "onnxruntime 1.32.0"
    assert rows["onnxruntime"].count("runs, no gain") == 2
    assert "cpu0 … cpu7 at 1600 MHz of 400 to 3400 (powersave)" in out.getvalue()


@pytest.mark.parametrize(
    ("script", "version"),
    [
        ("exit 1", None),
        ("echo '{'", None),
        ("echo '[1, 2]'", None),
        ("echo null", None),
        ("echo '{\"version\": 3}'", None),
        ("exec sleep 60", None),
        ("exec head -c 100000 /dev/urandom", None),
        ("python -c 'print(\"[\" * 100000)'", None),
        ('echo \'{"version": "3.6.9"}\'', "3.6.9"),
    ],
)
def test_interpreter_that_is_none_does_no_harm(tmp_path, script, version):
    command(tmp_path, "python3", script)
    (diagnosis,) = interpreters(Machine(str(tmp_path)), timeout_s=1.0)
    machine_facts = Interpreter.model_validate(diagnosis)
    assert (machine_facts.version, machine_facts.running, machine_facts.packages) == (version, True, None)
    assert (machine_facts.problem is None) == (version is not None)
    assert not machine_facts.has("numpy")


def test_python_with_two_names_counts_once(tmp_path):
    machine = orin_nano(tmp_path)
    (tmp_path / "usr/bin/python3.10").symlink_to("python3")
    assert len(interpreters(machine)) == 1


def test_python_installed_twice_under_a_prefix_counts_once(tmp_path):
    machine = orin_nano(tmp_path)
    (tmp_path / "usr/bin/python3.10").write_bytes((tmp_path / "usr/bin/python3").read_bytes())
    (tmp_path / "usr/bin/python3.10").chmod(0o755)
    assert len(interpreters(machine)) == 1


def test_pythons_that_do_not_answer_are_distinguished_by_their_files(tmp_path):
    command(tmp_path, "python3", "exit 1")
    command(tmp_path, "python3.8", "exit 2")
    (tmp_path / "usr/bin/python3.10").symlink_to("python3.8")
    assert len(interpreters(Machine(str(tmp_path)))) == 2


def test_disk_is_that_of_the_nearest_folder_that_exists(tmp_path):
    facts = facts_of(Machine(str(tmp_path)), tmp_path / "cache" / "calkd-edge")
    assert facts.disk.folder == str(tmp_path)
    assert facts.disk.free_bytes > 0


def test_empty_machine_is_a_report_too(tmp_path):
    diagnosis = examine("board", facts_of(Machine(str(tmp_path), "riscv64"), tmp_path))
    assert diagnosis.facts.board == "riscv64"
    assert not diagnosis.usable
    show(diagnosis, Console(file=io.StringIO()))


def test_container_is_noticed(tmp_path):
    plant(tmp_path, {"/.dockerenv": ""})
    assert facts_of(Machine(str(tmp_path)), tmp_path).container


def test_cores_of_two_kinds_are_both_named(machine_facts, tmp_path):
    """A Rockchip 3588: four small and four large cores."""
    parts = ["0xd05"] * 4 + ["0xd0b"] * 4
    cpuinfo = "".join(f"processor\t: {n}\nCPU part\t: {part}\n\n" for n, part in enumerate(parts))
    plant(tmp_path, {"/proc/cpuinfo": cpuinfo})
    kinds = core_kinds(Machine(str(tmp_path), "aarch64"))
    assert kinds == {"0xd05": 4, "0xd0b": 4}
    shown = io.StringIO()
    diagnosis = examine("board", changed(machine_facts("laptop"), core_kinds=kinds, machine="aarch64"))
    show(diagnosis, Console(file=shown, width=160))
    assert "4 x Cortex-A55, 4 x Cortex-A76" in shown.getvalue()


def test_emulated_processor_is_told_apart_from_the_one_that_emulates_it(machine_facts):
    shown = io.StringIO()
    facts = changed(machine_facts("laptop"), machine="aarch64", emulated=True, cpu="Intel Xeon", isa=())
    show(examine("board", facts), Console(file=shown, width=160))
    assert "emulated aarch64 (on Intel Xeon)" in shown.getvalue()
    assert ": slow" not in shown.getvalue()


@pytest.mark.parametrize(
    ("package", "module", "content", "reason", "fix"),
    [
        (
            "onnxruntime", "onnxruntime", "raise ImportError('numpy.core.multiarray failed to import')",
            "numpy.core.multiarray failed to import", "'numpy<2'",
        ),
        (
            "onnxruntime", "onnxruntime", "import os, signal; os.kill(os.getpid(), signal.SIGILL)",
            "SIGILL: it uses instructions that this processor lacks", "older version",
        ),
        (
            "tensorrt", "tensorrt", "raise ImportError('libnvinfer.so.10: file too short')",
            "libnvinfer.so.10: file too short", "python3-libnvinfer",
        ),
        (
            "tensorrt", "tensorrt",
            TENSORRT + "        logger.log(1, 'CUDA initialization failure with error: 35')\n"
            "        raise TypeError('pybind11::init(): factory function returned nullptr')\n"
            "__version__ = '10.3.0'\n",
            "CUDA initialization failure with error: 35", "usermod -aG video,render",
        ),
    ],
    ids=["another numpy", "SIGILL", "empty library", "no access to the GPU"],
)  # fmt: skip
def test_package_that_is_there_and_does_not_work_does_not_count_as_running(
    tmp_path, package, module, content, reason, fix
):
    machine = orin_nano(tmp_path)
    python(tmp_path, "python3", "3.10.12", {"numpy": "1.26.4", "tensorrt": "10.3.0", package: "1.2.3"})
    plant(tmp_path / "usr/lib/python3/dist-packages", {f"{module}/__init__.py": content})
    diagnosis = examine("board", facts_of(machine, tmp_path))
    assert not any(runs(diagnosis, package).values())
    assert fix in remedy(diagnosis, reason)


def test_library_without_content_is_none(machine_facts, tmp_path):
    machine = orin_nano(tmp_path)
    for path in tmp_path.glob("usr/lib/aarch64-linux-gnu/libnvinfer*"):
        path.write_bytes(b"")
    assert "libnvinfer" not in facts_of(machine, tmp_path).libraries


def test_python_of_32_bits_is_told_to_have_no_builds(machine_facts):
    facts = with_packages(machine_facts("raspberry_pi"), onnxruntime=None)
    running, *others = facts.interpreters
    facts = changed(facts, interpreters=(running.model_copy(update={"bits": 32}), *others))
    assert remedy(examine("board", facts), "of 32 bits") == "Install a 64-bit system there."
