"""Text that people write and damage: every mutation is read, or refused by a CalkdError."""

from __future__ import annotations

import hostile
import pytest

from calkd_edge.files.bounded import Unreadable, bounded_json, parse_json

COUNT = 300


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["recipe", "inventory", "benchmark", "csv"])
def test_damaged_text_is_read_or_refused(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    hostile.read_all(kind, 1, COUNT, tmp_path)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a":' * 100_000, "nested too deeply"),
        (b"[" + b"[]," * 1_000_000 + b"]", "more than 1,000,000 values"),
        (b'"\xff"', "not UTF-8"),
        (b'"\\ud800"', "not UTF-8"),
        (b"9" * 5000, "not JSON"),
        (b"", "not JSON"),
    ],
)
def test_json_of_others_is_bounded(content, problem):
    with pytest.raises(Unreadable, match=problem):
        parse_json(content)


def test_json_keeps_pairs_of_surrogates_and_a_byte_order_mark():
    assert parse_json(b'\xef\xbb\xbf["\\ud83d\\ude00"]') == ["\U0001f600"]
    assert bounded_json(b"[1, 2]") == b"[1, 2]"
