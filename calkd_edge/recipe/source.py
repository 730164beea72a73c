"""A recipe's source: where the file is, how its YAML is read, how a dotted override changes it.

In scope: paths and YAML. Out of scope: which keys a recipe has (schema.py knows).
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from importlib import resources
from pathlib import Path
from textwrap import indent

import yaml
from pydantic import JsonValue

from calkd_edge.errors import RecipeError, did_you_mean

PATH_KEYS = (
    ("data", "root"),
    *((section, key) for section in ("teacher", "student") for key in ("weights", "pretrained")),
)
"""Keys that hold a path, where they hold a string."""


PLACE_KEYS = ("host", "port", "python")
INVENTORY = "~/.config/calkd-edge/devices.yaml"


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice instead of keeping the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, object]:
        """A mapping whose keys all differ."""
        seen: set[object] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key '{key}' occurs twice", key_node.start_mark
                )
            seen.add(key)
        mapping: dict[Hashable, object] = super().construct_mapping(node, deep)
        return mapping


def packaged() -> dict[str, Path]:
    """Packaged recipes by name: those of the wheel, or those of the checkout for an editable installation."""
    package = Path(str(resources.files("calkd_edge")))
    for folder in (package / "packaged_recipes", package.parent / "recipes"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def find(name_or_path: str | Path) -> Path:
    """The file that `--recipe` means: a path, else a packaged recipe's name with or without `.yaml`.

    Raises:
        RecipeError: neither exists.
    """
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return path.resolve()
    known = packaged()
    name = str(name_or_path).removesuffix(".yaml")
    if name in known:
        return known[name]
    raise RecipeError(
        f"there is no recipe file '{name_or_path}' and no packaged recipe of that name",
        remedy=f"{did_you_mean(name, known)}Packaged: {', '.join(known)}. See: calkd-edge list recipes",
    )


def read(path: Path) -> dict[str, JsonValue]:
    """The YAML tree of a recipe file.

    Raises:
        RecipeError: not readable, not YAML, or not a mapping.
    """
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)
    except UnicodeDecodeError as binary:
        raise RecipeError(
            f"{path}: this is not a text file, so it is no recipe",
            remedy="Name a recipe: calkd-edge list recipes. A model file is named inside a recipe.",
        ) from binary
    except OSError as broken:
        message = f"{path}: cannot be read: {broken}"
        raise RecipeError(message, remedy="Check the path and its permissions.") from None
    except yaml.YAMLError as broken:
        mark = getattr(broken, "problem_mark", None)
        position = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(broken, "problem", None) or str(broken)
        raise RecipeError(f"{path}:{position}: {problem}", remedy="Correct the YAML there.") from None
    if not isinstance(tree, dict):
        raise RecipeError(
            f"{path}: a recipe is a mapping of sections, but this is a {type(tree).__name__}",
            remedy="Start from a packaged one: calkd-edge list recipes",
        )
    return tree


def check_version(tree: dict[str, JsonValue], supported: int, *, where: str) -> None:
    """Refuse a recipe without a version, or written for a newer one.

    Raises:
        RecipeError: the version is missing, wrong or too new.
    """
    version = tree.get("version")
    if version is None:
        message = f"{where}: version: this key is missing"
        raise RecipeError(message, remedy=f"Add the line `version: {supported}`.")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        message = f"{where}: version: must be a whole number (got {version!r})"
        raise RecipeError(message, remedy=f"Use {supported}.")
    if version > supported:
        raise RecipeError(
            f"{where}: version: this recipe is of version {version}, this calkd-edge reads up to {supported}",
            remedy="Upgrade it: pip install --upgrade calkd-edge",
        )


def check_places(tree: dict[str, JsonValue], *, where: str) -> None:
    """Refuse a recipe that says where a device is, or which program runs there: that is the user's to say.

    Raises:
        RecipeError: with the lines for the inventory.
    """
    devices = tree.get("devices")
    for index, device in enumerate(devices if isinstance(devices, list) else ()):
        if not isinstance(device, dict):
            continue
        place, name = {key: device[key] for key in PLACE_KEYS if key in device}, device.get("name")
        if isinstance(name, str) and "@" in name:
            place, name = {"host": name.removeprefix("ssh://"), **place}, "board"
        if place:
            entry = yaml.safe_dump({name: place}, allow_unicode=True, sort_keys=False)
            raise RecipeError(
                f"{where}: devices[{index}]: a recipe names a device, and no {' or '.join(place)}",
                remedy=f"Put these lines into {INVENTORY}, if you trust them, and leave only the name in the "
                f"recipe (or give --device USER@HOST):\n{indent(entry, '  ').rstrip()}",
            )


def anchor_paths(tree: dict[str, JsonValue], folder: Path) -> None:
    """Make the recipe's relative paths absolute, in place, relative to `folder`."""
    for section, key in PATH_KEYS:
        holder = tree.get(section)
        path = holder.get(key) if isinstance(holder, dict) else None
        if isinstance(holder, dict) and isinstance(path, str):
            holder[key] = str((folder / Path(path).expanduser()).resolve())


def assign(tree: dict[str, JsonValue], override: str) -> None:
    """Apply one `a.b=c` or `gates[0].max=0.01` to the tree, in place; the value is YAML.

    Raises:
        RecipeError: no `=`, a broken value, or a path through a value that has no keys.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise RecipeError(f"--set {override}: not an assignment", remedy="Write --set section.key=value.")
    try:
        value = yaml.load(text, Loader=_StrictLoader)
    except yaml.YAMLError:
        raise RecipeError(f"--set {override}: the value is not YAML", remedy="Quote it.") from None
    steps: list[str | int] = [
        int(step) if step.isdigit() else step for step in re.split(r"[.\[\]]+", dotted.strip().rstrip("]"))
    ]
    holder: JsonValue = tree
    for step in steps[:-1]:
        holder = _step(holder, step, override)
    last = steps[-1]
    if isinstance(holder, list) and isinstance(last, int) and last < len(holder):
        holder[last] = value
    elif isinstance(holder, dict):
        holder[str(last)] = value
    else:
        raise _no_such_key(override, last, holder)


def _step(holder: JsonValue, step: str | int, override: str) -> JsonValue:
    if isinstance(holder, dict):
        return holder.setdefault(str(step), {})
    if isinstance(holder, list) and isinstance(step, int) and step < len(holder):
        return holder[step]
    raise _no_such_key(override, step, holder)


def _no_such_key(override: str, step: str | int, holder: JsonValue) -> RecipeError:
    size = f"a list of {len(holder)}" if isinstance(holder, list) else repr(holder)
    message = f"--set {override}: there is no '{step}' in {size}"
    return RecipeError(message, remedy="Check the dotted path.")
