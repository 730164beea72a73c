"""What machine this is: board, processor, runtimes; and how hot and how fast it is right now."""

from __future__ import annotations

import glob
import importlib.util
import os
import platform
import re
import subprocess
from importlib import metadata
from typing import Any

import numpy

RUNTIME_PACKAGES = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt",),
}
ISA_FLAGS = {
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "avx512f": "avx512f",
    "avx512_vnni": "avx512_vnni",
    "avx_vnni": "avx_vnni",
    "avx512_fp16": "avx512_fp16",
    "amx_int8": "amx_int8",
    "asimddp": "asimddp",
    "asimdhp": "asimdhp",
    "i8mm": "i8mm",
    "sve": "sve",
}
"""Processor flags that decide how int8 and fp16 run."""


def run(job: dict[str, Any]) -> dict[str, Any]:
    """Facts that do not change between two runs on the same machine."""
    cpuinfo = read("/proc/cpuinfo")
    return {
        "board": board(),
        "machine": platform.machine(),
        "system": f"{distribution()} {platform.release()}",
        "python": platform.python_version(),
        "cpu": cpu_name(cpuinfo),
        "isa": isa(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "l4t": l4t(read("/etc/nv_tegra_release")),
        "power_mode": power_mode(),
        "emulated": is_emulated(platform.machine(), cpuinfo),
        "runtimes": runtimes(),
        "numpy": numpy.__version__,
    }


def state() -> dict[str, Any]:
    """Temperatures in degrees Celsius by zone and core clocks in MHz, as far as the machine tells."""
    zones = {}
    for folder in sorted(glob.glob("/sys/devices/virtual/thermal/thermal_zone*")):
        name, value = read(folder + "/type").strip(), read(folder + "/temp").strip()
        if name and re.match(r"^-?\d+$", value):
            zones[name] = int(value) / 1000.0
    clocks = [
        read(path).strip()
        for path in sorted(glob.glob("/sys/devices/system/cpu/cpu*/cpufreq/scaling_cur_freq"))
    ]
    governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor").strip()
    return {
        "temperatures_c": zones,
        "clocks_mhz": [int(clock) / 1000.0 for clock in clocks if clock.isdigit()],
        "governor": governor or None,
        "load_1min": os.getloadavg()[0],
    }


def read(path: str) -> str:
    """A small system file's text, or the empty string when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as handle:
            return handle.read()
    except OSError:
        return ""


def board() -> str:
    """The device tree's model on a board, the product name on a PC."""
    tree = read("/proc/device-tree/model").strip("\0\n ")
    product = read("/sys/devices/virtual/dmi/id/product_name").strip()
    return tree or product or platform.machine()


def distribution() -> str:
    """PRETTY_NAME of /etc/os-release."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', read("/etc/os-release"), re.M)
    return found.group(1) if found else platform.system()


def cpu_name(cpuinfo: str) -> str:
    """The processor's name as /proc/cpuinfo gives it."""
    for key in ("model name", "Model", "CPU part", "Hardware"):
        found = re.search(rf"^{key}\s*:\s*(.*)$", cpuinfo, re.M)
        if found:
            return found.group(1).strip()
    return platform.processor() or platform.machine()


def l4t(release: str) -> str | None:
    """ "36.4.3" from the first line of /etc/nv_tegra_release, or None."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", release)
    return "{}.{}".format(*found.groups()) if found else None


def power_mode() -> str | None:
    """The name that `nvpmodel -q` prints, or None where there is no nvpmodel."""
    try:
        output = subprocess.run(
            ["nvpmodel", "-q"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10, check=False
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"NV Power Mode:\s*(\S+)", output)
    return found.group(1) if found else None


def isa() -> list[str]:
    """Which of the instruction sets that matter the processor has."""
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", read("/proc/cpuinfo"), re.M)
    flags = set(listed.group(1).split()) if listed else set()
    return [name for name, flag in ISA_FLAGS.items() if flag in flags]


def is_emulated(machine: str, cpuinfo: str) -> bool:
    """Whether another processor plays this one: an ARM machine whose /proc/cpuinfo speaks of x86."""
    return machine in ("aarch64", "armv7l") and re.search(r"^vendor_id\s*:", cpuinfo, re.M) is not None


def runtimes() -> dict[str, str]:
    """Runtimes that this Python can import, with their versions."""
    found = {}
    for module, packages in RUNTIME_PACKAGES.items():
        if importlib.util.find_spec(module) is None:
            continue
        found[module] = next((version for version in map(installed_version, packages) if version), "unknown")
    return found


def installed_version(package: str) -> str | None:
    """Version of an installed distribution, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None
