"""Every value of every option of a recipe, as cases: from its schema and from `calkd-edge list`.

A case is the smallest recipe with one thing changed. A number stands for a value other than its default and
for its bounds; a name for itself, with each of its settings. What a value needs is in option_tables.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from option_tables import BASE, DISCRIMINATOR, GIVEN, JUDGED, KINDS, LISTS, NEEDS, NOT_HERE, REFUSED, SMALLEST
from option_values import Declared, Schema, values_of

from calkd_edge.pipeline import listing
from calkd_edge.release.gates.metrics import METRICS


@dataclass(frozen=True)
class Case:
    """One recipe to run.

    Attributes:
        name: of the option, and its value.
        changes: of the smallest recipe, by dotted path; None removes a key.
        must_run: whether the plan may not refuse it; it may refuse a value at its bound.
    """

    name: str
    changes: Schema
    must_run: bool = True

    def tree(self, places: Mapping[str, str]) -> dict[str, Any]:
        """The recipe; `places` has the files that {names} in it stand for."""
        tree = copy.deepcopy(BASE)
        for path, value in self.changes.items():
            *sections, key = path.split(".")
            holder = tree
            for section in sections:
                holder = holder.setdefault(section, {})
            if value is None:
                holder.pop(key, None)
            else:
                holder[key] = _placed(value, places)
        return tree


def declared() -> Iterator[Declared]:
    """Every option of the recipe's own sections, without the settings of names."""
    yield from _of_section(_schema(), "")


@cache
def _schema() -> dict[str, Any]:
    return listing.schema("recipe")


def _of_section(schema: Schema, prefix: str) -> Iterator[Declared]:
    for key, about in schema["properties"].items():
        path = f"{prefix}{key}"
        section = _section(about)
        named = DISCRIMINATOR.get(path.rpartition(".")[0], "name")
        if section is not None:
            yield from _of_section(section, f"{path}.")
        elif not (prefix.rstrip(".") in KINDS and key == named) and not _of_a_kind(prefix.rstrip("."), key):
            yield values_of(path, about, about.get("default", _in_base(path)))


def _of_a_kind(section: str, key: str) -> bool:
    """Whether the key is a setting of the section's names: those say which of them take it."""
    kinds = () if section == "teacher" else KINDS.get(section, ())  # mean and std are of networks too
    return key == "options" or any(key in entry["settings"] for kind in kinds for entry in entries(kind))


@cache
def entries(kind: str) -> list[Any]:
    """What `calkd-edge list KIND` lists."""
    return list(listing.list_names(kind))


def _section(about: Schema) -> Schema | None:
    """The section that a value is, or that the entries of a list are."""
    for part in (about, about.get("items", {}), *about.get("anyOf", ())):
        if "$ref" in part:
            found: Schema = _schema()["$defs"][part["$ref"].rpartition("/")[2]]
            return found
    return None


def _in_base(path: str) -> Any:
    value: Any = BASE
    for key in path.split("."):
        value = value.get(key) if isinstance(value, dict) else None
    return value


def cases() -> list[Case]:
    """Every case, by name."""
    found = [*_of_options(), *_of_names()]
    return sorted(found, key=lambda case: case.name)


def packed(chosen: Sequence[Case], fits: Callable[[Case], bool]) -> list[Case]:
    """Few recipes that hold all cases: each takes those that change other keys, while it `fits`."""
    packs: list[Case] = []
    for case in chosen:
        for index, pack in enumerate(packs):
            joined = Case(f"{pack.name}, {case.name}", {**pack.changes, **case.changes})
            if not _overlap(pack, case) and fits(joined):
                packs[index] = joined
                break
        else:
            packs.append(case)
    return packs


def _overlap(one: Case, other: Case) -> bool:
    """Whether two cases change the same key, or one a section of the other's."""
    paths = [[f"{path}." for path in case.changes] for case in (one, other)]
    return any(a.startswith(b) or b.startswith(a) for a in paths[0] for b in paths[1])


def _of_options() -> Iterator[Case]:
    for option in declared():
        for value in (*option.usual, *option.bounds):
            if f"{option.path}={value}" in NOT_HERE or option.path in NOT_HERE:
                continue
            twin = option.path.replace("distill.", "teacher_training.", 1)
            if option.path.startswith("teacher_training.") and _shared(option.path):
                continue
            paths = [option.path, twin] if _shared(twin) else [option.path]
            changes: dict[str, Any] = {path: value for path in paths}
            for need in (option.path, f"{option.path}={value}"):
                changes = {**NEEDS.get(need, {}), **changes}
            yield Case(
                f"{option.path}={value}",
                _as_lists(changes),
                value in option.usual and f"{option.path}={value}" not in REFUSED,
            )


def _shared(path: str) -> bool:
    """Whether both trainings have this key of teacher_training: one case sets both."""
    first, _, rest = path.partition(".")
    return first == "teacher_training" and rest in _keys_of_both()


