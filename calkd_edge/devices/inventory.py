"""From a device's name to the device: a recipe's entry, the user's inventory, USER@HOST, or a profile.

The inventory is ~/.config/calkd-edge/devices.yaml (under XDG_CONFIG_HOME where that is set):

    jetson:
      host: user@10.0.0.5
      python: /usr/bin/python3
      runtime: tensorrt
"""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import ConfigDict, Field, ValidationError, field_validator

from calkd_edge.agent import board, packages
from calkd_edge.agent.place import Place
from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.devices import DEVICES
from calkd_edge.devices.base import Device
from calkd_edge.devices.connection import Address
from calkd_edge.devices.ssh import Ssh
from calkd_edge.errors import DeviceError, RecipeError, did_you_mean
from calkd_edge.records import Record
from calkd_edge.registry import recipe_error

HOST = re.compile(r"(?:ssh://)?(?P<host>[^\s@:/]+@[^\s@:/]+)(?::(?P<port>\d+))?/?")


class DeviceEntry(Record):
    """Where a board is and which Python runs the agent there.

    `host` is what ssh takes: USER@ADDRESS or a name of its config; left out, it is this machine. `runtime` is
    what --device takes where it names none.
    """

    model_config = ConfigDict(str_strip_whitespace=True)
    host: str | None = Field(None, min_length=1)
    port: int | None = Field(None, ge=1, le=65535)
    python: str | None = Field(None, min_length=1)
    runtime: str | None = None

    @field_validator("runtime")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in RUNTIMES:
            raise ValueError(f"{did_you_mean(value, RUNTIMES)}Valid: {', '.join(RUNTIMES)}")
        return value


@dataclass(frozen=True)
class Profile:
    """A kind of board.

    Attributes:
        title: in words.
        python: the interpreter that has the runtimes there.
        runtime: what to run models with.
        machines: names that `uname -m` may give there.
        jetson: whether it must be a Jetson.
    """

    title: str
    python: str
    runtime: str
    machines: tuple[str, ...]
    jetson: bool = False

    def is_this_machine(self) -> bool:
        """Whether we stand on such a board."""
        here = platform.machine() in self.machines
        return here and (board.l4t(Place()) is not None or not self.jetson)

    def python_here(self, runtimes: Sequence[str] = ()) -> dict[str, str]:
        """Its interpreter on this machine, where the one that runs us lacks a runtime; else nothing."""
        lacks = set(runtimes or [self.runtime]) - set(packages.runtimes())
        return {"python": self.python} if lacks and shutil.which(self.python) else {}


PROFILES = {
    "jetson": Profile("a Jetson Orin or Thor", "/usr/bin/python3", "tensorrt", ("aarch64",), jetson=True),
    "raspberrypi": Profile("a Raspberry Pi", "python3", "onnxruntime", ("aarch64", "armv7l")),
    "arm64": Profile("an ARM board", "python3", "onnxruntime", ("aarch64",)),
    "x86": Profile("an x86 machine", "python3", "onnxruntime", ("x86_64", "AMD64")),
}


def place_of(
    name: str, own: Mapping[str, Any] | None = None, *, runtimes: Sequence[str] = ()
) -> dict[str, Any]:
    """Where a device is, as plain values: an entry of a recipe, of the inventory, USER@HOST, or this machine.

    Args:
        name: as a recipe or the command line gives it.
        own: what the recipe itself says: host, port, python. A host there stands above the whole inventory.
        runtimes: that are wanted there; those of its kind of board where none is named.

    Raises:
        RecipeError: no device has that name, or its entry is wrong.
        DeviceError: it is a profile's name, and neither this machine nor the inventory has such a board.
    """
    said = {key: value for key, value in (own or {}).items() if value is not None}
    entries = inventory()
    entry = entries.get(name)
    if entry is not None and "host" not in said:
        said = {**entry.model_dump(exclude_none=True, exclude={"runtime"}), **said}
    address = HOST.fullmatch(name)
    if address and entry is None and "host" not in said:
        port = address["port"]
        said = {"host": address["host"], **({} if port is None else {"port": int(port)}), **said}
    if "host" in said:
        return {**_with_profile(name), **said}
    if name in PROFILES:
        if PROFILES[name].is_this_machine():
            return {**PROFILES[name].python_here(runtimes), **said}
        raise DeviceError(
            f"{name}: this machine is not {PROFILES[name].title}, and no inventory says where one is",
            remedy=f"Put these lines into {inventory_path()}:\n{_example(name)}",
        )
    if "port" in said:
        raise RecipeError(
            f"{name}: port {said['port']} of which machine? No host is named",
            remedy=f"Name one, in the recipe or in {inventory_path()}:\n{_example(name)}",
        )
    if said or entry is not None or name in DEVICES:
        return said
    known = [*DEVICES.names(), *entries, *PROFILES]
    raise RecipeError(
        f"no device is named '{name}'",
        remedy=f"{did_you_mean(name, known)}Known: {', '.join(dict.fromkeys(known))}. A board is USER@HOST, "
        f"or an entry of {inventory_path()}:\n{_example(name)}",
    )


def device_at(name: str, place: Mapping[str, Any]) -> Device:
    """The device of that name at a place that `place_of` gave."""
    host, python = place.get("host"), place.get("python")
    if host is not None:
        return Ssh(name, Address(host, place.get("port")), python=python or "python3")
    device: Device = DEVICES.load(name if name in DEVICES else "local")(name)
    if python is not None:
        device.python = python
    return device


def runtime_of(name: str) -> str:
    """What runs models on a device: as the inventory says, else as is usual on its kind of board.

    Raises:
        RecipeError: the inventory cannot be read.
    """
    entry = inventory().get(name)
    if entry is not None and entry.runtime is not None:
        return entry.runtime
    return PROFILES[name].runtime if name in PROFILES else "onnxruntime"


def inventory_path() -> Path:
    """Where the user's inventory is, or would be."""
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "calkd-edge" / "devices.yaml"


def inventory() -> dict[str, DeviceEntry]:
    """The user's devices by name; none where there is no file.

    Raises:
        RecipeError: the file cannot be read or says something it may not.
    """
    path = inventory_path()
    try:
        stamp = path.stat().st_mtime_ns
    except FileNotFoundError:
        return {}
    return _read(path, stamp)


@cache
def _read(path: Path, stamp: int) -> dict[str, DeviceEntry]:
    """The entries of an inventory file, as it is at that time."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as wrong:
        raise RecipeError(f"{path}: cannot be read: {wrong}", remedy="Correct that file.") from wrong
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise RecipeError(
            f"{path}: this is not a list of devices by name", remedy=f"Write:\n{_example('jetson')}"
        )
    found = {}
    for name, entry in tree.items():
        try:
            found[name] = DeviceEntry.model_validate(entry or {})
        except ValidationError as wrong:
            raise recipe_error(wrong, where=f"{path}: {name}", valid=[*DeviceEntry.model_fields]) from None
    return found


def _with_profile(name: str) -> dict[str, Any]:
    return {"python": PROFILES[name].python} if name in PROFILES else {}


def _example(name: str) -> str:
    python = PROFILES[name].python if name in PROFILES else "python3"
    return f"  {name}:\n    host: USER@ADDRESS\n    python: {python}"
