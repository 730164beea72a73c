"""A recipe's source: where the file is, how its YAML is read, how a dotted override changes it.

In scope: paths and YAML. Out of scope: which keys a recipe has (schema.py knows).
"""

from __future__ import annotations

import re
from importlib import resources
from pathlib import Path
from textwrap import indent

import yaml
from pydantic import JsonValue

from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.files.paths import user_path
from calkd_edge.files.yaml_text import NotText, YamlProblem, parse_yaml, read_yaml

PATH_KEYS = (
    ("data", "root"),
    *((section, key) for section in ("teacher", "student") for key in ("weights", "pretrained")),
)
"""Keys that hold a path, where they hold a string."""

PLACE_KEYS = ("host", "port", "python")
INVENTORY = "~/.config/calkd-edge/devices.yaml"

_KINDS = (
    (Path.is_dir, "a folder"),
    (Path.is_fifo, "a pipe, as of /dev/stdin or <(...)"),
    (Path.is_char_device, "a device"),
    (Path.is_block_device, "a device"),
    (Path.is_socket, "a socket"),
)
_INDEX = re.compile("[0-9]{1,9}")
_SHOWN = 200


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
    path = user_path(name_or_path, "--recipe")
    if path.is_file():
        return path.resolve()
    known = packaged()
    name = str(name_or_path).removesuffix(".yaml")
    if name in known:
        return known[name]
    if path.exists():
        what = next((kind for is_kind, kind in _KINDS if is_kind(path)), "no file")
        raise RecipeError(
            f"--recipe {name_or_path} is {what}, and a recipe is a file of text",
            remedy="Write the recipe to a file, such as recipe.yaml, and name that.",
        )
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
        tree = read_yaml(path)
    except NotText as binary:
        raise RecipeError(
            f"{path}: {binary}, so it is no recipe",
            remedy="Name a recipe: calkd-edge list recipes. A model file is named inside a recipe.",
        ) from binary
    except YamlProblem as broken:
        raise RecipeError(f"{path}: {broken}", remedy=broken.remedy) from None
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
        if isinstance(holder, dict) and isinstance(path, str) and (key, path) != ("pretrained", "auto"):
            holder[key] = str(user_path(path, f"{section}.{key}", folder).resolve())


def assign(tree: dict[str, JsonValue], override: str) -> None:
    """Apply one `a.b=c` or `gates[0].max=0.01` to the tree, in place; the value is YAML.

    Raises:
        RecipeError: no `=`, a broken value, or a path through a value that has no keys.
    """
    dotted, equals, text = override.partition("=")
    if not equals or not dotted.strip():
        raise RecipeError(
            f"--set {_short(override)}: not an assignment", remedy="Write --set section.key=value."
        )
    try:
        value = parse_yaml(text)
    except YamlProblem as broken:
        raise RecipeError(
            f"--set {_short(override)}: the value is not YAML that is read here: {broken}",
            remedy=broken.remedy if broken.remedy.startswith("Write") else "Quote it.",
        ) from None
    steps: list[str | int] = [
        int(step) if _INDEX.fullmatch(step) else step
        for step in re.split(r"[.\[\]]+", dotted.strip().rstrip("]"))
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
    size = f"a list of {len(holder)}" if isinstance(holder, list) else _short(repr(holder))
    message = f"--set {_short(override)}: there is no '{_short(str(step))}' in {size}"
    return RecipeError(message, remedy="Check the dotted path.")


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
