"""Text that people write and damage: every mutation is read, or refused by a CalkdError."""

from __future__ import annotations

import hostile
import pytest

from calkd_edge.errors import RecipeError
from calkd_edge.external_models.predictions import read_predictions
from calkd_edge.files.bounded import Unreadable, bounded_json, parse_json
from calkd_edge.onnx_model.class_names import parsed_names

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


@pytest.mark.parametrize("text", ["[" * 5000, "{[1]: 2}", "-" * 50_000 + "1", '[["a"], ["b"]]', "9" * 5000])
def test_class_names_in_no_known_form_are_none_or_words(text):
    assert all(isinstance(name, str) for name in parsed_names(text))


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_folder_with_the_name_of_a_file_is_refused(kind, tmp_path):
    (tmp_path / f"a.{kind}").mkdir()
    with pytest.raises(RecipeError, match="cannot be read: Is a directory|cannot be read: .Errno"):
        read_predictions(tmp_path / f"a.{kind}")
