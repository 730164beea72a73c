"""Machines played by folders: the files and commands that each has, in the formats its vendor documents.

Commands are real programs; a Python is this one in another's clothes, with packages of the folder alone.
"""

from __future__ import annotations

import builtins
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from calkd_edge.agent.machine import Machine

ARM_FLAGS = (
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"
)
PLAYED_PYTHON = """
import platform, sys, sysconfig
version, prefix, managed, site = sys.argv[1:5]
sys.version_info = (*map(int, version.split(".")), "final", 0)
sys.prefix = sys.base_prefix = prefix
sys.path.append(site)
platform.python_version = lambda: version
sysconfig.get_path = lambda name: managed
if sys.argv[5] == "-c":
    code, sys.argv = sys.argv[6], ["-c", *sys.argv[7:]]
    exec(code)
"""
TENSORRT = """
class ILogger:
    class Severity:
        ERROR, WARNING = 1, 2
class Builder:
    def __init__(self, logger):
        pass
"""
"""What doctor asks of TensorRT: whether it can be imported and its Builder created."""


def plant(root: Path, files: Mapping[str, str]) -> None:
    """Write files below `root`; a name that ends in / is a folder."""
    for name, content in files.items():
        path = root / name.lstrip("/")
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")


def command(root: Path, name: str, script: str) -> None:
    """A command of the machine: a shell script in /usr/bin."""
    path = root / "usr" / "bin" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    path.chmod(0o755)


def python(
    root: Path, name: str, version: str, packages: Mapping[str, str], *, managed: bool = False
) -> None:
    """A Python of the machine in /usr/bin, with these packages in these versions, and pip."""
    site = root / "usr" / "lib" / name / "dist-packages"
    for package, number in {"pip": "24.0", **packages}.items():
        plant(site, {f"{package}/__init__.py": TENSORRT if package == "tensorrt" else ""})
        fields = f"Metadata-Version: 2.1\nName: {package}\nVersion: {number}\n"
        plant(site, {f"{package}-{number}.dist-info/METADATA": fields})
    if managed:
        plant(site.parent, {"EXTERNALLY-MANAGED": "[externally-managed]\n"})
    plant(root, {"opt/played_python.py": PLAYED_PYTHON})
    player = f'"{sys.executable}" -S "{root}/opt/played_python.py"'
    command(root, name, f'exec {player} {version} /usr "{site.parent}" "{site}" "$@"')


def cpus(count: int, text: str) -> dict[str, str]:
    """/proc/cpuinfo and a folder for each core."""
    info = "".join(f"processor\t: {number}\n{text}\n" for number in range(count))
    folders = {f"/sys/devices/system/cpu/cpu{number}/": "" for number in range(count)}
    return {"/proc/cpuinfo": info, **folders}


def arm(count: int, part: str, more: str = "") -> dict[str, str]:
    """The same of an ARM processor."""
    return cpus(count, f"BogoMIPS\t: 62.50\nFeatures\t: {ARM_FLAGS}{more}\nCPU part\t: {part}\n")


def policy(number: int, low: int, high: int, now: int, governor: str) -> dict[str, str]:
    """A clock that several cores share, in kHz."""
    folder = f"/sys/devices/system/cpu/cpufreq/policy{number}"
    fields = {"min": low, "max": high, "cur": now}
    return {f"{folder}/scaling_{name}_freq": f"{value}\n" for name, value in fields.items()} | {
        f"{folder}/scaling_governor": f"{governor}\n"
    }


def devfreq(name: str, low: int, high: int, now: int, governor: str) -> dict[str, str]:
    """A clock beside the cores, in Hz."""
    folder = f"/sys/class/devfreq/{name}"
    fields = {"min": low, "max": high, "cur": now}
    return {f"{folder}/{key}_freq": f"{value}\n" for key, value in fields.items()} | {
        f"{folder}/governor": f"{governor}\n"
    }


def ina3221(number: int, *rails: tuple[str, int, int]) -> dict[str, str]:
    """A chip that watches up to three rails: label, millivolts, milliamperes; and its sum of shunts."""
    folder = f"/sys/class/hwmon/hwmon{number}"
    tree = {f"{folder}/name": "ina3221\n", f"{folder}/in7_label": "sum of shunt voltages\n"}
    tree[f"{folder}/in7_input"] = tree[f"{folder}/curr7_input"] = "12\n"
    for channel, (label, millivolts, milliamperes) in enumerate(rails, 1):
        tree[f"{folder}/in{channel}_label"] = f"{label}\n"
        tree[f"{folder}/in{channel}_input"] = f"{millivolts}\n"
        tree[f"{folder}/curr{channel}_input"] = f"{milliamperes}\n"
    return tree


