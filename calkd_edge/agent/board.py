"""What a machine is: its board, processor, memory and mode, as its system files tell. Nothing here raises."""

from __future__ import annotations

import os
import platform
import re
from typing import Any, Sequence

from calkd_edge.agent.place import Place

ISA_FLAGS = (
    "avx2",
    "fma",
    "f16c",
    "avx512f",
    "avx512_vnni",
    "avx_vnni",
    "avx512_fp16",
    "avx512_bf16",
    "amx_int8",
    "amx_bf16",
    "asimddp",
    "asimdhp",
    "i8mm",
    "sve",
)
"""Processor flags that decide how int8, fp16 and bfloat16 run."""

ARM, X86 = ("aarch64", "armv7l"), ("x86_64", "AMD64")
CPU_KEYS = ("model name", "Model", "CPU part", "Hardware")
LIBRARIES = ("libnvinfer", "libcudart", "libnvdla_compiler")
FOLDERS = ("/usr/lib/*", "/usr/lib/*/*", "/usr/local/cuda*/lib*", "/usr/local/cuda*/targets/*/lib")


def model(place: Place) -> str:
    """The device tree's model on a board, the product name on a PC."""
    product = "/sys/devices/virtual/dmi/id/product_name"
    return place.line("/proc/device-tree/model") or place.line(product) or place.machine


def compatible(place: Place) -> list[str]:
    """The device tree's list of what the board is compatible with, the most particular first."""
    return [name for name in place.line("/proc/device-tree/compatible").split("\0") if name]


def system(place: Place) -> str:
    """PRETTY_NAME of /etc/os-release, and the kernel's release."""
    found = re.search(r'^PRETTY_NAME="?([^"\n]*)', place.read("/etc/os-release"), re.M)
    kernel = place.line("/proc/sys/kernel/osrelease") if place.root else platform.release()
    return f"{found.group(1) if found else platform.system()} {kernel}"


def cpu_name(place: Place, keys: Sequence[str] = CPU_KEYS) -> str:
    """The processor's name as /proc/cpuinfo gives it under the first of `keys` that is there."""
    for key in keys:
        found = re.search(rf"^{key}\s*:\s*(.*)$", place.read("/proc/cpuinfo"), re.M)
        if found:
            return found.group(1).strip()
    return platform.processor() or place.machine


def isa(place: Place) -> list[str]:
    """Which of the instruction sets that matter the processor has."""
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", place.read("/proc/cpuinfo"), re.M)
    flags = set(listed.group(1).split()) if listed else set()
    return [name for name in ISA_FLAGS if name in flags]


def is_emulated(place: Place) -> bool:
    """Whether another processor plays this one: /proc/cpuinfo speaks of the other kind, or qemu runs us."""
    text = place.read("/proc/cpuinfo")
    x86, arm = (re.search(rf"^{key}\s*:", text, re.M) is not None for key in ("vendor_id", "CPU implementer"))
    if place.machine in ARM:
        return x86 or (not place.root and _runs_under_qemu())
    return place.machine in X86 and arm and not x86


def _runs_under_qemu() -> bool:
    """Whether the program that the kernel runs as this process is qemu.

    From 8.2 on qemu writes an ARM machine's /proc/cpuinfo itself. It answers /proc/self/exe and /proc/PID/exe
    in the program's name too, but leaves the same link of a thread to the kernel.
    """
    try:
        return "qemu" in os.path.basename(os.readlink("/proc/thread-self/exe"))
    except OSError:
        return False


def l4t(place: Place) -> str | None:
    """ "36.4.3" from the first line of /etc/nv_tegra_release, or None."""
    found = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", place.read("/etc/nv_tegra_release"))
    return "{}.{}".format(*found.groups()) if found else None


def power_mode(place: Place) -> str | None:
    """The name that `nvpmodel -q` prints, or None where there is no nvpmodel; its numbers differ by board."""
    found = re.search(r"NV Power Mode:\s*(\S+)", place.run("nvpmodel", "-q"))
    return found.group(1) if found else None


def on_battery(place: Place) -> bool | None:
    """Whether the mains are off; None where nothing tells."""
    for supply in place.find("/sys/class/power_supply/*"):
        online = place.number(supply + "/online")
        if place.line(supply + "/type") == "Mains" and online is not None:
            return online == 0
    return None


def memory(place: Place) -> dict[str, int | None]:
    """Bytes in all and to be had, of memory and of swap."""
    text = place.read("/proc/meminfo")
    found = {}
    for name, key in (
        ("total", "MemTotal"),
        ("available", "MemAvailable"),
        ("swap_total", "SwapTotal"),
        ("swap_free", "SwapFree"),
    ):
        match = re.search(rf"^{key}:\s*([0-9]{{1,15}}) kB", text, re.M)
        found[name + "_bytes"] = int(match.group(1)) * 1024 if match else None
    return found


def disk(folder: str) -> dict[str, Any]:
    """Bytes to be had in a folder, or in the nearest one above it that exists."""
    place = os.path.abspath(os.path.expanduser(folder))
    while not os.path.isdir(place) and place != os.path.dirname(place):
        place = os.path.dirname(place)
    try:
        found = os.statvfs(place)
        return {"folder": place, "free_bytes": found.f_bavail * found.f_frsize}
    except OSError:
        return {"folder": place, "free_bytes": None}


def load_1min(place: Place) -> float | None:
    """How many tasks ran or wanted to, on average over the last minute."""
    found = re.match(r"[0-9]{1,9}\.[0-9]{1,9}", place.read("/proc/loadavg"))
    return float(found.group()) if found else None


def libraries(place: Place) -> dict[str, str]:
    """NVIDIA's libraries that are there, with the version in their file's name where it has one."""
    found = {}
    for name in LIBRARIES:
        paths = place.find(*[f"{folder}/{name}.so*" for folder in FOLDERS])
        versions = [path.partition(".so")[2].lstrip(".") for path in paths]
        if versions:
            found[name] = max(versions, key=len)
    return found


def has_nvidia_gpu(place: Place) -> bool:
    """Whether NVIDIA's driver is loaded, or the chip is a Tegra."""
    tegra = any(name.startswith("nvidia,tegra") for name in compatible(place))
    return tegra or bool(place.find("/proc/driver/nvidia/version", "/dev/nvidia0"))


def in_container(place: Place) -> bool:
    """Whether this is a container, whose libraries are not the host's."""
    return bool(place.find("/.dockerenv", "/run/.containerenv"))


def firmware_throttled(place: Place) -> int | None:
    """A Raspberry Pi's bits of what slowed it: 0-3 now, 16-19 since the start; under-voltage comes first."""
    told = place.run("vcgencmd", "get_throttled", timeout_s=2)
    found = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", told)
    return int(found.group(1), 16) if found else None
