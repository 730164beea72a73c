"""An arm64 machine on this one: Debian's Python for it under qemu-user, with ONNX Runtime's own wheel.

Nothing is installed and nothing needs root: packages are fetched with apt's configuration of this machine and
unpacked into a folder. What runs there is right to the last bit of its instructions and says nothing about
speed.
"""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

QEMU = "qemu-aarch64-static"
CPU = "cortex-a76"
"""With dot products, as Orin's A78AE has them."""

PACKAGES = ("python3", "libgomp1", "libstdc++6")
WHEELS = ("onnxruntime", "numpy")
PLATFORMS = tuple(f"manylinux_2_{minor}_aarch64" for minor in (28, 27, 17)) + ("manylinux2014_aarch64",)


def missing() -> str:
    """What this machine lacks for it; empty when nothing."""
    absent = [name for name in (QEMU, "apt-get", "dpkg-deb") if shutil.which(name) is None]
    return f"needs {', '.join(absent)} (Debian: apt-get install qemu-user-static)" if absent else ""


def arm64_python(folder: Path) -> Path:
    """A command that is Python on arm64, with numpy and ONNX Runtime; everything lies in `folder`."""
    root, site = folder / "root", folder / "site"
    _unpack(folder, root)
    interpreter = next(root.glob("usr/bin/python3.[0-9]*"))
    _wheels(site, interpreter.name.removeprefix("python"))
    _caches(root)
    command = folder / "python3"
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH="{site}" exec {QEMU} -cpu {CPU} -L "{root}" "{interpreter}" "$@"\n',
        encoding="utf-8",
    )
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return command


def _unpack(folder: Path, root: Path) -> None:
    """Debian's packages for arm64, fetched as apt here would, and unpacked without their scripts."""
    state, cache = folder / "apt" / "state", folder / "apt" / "cache"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    (folder / "apt" / "status").touch()
    options = {
        "APT::Architecture": "arm64",
        "APT::Architectures::": "arm64",
        "Dir::State": state,
        "Dir::State::status": folder / "apt" / "status",
        "Dir::Cache": cache,
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "root",
    }
    apt = ["apt-get", "-q", *[word for key, value in options.items() for word in ("-o", f"{key}={value}")]]
    _run([*apt, "update"])
    _run([*apt, "-y", "--download-only", "--no-install-recommends", "install", *PACKAGES])
    root.mkdir()
    for package in sorted((cache / "archives").glob("*.deb")):
        _run(["dpkg-deb", "-x", str(package), str(root)])


def _wheels(site: Path, version: str) -> None:
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    asked = [
        "--implementation",
        "cp",
        "--python-version",
        version,
        "--only-binary=:all:",
        "--target",
        str(site),
    ]
    _run([sys.executable, "-m", "pip", "install", "--quiet", *platforms, *asked, *WHEELS])


def _caches(root: Path) -> None:
    """Empty facts about caches: ONNX Runtime from 1.32 on stops at those of the machine underneath."""
    cpus = root / "sys" / "devices" / "system" / "cpu"
    for number in (0, 1):
        cache = cpus / f"cpu{number}" / "cache" / "index2"
        cache.mkdir(parents=True)
        for name in ("size", "level", "shared_cpu_list"):
            (cache / name).touch()
    for name in ("possible", "present", "online"):
        (cpus / name).write_text("0-1\n", encoding="utf-8")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
