"""The board, processor, memory and mode of a machine, read from its system files. Nothing here raises."""

from __future__ import annotations

import os
import platform
import re
from typing import Sequence

from calkd_edge.agent import cudart
from calkd_edge.agent.isa import ARM, ISA_FLAGS, X86
from calkd_edge.agent.machine import FOLDERS, Machine
from calkd_edge.agent.problem import AgentProblem

CPU_KEYS = ("model name", "Model", "CPU part", "Hardware")
LIBRARIES = ("libnvinfer", "libcudart", "libnvdla_compiler")


def model(machine: Machine) -> str:
    """The device tree's model on a board, the product name on a PC."""
    product = "/sys/devices/virtual/dmi/id/product_name"
    return machine.line("/proc/device-tree/model") or machine.line(product) or machine.architecture


def compatible(machine: Machine) -> list[str]:
    """The `compatible` names of the device tree, the most specific first."""
    return [name for name in machine.line("/proc/device-tree/compatible").split("\0") if name]


def system(machine: Machine) -> str:
    """PRETTY_NAME of /etc/os-release, and the kernel's release."""
    match = re.search(r'^PRETTY_NAME="?([^"\n]*)', machine.read("/etc/os-release"), re.M)
    kernel = machine.line("/proc/sys/kernel/osrelease") if machine.root else platform.release()
    return f"{match.group(1) if match else platform.system()} {kernel}"


def cpu_name(machine: Machine, keys: Sequence[str] = CPU_KEYS) -> str:
    """The processor's name: the value in /proc/cpuinfo of the first of `keys` that it has."""
    if _is_of_another_kind(machine):
        return machine.architecture
    for key in keys:
        match = re.search(rf"^{key}\s*:\s*(.*)$", machine.read("/proc/cpuinfo"), re.M)
        if match:
            return match.group(1).strip()
    return platform.processor() or machine.architecture


def core_kinds(machine: Machine) -> dict[str, int]:
    """How many cores of each part number /proc/cpuinfo lists, in its order; empty where it lists none."""
    kinds: dict[str, int] = {}
    for part in re.findall(r"^CPU part\s*:\s*(\S+)", machine.read("/proc/cpuinfo"), re.M):
        kinds[part] = kinds.get(part, 0) + 1
    return kinds


def isa(machine: Machine) -> list[str]:
    """The names of ISA_FLAGS that the processor has, in that order."""
    if _is_of_another_kind(machine):
        return []
    listed = re.search(r"^(?:flags|Features)\s*:\s*(.*)$", machine.read("/proc/cpuinfo"), re.M)
    flags = set(listed.group(1).split()) if listed else set()
    return [name for name in ISA_FLAGS if name in flags]


def is_emulated(machine: Machine) -> bool:
    """Whether the processor is emulated: /proc/cpuinfo describes another kind, or qemu runs this process."""
    if _is_of_another_kind(machine):
        return True
    return machine.architecture in ARM and not machine.root and _runs_under_qemu()


def _is_of_another_kind(machine: Machine) -> bool:
    """Whether /proc/cpuinfo describes x86 on ARM, or ARM on x86: the processor under an emulator."""
    text = machine.read("/proc/cpuinfo")
    x86, arm = (re.search(rf"^{key}\s*:", text, re.M) is not None for key in ("vendor_id", "CPU implementer"))
    if machine.architecture in ARM:
        return x86
    return machine.architecture in X86 and arm and not x86


def _runs_under_qemu() -> bool:
    """Whether the kernel runs qemu as this process.

    From 8.2 on qemu writes an ARM machine's /proc/cpuinfo itself. It also replaces /proc/self/exe and
    /proc/PID/exe by the emulated program, but the kernel answers the same link of a thread.
    """
    try:
        return "qemu" in os.path.basename(os.readlink("/proc/thread-self/exe"))
    except OSError:
        return False


