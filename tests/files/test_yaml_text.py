"""YAML that people write: its values, what is refused, and where the message points."""

from __future__ import annotations

import math

import pytest
import yaml

from calkd_edge.files.yaml_text import YamlProblem, parse_yaml
from calkd_edge.recipe.source import packaged

LAUGHS = 'a0: &a0 ["lol"]\n' + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]\n" for level in range(1, 10)
)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("17", 17), ("0", 0), ("-3", -3), ("0o17", 15), ("0x1F", 31),
        ("1e-3", 0.001), ("1.5e3", 1500.0), (".5", 0.5), ("-.inf", -math.inf), ("2.", 2.0),
        ("true", True), ("False", False), ("~", None), ("", None), ("null", None),
        ("y", "y"), ("'yes'", "yes"), ('"017"', "017"), ("'1_000'", "1_000"), ("v1_000", "v1_000"),
        ("'<<'", "<<"), ("10.0.0.5", "10.0.0.5"), ("1e", "1e"), ("user@::1", "user@::1"),
        ("{a: &x [1], b: *x}", {"a": [1], "b": [1]}),
    ],
)  # fmt: skip
def test_scalar_is_what_it_looks_like(text, value):
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("seed: 017", "line 1, column 7: '017' may mean 17 or, as octal, 15"),
        ("seed: 08", "'08' may mean 8"),
        ("a: yes", "'yes' may mean true or a text"),
        ("a: Off", "'Off' may mean false or a text"),
        ("a: 1:2:3", "'1:2:3' may mean"),
        ("a: 2024-13-45", "may mean"),
        ("a: 2024-01-01 99:00:00", "may mean"),
        ("a: 0x_", "may mean"),
        ("a: 0b_", "may mean"),
        ("a: " + "9" * 5000, "too large"),
        ("a: 1e999", "too large"),
        ("a: 1_000", "'1_000' may mean"),
        ("a: 1_0.5", "'1_0.5' may mean"),
        ("a: 0b101", "'0b101' may mean"),
        ("a: -0x1F", "'-0x1F' may mean"),
        ("a: 9223372036854775808", "too large"),
        ("a: 0x" + "f" * 9000, "too large"),
        ("a: !!float 1", "line 1, column 4: the tag '!!float' is not supported"),
        ("a: ! 017", "the tag '!' is not supported"),
        ("a: !!timestamp foo", "the tag '!!timestamp'"),
        ("a: !!python/name:os.system x", "the tag '!!python/name:os.system'"),
        ("a: !!set {b, c}", "the tag '!!set'"),
        ("!!map {b: c}", "the tag '!!map'"),
        ("!!str a: 1", "the tag '!!str'"),
        ("? [a, b]\n: 1", "a key must be a word or a number"),
        ("? {a: b}\n: 1", "a key must be a word or a number"),
        ("a: 1\na: 2", "line 2, column 1: the key 'a' occurs twice"),
        ("a: &a [*a]", "contains itself"),
        ("a: *b", "undefined alias"),
        ("x: " + "[" * 2000 + "]" * 2000, "nested more than 50 levels"),
        ('"a\\0b"', "null byte"),
        ('"\\ud800"', "half a character"),
        ('"\\UFFFFFFFF"', "no YAML"),
        ("%YAML " + "9" * 5000 + ".1\n--- a", "no YAML"),
        ("a\x1bb", "special characters are not allowed"),
        ("{<<: {a: 1}, b: 3}", "line 1, column 2: the merge key << is not supported"),
        ("a: <<", "the merge key <<"),
        (LAUGHS, "aliases included"),
        ("[" + "[]," * 300_000 + "]", "more than 20,000 values"),
        ("a: [", "expected"),
    ],
)
def test_text_with_another_meaning_or_none_is_refused(text, problem):
    with pytest.raises(YamlProblem) as refused:
        parse_yaml(text)
    assert problem in str(refused.value)
    assert len(str(refused.value)) < 300


def test_every_packaged_recipe_reads_as_the_safe_loader_reads_it():
    for path in packaged().values():
        text = path.read_text(encoding="utf-8")
        assert parse_yaml(text) == yaml.safe_load(text), path