@cache
def _keys_of_both() -> frozenset[str]:
    paths = [option.path for option in declared()]
    ours, theirs = (
        {path.removeprefix(f"{name}.") for path in paths if path.startswith(f"{name}.")}
        for name in ("distill", "teacher_training")
    )
    kinds = ("optimizer", "schedule", "mixing")
    return frozenset({*(ours & theirs), *kinds})


def _as_lists(changes: dict[str, Any]) -> dict[str, Any]:
    """Keys of a list's entries, such as gates.model, as a whole list with one entry."""
    result = {
        key: value for key, value in changes.items() if not key.startswith(tuple(f"{one}." for one in LISTS))
    }
    if "gates" in changes:
        return {**result, "gates": changes["gates"]}
    for name, entry in (
        ("gates", {"metric": "size_bytes", "max": 1e9}),
        ("devices", {"name": "local"}),
        ("distill.losses", {"name": "kd"}),
    ):
        own = {key.rpartition(".")[2]: value for key, value in changes.items() if key.startswith(f"{name}.")}
        if own:
            result[name] = [{**entry, **own}]
    return result


def _of_names() -> Iterator[Case]:
    for section, kinds in KINDS.items():
        if section.startswith("teacher_training."):
            continue  # with those of distill
        for kind in kinds:
            for entry in entries(kind):
                if f"{section}={entry['name']}" not in NOT_HERE:
                    yield from _of_name(section, kind, entry)


def _of_name(section: str, kind: str, entry: Schema) -> Iterator[Case]:
    name, given = entry["name"], GIVEN.get((kind, entry["name"]), {})
    if kind == "gates":
        yield from _of_gate(section, name, entry["settings"], given)
        return
    if section == "evaluate.unknown":  # the settings of data sets are swept with those of data
        swept = {"seed": 5} if name == "synthetic" else {}
        yield _named_case(section, name, swept, given, "given")
        return
    options = {
        key: Declared(f"{kind}[{name}].{key}", [given[key]])
        if key in given
        else values_of(f"{kind}[{name}].{key}", about, about.get("default"))
        for key, about in entry["settings"].items()
        if f"{kind}[{name}].{key}" not in NOT_HERE
    }
    small = {key: value for key, value in SMALLEST.items() if key in options and key not in given}
    rounds = max((len(option.usual) for option in options.values()), default=1)
    for turn in range(rounds):
        swept = {key: option.usual[turn % len(option.usual)] for key, option in options.items()}
        swept.update({key: value for key, value in small.items() if key in swept})
        yield _named_case(section, name, swept, given, str(turn))
    if kind == "models":
        return  # bounds of their widths are large networks
    for option in options.values():
        key = option.path.rpartition(".")[2]
        for bound in option.bounds:
            if f"{key}" not in given:
                yield _named_case(section, name, {key: bound}, given, f"{key}={bound}", must_run=False)


def _of_gate(section: str, name: str, settings: Schema, given: Schema) -> Iterator[Case]:
    named = {"threshold": 0.5, "of_class": "grating_00"}
    extra = {key: value for key, value in named.items() if key in settings}
    for limit in [key for key in settings if key not in named]:
        value = given.get(limit, _generous(name, limit))
        yield _named_case(section, name, {limit: value, **extra}, {}, limit)


def _generous(name: str, limit: str) -> float:
    """A limit inside the range of a metric that any model keeps."""
    span = METRICS[name].span
    if limit == "min":
        return span.low + 0.0001
    return 1e9 if math.isinf(span.high) else 0.999 * span.high


def _named_case(
    section: str,
    name: str,
    swept: Schema,
    given: Schema,
    label: str,
    *,
    must_run: bool = True,
) -> Case:
    key = DISCRIMINATOR.get(section, "name")
    entry = {key: name, **given, **swept}
    changes: dict[str, Any] = dict(NEEDS.get(f"{section}={name}", {}))
    if section == "devices":
        chosen = {"name": "local", "runtime": name, **({"options": {**given, **swept}} if swept else {})}
        changes["devices"] = [chosen]
    elif section == "precisions":
        changes[section] = [{"name": "fp32"}, *([entry] if name != "fp32" else [])]
    elif section == "gates":
        gate = {"metric": name, **swept}
        changes.update({section: [gate], **JUDGED})
        if METRICS[name].against == "baseline":
            changes["precisions"] = [{"name": "fp32"}]  # of the release that it is compared with
    elif section in LISTS:
        changes[section] = [entry]
    elif section in ("data", "student", "teacher"):
        changes.update({f"{section}.{setting}": value for setting, value in entry.items()})
        if section == "student" and "width" not in entry:
            changes["student.width"] = None
    else:
        changes[section] = entry
        if section.startswith("distill."):
            changes[section.replace("distill.", "teacher_training.")] = entry
    return Case(f"{section}={name}[{label}]", changes, must_run)


def _placed(value: Any, places: Mapping[str, str]) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        return places[value.strip("{}")]
    if isinstance(value, list):
        return [_placed(item, places) for item in value]
    if isinstance(value, dict):
        return {key: _placed(item, places) for key, item in value.items()}
    return value
