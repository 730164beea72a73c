"""The classes of a file and of the data: by name, by position with a caution, or refused with a way."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from calkd_edge.errors import RecipeError
from calkd_edge.onnx_model.class_names import class_order


def order_of(data, *, given=None, count=3, **metadata):
    model = onnx.ModelProto()
    onnx.helper.set_model_props(model, {key.replace("__", "."): json.dumps(v) for key, v in metadata.items()})
    return class_order(Path("f.onnx"), model, count, data, given=given, option="OPTION", way="use OPTION")


@pytest.mark.parametrize(
    ("data", "names", "positions", "how"),
    [
        (
            "abc",
            {},
            (0, 1, 2),
            "by position: class 0 is 'a', class 2 is 'c', the order of the data; the file",
        ),
        ("abc", {"names": "abc"}, (0, 1, 2), "by name, as names has them"),
        ("abc", {"names": "cab"}, (1, 2, 0), "by name, as names has them, in another order than the data"),
        ("bc", {"names": "cab"}, (2, 0), "by name, as names has them; 2 of 3 classes have images"),
        ("abc", {"names": "xyz", "given": "cab"}, (1, 2, 0), "by name, as OPTION has them"),
        ("", {"names": "xyz"}, (0, 1, 2), "the labels are positions"),
        ("abc", {"names": "xy"}, (0, 1, 2), "by position"),
    ],
)
def test_classes_are_matched_by_name_where_names_say_it(data, names, positions, how):
    names = {key: list(value) for key, value in names.items()}
    order = order_of(list(data), **names)
    assert order.positions == positions
    assert order.how.startswith(how)
    assert order.caution is None


def test_other_names_of_another_tool_are_a_caution():
    order = order_of(["a", "b", "c"], names=["n01", "n02", "n03"])
    assert (order.positions, order.names) == ((0, 1, 2), ())
    assert "names: n01, ..., n03" in order.caution
    assert order.caution.endswith("To be sure, use OPTION")


@pytest.mark.parametrize(
    ("data", "names", "message"),
    [
        ("abc", {"names": "abx"}, "'c' is none of the file's 3 (names: a, b, x)"),
        ("abc", {"given": "xyz"}, "'a' is none of the file's 3 (OPTION: x, y, z)"),
        ("abc", {"calkd_edge__classes": "xyz"}, "'a' is none of the file's 3 (calkd_edge.classes: x, y, z)"),
        ("ab", {"names": "xyz"}, "'a' is none of the file's 3"),
        ("aab", {"names": "abc"}, "name their classes differently"),
        ("ab", {}, "f.onnx has 3 classes, the data have 2"),
        ("abc", {"given": "abcd"}, "OPTION has 4 names, f.onnx has 3 classes"),
        ("", {"given": "ab"}, "OPTION has 2 names, f.onnx has 3 classes"),
        ("abc", {"given": ""}, "OPTION has 0 names, f.onnx has 3 classes"),
        ("abc", {"calkd_edge__classes": "abcd"}, "calkd_edge.classes has 4 names, f.onnx has 3 classes"),
    ],
)
def test_classes_that_do_not_fit_are_refused_with_a_way(data, names, message):
    with pytest.raises(RecipeError) as raised:
        order_of(list(data), **{key: list(value) for key, value in names.items()})
    assert message in raised.value.message
    assert "use OPTION" in raised.value.remedy