def zones(*fields: tuple[str, str]) -> dict[str, str]:
    """Thermal zones by type and millidegrees; an empty temperature is of a unit that is off."""
    tree = {}
    for number, (name, value) in enumerate(fields):
        folder = f"/sys/devices/virtual/thermal/thermal_zone{number}"
        tree[f"{folder}/type"] = f"{name}\n"
        # Reading a folder fails, as reading the sensor of a unit without power does.
        tree[f"{folder}/temp" if value else f"{folder}/temp/"] = f"{value}\n"
    return tree


def memory(total: int, available: int, swap: int) -> dict[str, str]:
    """/proc/meminfo, in kB, and a quiet load."""
    fields = {
        "MemTotal": total,
        "MemFree": 1000,
        "MemAvailable": available,
        "SwapTotal": swap,
        "SwapFree": swap,
    }
    text = "".join(f"{name}:{value:>16} kB\n" for name, value in fields.items())
    return {"/proc/meminfo": text, "/proc/loadavg": "0.08 0.03 0.01 1/312 4711\n"}


def ubuntu(name: str, kernel: str) -> dict[str, str]:
    """What names a system."""
    return {
        "/etc/os-release": f'NAME="X"\nPRETTY_NAME="{name}"\n',
        "/proc/sys/kernel/osrelease": kernel + "\n",
    }


def l4t(release: int, revision: str) -> dict[str, str]:
    """The file that names the release of Jetson Linux."""
    line = f"# R{release} (release), REVISION: {revision}, GCID: 31415926, BOARD: generic, EABI: aarch64"
    return {"/etc/nv_tegra_release": f"{line}, DATE: Thu Jan  1 00:00:00 UTC 2026\n"}


def tree(model: str, *compatible: str) -> dict[str, str]:
    """The device tree's names."""
    listed = "".join(name + "\0" for name in compatible)
    return {"/proc/device-tree/model": model + "\0", "/proc/device-tree/compatible": listed}


def libraries(tensorrt: str, cuda: str, *more: str) -> dict[str, str]:
    """NVIDIA's libraries by version."""
    folder = "/usr/lib/aarch64-linux-gnu"
    toolkit = f"/usr/local/cuda-{'.'.join(cuda.split('.')[:2])}/targets/aarch64-linux/lib"
    names = [f"{folder}/libnvinfer.so.10", f"{folder}/libnvinfer.so.{tensorrt}"]
    names += [f"{toolkit}/libcudart.so.{cuda}", *(f"{folder}/{name}" for name in more)]
    return dict.fromkeys(names, "\x7fELF")


def orin_nano(root: Path) -> Machine:
    """An Orin Nano with JetPack 6.2 as it comes, and no ONNX Runtime."""
    plant(root, tree("NVIDIA Jetson Orin Nano Developer Kit Super", "nvidia,p3767-0005", "nvidia,tegra234"))
    plant(root, l4t(36, "4.3") | ubuntu("Ubuntu 22.04.5 LTS", "5.15.148-tegra") | arm(6, "0xd42"))
    plant(root, memory(7802848, 5242880, 3901424))
    plant(root, policy(0, 729600, 1728000, 729600, "schedutil"))
    plant(root, policy(4, 729600, 1728000, 1344000, "schedutil"))
    plant(root, devfreq("17000000.gpu", 306000000, 1020000000, 306000000, "nvhost_podgov"))
    plant(root, ina3221(1, ("VDD_IN", 4960, 1060), ("VDD_CPU_GPU_CV", 4952, 144), ("VDD_SOC", 4952, 362)))
    plant(root, zones(("cpu-thermal", "44156"), ("cv0-thermal", ""), ("tj-thermal", "45968")))
    plant(root, {f"/sys/class/hwmon/hwmon2/oc{number}_event_cnt": "0\n" for number in (1, 2, 3)})
    plant(root, {"/sys/class/thermal/cooling_device0/type": "pwm-fan\n"})
    plant(root, {"/sys/class/thermal/cooling_device0/cur_state": "2\n"})
    plant(root, {"/sys/class/thermal/cooling_device1/type": "cpu-throttle-alert\n"})
    plant(root, {"/sys/class/thermal/cooling_device1/cur_state": "0\n"})
    plant(root, libraries("10.3.0", "12.6.68", "nvidia/libnvdla_compiler.so"))
    command(root, "nvpmodel", '[ "$1" = -q ] && printf "NV Power Mode: 25W\\n1\\n"')
    python(root, "python3", "3.10.12", {"numpy": "1.21.5", "tensorrt": "10.3.0"})
    return Machine(str(root), "aarch64")


