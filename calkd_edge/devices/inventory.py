"""From a device's name to the device: by the user's inventory, USER@HOST, or a profile.

The inventory is ~/.config/calkd-edge/devices.yaml (under XDG_CONFIG_HOME where that is set):

    jetson:
      host: user@10.0.0.5
      python: /usr/bin/python3
      runtime: tensorrt

`kind:` names a kind of device in DEVICES; left out, it is ssh where a host is named, else local. Another kind
has other keys: the keyword-only parameters of its class.
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

from pydantic import ConfigDict, Field, ValidationError, field_validator

from calkd_edge.agent import board, packages
from calkd_edge.agent.isa import X86
from calkd_edge.agent.machine import Machine
from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.devices import DEVICES
from calkd_edge.devices.base import Device
from calkd_edge.errors import DeviceError, RecipeError, did_you_mean
from calkd_edge.files.yaml_text import YamlProblem, read_yaml
from calkd_edge.records import Record
from calkd_edge.registry import recipe_error, strictly

HOST = re.compile(
    r"(?:ssh://)?(?P<user>[^\s@:/]+)@"
    r"(?:\[(?P<boxed>[0-9A-Fa-f:.]+(?:%\w+)?)\](?::(?P<port6>\d+))?"
    r"|(?P<bare>[0-9A-Fa-f]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f.]*(?:%\w+)?)"
    r"|(?P<host>[^\s@:/\[\]]+)(?::(?P<port>\d+))?)/?"
)
"""[ssh://]USER@HOST[:PORT]; an IPv6 address stands in brackets where a port follows."""


class DeviceEntry(Record):
    """Where a board is and which Python runs the agent there.

    `host` is for ssh: USER@ADDRESS or a name of its config; left out, it is this machine. `runtime` is used
    where --device names none.
    """

    model_config = ConfigDict(str_strip_whitespace=True)
    host: str | None = Field(None, min_length=1)
    port: int | None = Field(None, ge=1, le=65535)
    python: str | None = Field(None, min_length=1)
    runtime: str | None = None

    @field_validator("host")
    @classmethod
    def _without_port(cls, value: str | None) -> str | None:
        with_port = re.fullmatch(r"((?:ssh://)?(?:[^\s:\[\]]+|\[\S+\])):(\d+)/?", value or "")
        if with_port:
            host = with_port[1].removeprefix("ssh://").strip("[]")
            raise ValueError(f"a port stands on a line of its own: host: {host} and port: {with_port[2]}")
        return value

    @field_validator("runtime")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in RUNTIMES:
            raise ValueError(f"{did_you_mean(value, RUNTIMES)}Valid: {', '.join(RUNTIMES)}")
        return value

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return self.host or "this machine"


class KindEntry(DeviceEntry):
    """An entry that names its kind; `device_settings` checks the keys of that kind."""

    model_config = ConfigDict(extra="allow")
    kind: str = Field(min_length=1)

    @property
    def address(self) -> str:
        """Where it is, for people."""
        return self.host or f"a device of kind {self.kind}"


@dataclass(frozen=True)
class Profile:
    """A kind of board.

    Attributes:
        title: for people.
        python: the interpreter that has the runtimes there.
        runtime: the default runtime.
        machines: possible answers of `uname -m`.
        jetson: whether it must be a Jetson.
    """

    title: str
    python: str
    runtime: str
    machines: tuple[str, ...]
    jetson: bool = False

    def is_this_machine(self) -> bool:
        """Whether this machine is such a board."""
        same_machine = platform.machine() in self.machines
        return same_machine and (board.l4t(Machine()) is not None or not self.jetson)

    def local_python(self, runtimes: Sequence[str] = ()) -> dict[str, str]:
        """Its interpreter, where the running Python lacks a runtime on this machine; else nothing."""
        lacking = set(runtimes or [self.runtime]) - set(packages.runtimes())
        return {"python": self.python} if lacking and shutil.which(self.python) else {}


PROFILES = {
    "jetson": Profile("a Jetson Orin or Thor", "/usr/bin/python3", "tensorrt", ("aarch64",), jetson=True),
    "raspberrypi": Profile("a Raspberry Pi", "python3", "onnxruntime", ("aarch64", "armv7l")),
    "arm64": Profile("an ARM board", "python3", "onnxruntime", ("aarch64",)),
    "x86": Profile("an x86 machine", "python3", "onnxruntime", X86),
}


def location_of(name: str, *, runtimes: Sequence[str] = ()) -> dict[str, Any]:
    """Where a device is, as plain values, for `device_at`.

    Args:
        name: of an entry of the inventory, a profile or a kind of device, or USER@HOST[:PORT].
        runtimes: that must run there; by default that of the profile.

    Raises:
        RecipeError: no device has that name, or its entry is wrong.
        DeviceError: it is a profile's name, and neither this machine nor the inventory has such a board.
    """
    location: dict[str, Any] = {}
    entry = inventory().get(name)
    address = HOST.fullmatch(name)
    if entry is not None:
        location = entry.model_dump(exclude_none=True, exclude={"runtime"})
        if isinstance(entry, KindEntry):
            _check_settings(name, entry.kind, location)
            return location
    elif address:
        port = address["port"] or address["port6"]
        boxed = (address["boxed"] or "").replace("%25", "%")  # as URLs write the zone of an address
        host = f"{address['user']}@{address['host'] or boxed or address['bare']}"
        location = {"host": host, **({} if port is None else {"port": int(port)})}
    if "host" in location:
        return {**_profile_python(name), **location}
    if name in PROFILES:
        if PROFILES[name].is_this_machine():
            return {**PROFILES[name].local_python(runtimes), **location}
        raise DeviceError(
            f"{name}: this machine is not {PROFILES[name].title}, and the inventory has no entry '{name}'",
            remedy=f"Put these lines into {inventory_path()}:\n{_example(name)}",
        )
    if "port" in location:
        raise RecipeError(
            f"{name}: port {location['port']} needs a host, and none is named",
            remedy=f"Name it in {inventory_path()}:\n{_example(name)}",
        )
    if entry is not None:
        return location
    if name in DEVICES and name not in _kinds_with_keys():
        return {}
    raise _unknown(name)


def _unknown(name: str) -> RecipeError:
    """The error that no device has that name, with the names that exist."""
    kinds = _kinds_with_keys()
    known = dict.fromkeys([*DEVICES.names(), *inventory(), *PROFILES])
    devices = [device for device in known if device not in kinds]
    what = f"no device is named '{name}'"
    if name in kinds:
        what = f"'{name}' is a kind of device, and no device"
    elif not name.strip():
        what = "the name of the device is empty"
    elif name in RUNTIMES:
        what = f"'{name}' is a runtime, and no device: local:{name} runs it on this machine"
    elif "@" in name:
        what = f"'{name}' is no address of a board"
    entry = name if re.fullmatch(r"[\w.-]+", name) and name not in (*kinds, *RUNTIMES) else "board"
    return RecipeError(
        what,
        remedy=f"{did_you_mean(name, devices)}Known: {', '.join(devices)}. A board is USER@HOST, "
        f"or an entry of {inventory_path()}:\n{_example(entry)}",
    )


def _kinds_with_keys() -> list[str]:
    """The kinds that need a key, so that their name alone is no device."""
    kinds = []
    for kind in DEVICES.names():
        try:
            DEVICES.settings(kind, {}, where=kind)
        except RecipeError:
            kinds.append(kind)
    return kinds


def device_at(name: str, location: Mapping[str, object]) -> Device:
    """The device of that name at a location that `location_of` returned."""
    settings = {key: value for key, value in location.items() if key != "kind"}
    device: Device = DEVICES.load(_kind_of(name, location))(name, **settings)
    return device


def _kind_of(name: str, location: Mapping[str, object]) -> str:
    """The kind of a device; a kind that needs no key is also the name of a device."""
    if "kind" in location:
        return str(location["kind"])
    if "host" in location:
        return "ssh"
    return name if name in DEVICES else "local"


def _check_settings(name: str, kind: str, location: Mapping[str, object]) -> None:
    where = f"{inventory_path()}: {name}"
    if kind not in DEVICES:
        kinds = DEVICES.names()
        raise RecipeError(
            f"{where}.kind: no kind of device is named '{kind}'",
            remedy=f"{did_you_mean(kind, kinds)}Valid: {', '.join(kinds)}.",
        )
    settings = {key: value for key, value in location.items() if key != "kind"}
    DEVICES.settings(kind, settings, where=where, beside=("kind", "runtime"))


def runtime_of(name: str) -> str:
    """The runtime of a device where none is named: that of the inventory, else the default of its profile.

    Raises:
        RecipeError: the inventory cannot be read.
    """
    entry = inventory().get(name)
    if entry is not None and entry.runtime is not None:
        return entry.runtime
    return PROFILES[name].runtime if name in PROFILES else "onnxruntime"


def inventory_path() -> Path:
    """The path of the user's inventory, whether it exists or not."""
    config = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(config) / "calkd-edge" / "devices.yaml"


def inventory() -> dict[str, DeviceEntry]:
    """The user's devices by name; none where there is no file.

    Raises:
        RecipeError: the file cannot be read, or an entry is wrong.
    """
    path = inventory_path()
    try:
        stamp = path.stat().st_mtime_ns
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as wrong:
        raise RecipeError(f"{path}: cannot be read: {wrong.strerror}", remedy="Correct its path.") from None
    return _read(path, stamp)


@cache
def _read(path: Path, stamp: int) -> dict[str, DeviceEntry]:
    """The entries of an inventory file; `stamp`, its time of change, is a key of the cache."""
    try:
        tree = read_yaml(path) or {}
    except YamlProblem as wrong:
        raise RecipeError(f"{path}: cannot be read: {wrong}", remedy=wrong.remedy) from None
    if not isinstance(tree, dict) or not all(isinstance(key, str) for key in tree):
        raise RecipeError(
            f"{path}: this is not a list of devices by name", remedy=f"Write:\n{_example('jetson')}"
        )
    entries = {}
    for name, entry in tree.items():
        model = KindEntry if isinstance(entry, dict) and "kind" in entry else DeviceEntry
        try:
            entries[name] = strictly(model, entry or {})
        except ValidationError as wrong:
            raise recipe_error(wrong, where=f"{path}: {name}", valid=[*KindEntry.model_fields]) from None
    return entries


def _profile_python(name: str) -> dict[str, str]:
    return {"python": PROFILES[name].python} if name in PROFILES else {}


def _example(name: str) -> str:
    python = PROFILES[name].python if name in PROFILES else "python3"
    return f"  {name}:\n    host: USER@ADDRESS\n    python: {python}"