def l4t(machine: Machine) -> str | None:
    """ "36.4.3" from the first line of /etc/nv_tegra_release, or None."""
    match = re.search(r"R(\d+) \(release\), REVISION: ([\d.]+)", machine.read("/etc/nv_tegra_release"))
    return "{}.{}".format(*match.groups()) if match else None


def power_mode(machine: Machine) -> str | None:
    """The name that `nvpmodel -q` prints, or None where there is no nvpmodel; its numbers differ by board."""
    match = re.search(r"NV Power Mode:\s*(\S+)", machine.run("nvpmodel", "-q"))
    return match.group(1) if match else None


def on_battery(machine: Machine) -> bool | None:
    """Whether mains power is off; None when no file says so."""
    for supply in machine.find("/sys/class/power_supply/*"):
        online = machine.number(supply + "/online")
        if machine.line(supply + "/type") == "Mains" and online is not None:
            return online == 0
    return None


def memory(machine: Machine) -> dict[str, int | None]:
    """Total and available bytes of memory, total and free bytes of swap; None when not readable."""
    text = machine.read("/proc/meminfo")
    sizes = {}
    for name, key in (
        ("total", "MemTotal"),
        ("available", "MemAvailable"),
        ("swap_total", "SwapTotal"),
        ("swap_free", "SwapFree"),
    ):
        match = re.search(rf"^{key}:\s*([0-9]{{1,15}}) kB", text, re.M)
        sizes[name + "_bytes"] = int(match.group(1)) * 1024 if match else None
    return sizes


def disk(folder: str) -> dict[str, object]:
    """Free bytes in a folder, or in its nearest parent that exists."""
    path = os.path.abspath(os.path.expanduser(folder))
    while not os.path.isdir(path) and path != os.path.dirname(path):
        path = os.path.dirname(path)
    try:
        status = os.statvfs(path)
        return {"folder": path, "free_bytes": status.f_bavail * status.f_frsize}
    except OSError:
        return {"folder": path, "free_bytes": None}


def load_1min(machine: Machine) -> float | None:
    """Tasks that ran or waited to run, on average over the last minute."""
    match = re.match(r"[0-9]{1,9}\.[0-9]{1,9}", machine.read("/proc/loadavg"))
    return float(match.group()) if match else None


def libraries(machine: Machine) -> dict[str, str]:
    """NVIDIA's libraries on the machine, with the version from the file name, which may be empty.

    libcudart counts where the agent can load it. A file without content is none: a container without its
    runtime has such files in place of the host's libraries.
    """
    installed = {}
    for name in LIBRARIES:
        paths = machine.find(*[f"{folder}/{name}.so*" for folder in FOLDERS])
        versions = [path.partition(".so")[2].lstrip(".") for path in paths if machine.size(path)]
        if versions:
            installed[name] = max(versions, key=len)
    if not machine.root:
        try:
            loaded = cudart.load()._name
            installed.setdefault("libcudart", loaded.partition(".so")[2].lstrip("."))
        except AgentProblem:
            installed.pop("libcudart", None)
    return installed


def has_nvidia_gpu(machine: Machine) -> bool:
    """Whether NVIDIA's driver is loaded, or the chip is a Tegra."""
    tegra = any(name.startswith("nvidia,tegra") for name in compatible(machine))
    return tegra or bool(machine.find("/proc/driver/nvidia/version", "/dev/nvidia0"))


def in_container(machine: Machine) -> bool:
    """Whether this is a container, whose libraries are not the host's."""
    return bool(machine.find("/.dockerenv", "/run/.containerenv"))


def firmware_throttled(machine: Machine) -> int | None:
    """A Raspberry Pi's throttling bits: 0-3 now, 16-19 since the start; under-voltage is the first."""
    output = machine.run("vcgencmd", "get_throttled", timeout_s=2)
    match = re.search(r"throttled=0x([0-9a-fA-F]{1,8})\b", output)
    return int(match.group(1), 16) if match else None
