"""YAML that people write: recipes and the inventory, as mappings, lists, texts and numbers.

In scope: the values of a text, and bounds on its size. Out of scope: which keys a text may have.

Scalars are those of YAML 1.2. One that YAML 1.1 reads as another value (017, yes, 1_000, 1:30, 2024-01-31) is
refused: its author may have meant either. Tags and merge keys (<<) are refused too: a value is what it looks
like, and stands where it counts.
"""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path

import yaml
from pydantic import JsonValue

from calkd_edge.files.bounded import read_bounded

MOST_BYTES = 1 << 20
MOST_INTEGER = 2**63 - 1
DEEPEST = 50
MOST_VALUES = 20_000
"""Values of a text, where an alias counts as much as what it repeats."""

_CORE = "tag:yaml.org,2002:"
_STR, _MERGE, _AMBIGUOUS = f"{_CORE}str", f"{_CORE}merge", "ambiguous"
_FORMS = {
    f"{_CORE}null": re.compile(r"|~|null|Null|NULL"),
    f"{_CORE}bool": re.compile(r"true|True|TRUE|false|False|FALSE"),
    f"{_CORE}int": re.compile(r"[-+]?(0|[1-9][0-9]*)|0x[0-9a-fA-F]+|0o[0-7]+"),
    f"{_CORE}float": re.compile(
        r"[-+]?(([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)"
    ),
}
"""What a scalar without quotes stands for; of several forms, the first."""
_OCTAL = re.compile(r"[-+]?0[0-9_]+")
_SHOWN = 40


class YamlProblem(ValueError):
    """What is wrong with a text, and where.

    Args:
        problem: in words.
        remedy: what its author can do.
        mark: the place; None for the text as a whole.
    """

    def __init__(self, problem: str, remedy: str = "Correct the YAML there.", mark: yaml.Mark | None = None):
        super().__init__(f"line {mark.line + 1}, column {mark.column + 1}: {problem}" if mark else problem)
        self.remedy = remedy


class NotText(YamlProblem):
    """The file is not UTF-8."""