EMC = {"rate": 3199000000, "min_rate": 204000000, "max_rate": 3199000000, "mrq_rate_locked": 1}
AGX_LINE = (
    "01-02-2026 03:04:05 RAM 3210/62841MB (lfb 5x4MB) SWAP 0/31420MB (cached 0MB) "
    "CPU [4%@2201,0%@2201,off,off] EMC_FREQ 1%@3199 GR3D_FREQ 12%@[1300,1300] VIC_FREQ 729 APE 174 "
    "cpu@48.5C tboard@38.25C tj@48.5C VDD_GPU_SOC 3193mW/3100mW VDD_CPU_CV 399mW/401mW "
    "VIN_SYS_5V0 4306mW/4300mW VDDQ_VDD2_1V8AO 604mW/600mW"
)


def agx_orin(root: Path) -> Machine:
    """An AGX Orin with JetPack 7.2: clocks fixed, rails that only tegrastats may read, counted events."""
    plant(
        root, tree("NVIDIA Jetson AGX Orin Developer Kit", "nvidia,p3737-0000+p3701-0005", "nvidia,tegra234")
    )
    plant(root, l4t(39, "2.0") | ubuntu("Ubuntu 24.04.2 LTS", "6.8.12-tegra") | arm(12, "0xd42"))
    plant(root, memory(64349184, 58720256, 32174592))
    for number in (0, 4, 8):
        plant(root, policy(number, 2201600, 2201600, 2201600, "schedutil"))
    plant(root, devfreq("17000000.gpu", 1300500000, 1300500000, 1300500000, "nvhost_podgov"))
    for name, value in EMC.items():
        plant(root, {f"/sys/kernel/debug/bpmp/debug/clk/emc/{name}": f"{value}\n"})
    rails = ina3221(1, ("VDD_GPU_SOC", 0, 0), ("VDD_CPU_CV", 0, 0), ("VIN_SYS_5V0", 0, 0))
    plant(root, {name + "/" if name.endswith("_input") else name: text for name, text in rails.items()})
    plant(root, zones(("cpu-thermal", "48500"), ("gpu-thermal", ""), ("tj-thermal", "48500")))
    plant(
        root, {"/sys/class/hwmon/hwmon2/oc1_event_cnt": "3\n", "/sys/class/hwmon/hwmon2/oc2_event_cnt": "0\n"}
    )
    plant(root, libraries("10.16.2", "13.2.51"))
    command(root, "nvpmodel", 'printf "NV Power Mode: MAXN\\n0\\n"')
    command(root, "tegrastats", f'[ "$1" = --interval ] && while echo "{AGX_LINE}"; do sleep 0.05; done')
    python(root, "python3", "3.12.3", {"numpy": "1.26.4", "tensorrt": "10.16.2.10"}, managed=True)
    python(root, "python3.11", "3.11.9", {})
    return Machine(str(root), "aarch64")


def thor(root: Path) -> Machine:
    """A Thor with JetPack 7.1: an INA238 for its input, a python3 without TensorRT and one with."""
    plant(
        root, tree("NVIDIA Jetson AGX Thor Developer Kit", "nvidia,p3971-0089+p3834-0008", "nvidia,tegra264")
    )
    plant(root, l4t(38, "4.0") | ubuntu("Ubuntu 24.04.3 LTS", "6.8.12-tegra") | arm(14, "0xd83", " i8mm sve"))
    plant(root, memory(128834560, 120000000, 0))
    plant(root, policy(0, 972000, 2601000, 2601000, "performance"))
    plant(root, devfreq("gpu-gpc-0", 306000000, 1575000000, 1574000000, "performance"))
    plant(root, devfreq("gpu-nvd-0", 306000000, 1692000000, 1692000000, "performance"))
    plant(root, ina3221(3, ("VDD_GPU", 11900, 1000), ("VDD_CPU_SOC_MSS", 11900, 500), ("NC", 0, 0)))
    plant(
        root,
        {"/sys/class/hwmon/hwmon4/name": "ina238\n", "/sys/class/hwmon/hwmon4/power1_input": "36487000\n"},
    )
    plant(root, zones(("tj-thermal", "66625"), ("gpu-thermal", "65000")))
    plant(root, libraries("10.13.3", "13.0.48"))
    command(root, "nvpmodel", 'printf "NV Power Mode: 120W\\n1\\n"')
    python(root, "python3", "3.12.3", {"numpy": "1.26.4", "onnxruntime": "1.32.0"}, managed=True)
    python(root, "python3.12", "3.12.9", {"numpy": "1.26.4", "tensorrt": "10.13.3.9"}, managed=True)
    return Machine(str(root), "aarch64")


def raspberry_pi(root: Path) -> Machine:
    """A Raspberry Pi 5 that was throttled, with numpy and no runtime."""
    plant(root, tree("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712"))
    plant(root, ubuntu("Debian GNU/Linux 12 (bookworm)", "6.6.31+rpt-rpi-2712") | arm(4, "0xd0b"))
    cpuinfo = root / "proc" / "cpuinfo"
    cpuinfo.write_text(cpuinfo.read_text() + "Model\t\t: Raspberry Pi 5 Model B Rev 1.0\n", encoding="utf-8")
    plant(root, memory(8245728, 400000, 102384))
    plant(root, policy(0, 1500000, 2400000, 1500000, "ondemand"))
    plant(root, zones(("cpu-thermal", "86250")))
    plant(root, {"/sys/class/thermal/cooling_device0/type": "cpufreq-cpu0\n"})
    plant(root, {"/sys/class/thermal/cooling_device0/cur_state": "1\n"})
    command(root, "vcgencmd", '[ "$1" = get_throttled ] && echo "throttled=0x50005"')
    python(root, "python3", "3.11.2", {"numpy": "1.24.2"}, managed=True)
    return Machine(str(root), "aarch64")


def laptop(root: Path) -> Machine:
    """A laptop on its battery, with an old x86 processor and ONNX Runtime."""
    plant(root, {"/sys/devices/virtual/dmi/id/product_name": "Example Book 13\n"})
    flags = "vendor_id\t: GenuineIntel\nmodel name\t: Intel(R) Core(TM) i5-8250U CPU @ 1.60GHz\n"
    plant(root, cpus(8, flags + "flags\t\t: fpu vme sse4_2 avx avx2 fma f16c\n"))
    plant(root, ubuntu("Ubuntu 24.04.2 LTS", "6.11.0-26-generic") | memory(16222084, 9000000, 4194300))
    for number in range(8):
        plant(root, policy(number, 400000, 3400000, 1600000, "powersave"))
    plant(root, zones(("x86_pkg_temp", "51000"), ("acpitz", "49000"), ("acpitz", "20000")))
    throttle = "/sys/devices/system/cpu/cpu0/thermal_throttle"
    plant(root, {f"{throttle}/core_throttle_count": "0\n", f"{throttle}/package_throttle_count": "7\n"})
    plant(root, {"/sys/class/power_supply/AC/type": "Mains\n", "/sys/class/power_supply/AC/online": "0\n"})
    plant(root, {"/sys/class/power_supply/BAT0/type": "Battery\n"})
    python(root, "python3", "3.12.3", {"numpy": "2.2.6", "onnxruntime": "1.32.0"})
    return Machine(str(root), "x86_64")


MACHINES: dict[str, Callable[[Path], Machine]] = {
    "orin_nano": orin_nano,
    "agx_orin": agx_orin,
    "thor": thor,
    "raspberry_pi": raspberry_pi,
    "laptop": laptop,
}


def answer_again(monkeypatch, root: Path, *names: str) -> None:
    """Let every read of these files fail with EAGAIN, as the sensor of a unit without power does."""
    paths, real, real_os, writers = {str(root) + name for name in names}, open, os.open, []

    def pipe() -> int:
        reader, writer = os.pipe2(os.O_NONBLOCK)
        writers.append(writer)  # while it is open, the empty pipe answers EAGAIN
        return reader

    monkeypatch.setattr(
        builtins, "open", lambda path, *a, **k: real(pipe() if path in paths else path, *a, **k)
    )
    monkeypatch.setattr(os, "open", lambda path, *a, **k: pipe() if path in paths else real_os(path, *a, **k))