def read_yaml(path: Path) -> JsonValue:
    """The value of a YAML file of at most 1 MiB.

    Raises:
        YamlProblem: it cannot be read, is no YAML, or is refused; NotText where it is no text.
    """
    try:
        text = read_bounded(path, MOST_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as binary:
        raise NotText("this is not a text file", "Name a text file.") from binary
    except OSError as broken:
        raise YamlProblem(f"cannot be read: {broken}", "Check the path and its permissions.") from None
    except ValueError as large:
        raise YamlProblem(f"{large}, which no recipe needs", "Name the right file.") from None
    return parse_yaml(text)


def parse_yaml(text: str) -> JsonValue:
    """The value of a YAML text; null for an empty one.

    Raises:
        YamlProblem: it is no YAML, too large, too deep, or holds a value that is refused.

    Example:
        >>> parse_yaml("a: [1, 0o17, 1e-3, yes-man]")
        {'a': [1, 15, 0.001, 'yes-man']}
        >>> parse_yaml("seed: 017")
        Traceback (most recent call last):
        calkd_edge.files.yaml_text.YamlProblem: line 1, column 7: '017' may mean 17 or, as octal, 15
    """
    try:
        node = _Loader(text).get_single_node()
    except YamlProblem:
        raise
    except yaml.YAMLError as broken:
        problem = getattr(broken, "problem", None) or str(broken).partition("\n")[0]
        raise YamlProblem(problem, mark=getattr(broken, "problem_mark", None)) from None
    except Exception as broken:  # pyyaml converts numbers in escapes and directives without checking them
        raise YamlProblem(f"this is no YAML: {str(broken)[:_SHOWN]}") from None
    return None if node is None else _value(node, 0)


class _Loader(yaml.SafeLoader):
    """Composes nodes, and stops at a bound of depth and number; the nodes become values in `_value`."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.count = 0
        self.sizes: dict[yaml.Node, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """A node, counted; an alias counts as much as its target."""
        event = self.peek_event()  # type: ignore[no-untyped-call]
        before, is_alias = self.count, self.check_event(yaml.AliasEvent)
        tag = getattr(event, "tag", None)
        if tag is not None:
            raise YamlProblem(
                f"the tag '{_short(tag.replace(_CORE, '!!'))}' is not supported",
                "Remove the tag.",
                event.start_mark,
            )
        self.depth += 1
        self.count += 1
        _check_bounds(self.depth, self.count, event.start_mark)
        node = super().compose_node(parent, index)
        if node is not None and is_alias:
            if node not in self.sizes:
                raise YamlProblem("a value that contains itself", mark=event.start_mark)
            self.count += self.sizes[node]
            _check_bounds(self.depth, self.count, event.start_mark)
        elif node is not None:
            self.sizes[node] = self.count - before
        self.depth -= 1
        return node

    def resolve(self, kind: type[yaml.Node], value: str, implicit: tuple[bool, bool]) -> str:
        """The tag of a node without one."""
        tag = str(super().resolve(kind, value, implicit))  # type: ignore[no-untyped-call]
        if kind is not yaml.ScalarNode or not implicit[0] or tag == _MERGE:
            return tag
        if _OCTAL.fullmatch(value):
            return _AMBIGUOUS
        found = next((name for name, form in _FORMS.items() if form.fullmatch(value)), _STR)
        return _AMBIGUOUS if found == _STR != tag else found


def _check_bounds(depth: int, count: int, mark: yaml.Mark) -> None:
    if depth > DEEPEST:
        raise YamlProblem(f"nested more than {DEEPEST} levels deep", mark=mark)
    if count > MOST_VALUES:
        raise YamlProblem(f"more than {MOST_VALUES:,} values, aliases included", mark=mark)


def _value(node: yaml.Node, depth: int) -> JsonValue:
    _check_bounds(depth, 0, node.start_mark)
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, depth)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, depth + 1) for item in node.value]
    assert isinstance(node, yaml.ScalarNode)
    return _scalar(node)


def _mapping(node: yaml.MappingNode, depth: int) -> dict[str, JsonValue]:
    """A mapping whose keys all differ."""
    own: dict[str, JsonValue] = {}
    for key_node, value_node in node.value:
        key = _scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
        if key is None:
            raise YamlProblem("a key must be a word or a number", mark=key_node.start_mark)
        if key in own:
            raise YamlProblem(f"the key '{_short(str(key))}' occurs twice", mark=key_node.start_mark)
        own[key] = _value(value_node, depth + 1)  # type: ignore[index]  # the schema refuses number keys
    return own


def _scalar(node: yaml.ScalarNode) -> str | int | float | bool | None:
    text, kind = str(node.value), node.tag.removeprefix(_CORE)
    if node.tag == _AMBIGUOUS:
        raise _ambiguous(text, node.start_mark)
    if node.tag == _STR:
        if any(char == "\0" or "\ud800" <= char <= "\udfff" for char in text):
            raise YamlProblem("a text with a null byte or half a character", mark=node.start_mark)
        return text
    if node.tag == _MERGE:
        raise YamlProblem("the merge key << is not supported", "Write its keys here.", node.start_mark)
    if kind in ("null", "bool"):
        return None if kind == "null" else text.lower() == "true"
    return _number(text, kind, node.start_mark)


def _number(text: str, kind: str, mark: yaml.Mark) -> int | float:
    try:
        number = int(text, 0) if kind == "int" else float(re.sub(r"\.(?=[a-z])", "", text.lower()))
    except ValueError:  # Python converts 4,300 digits at most
        number = math.inf
    most = MOST_INTEGER if kind == "int" else sys.float_info.max
    if abs(number) > most and not text.lower().endswith(".inf"):
        raise YamlProblem(f"the number '{_short(text)}' is too large", "Write a smaller number.", mark)
    return number


def _ambiguous(text: str, mark: yaml.Mark) -> YamlProblem:
    """The refusal of a scalar with two meanings, and how to write each."""
    quoted = f"quote it where a text is meant: '{_short(text)}'"
    if _OCTAL.fullmatch(text):
        digits = text.replace("_", "").lstrip("-+").lstrip("0") or "0"
        octal = "" if re.search("[89]", digits) else f" or, as octal, {int(digits[:_SHOWN], 8)}"
        also = f" or 0o{digits[:_SHOWN]}" if octal else ""
        problem = f"'{_short(text)}' may mean {_short(digits)}{octal}"
        return YamlProblem(problem, f"Write {_short(digits)}{also}; {quoted}", mark)
    if text.lower() in ("yes", "on", "no", "off"):
        truth = "true" if text.lower() in ("yes", "on") else "false"
        return YamlProblem(f"'{text}' may mean {truth} or a text", f"Write {truth}; {quoted}", mark)
    problem = f"'{_short(text)}' may mean a number, a date or a text"
    return YamlProblem(problem, f"Write a plain number; {quoted}", mark)


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
