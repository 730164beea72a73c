"""Every name of every registry loads, is documented and says what may be set; unknown ones are refused."""

from __future__ import annotations

import inspect
from typing import Annotated, get_type_hints

import pytest
from pydantic import Field

from calkd_edge.errors import EnvironmentProblem, RecipeError
from calkd_edge.pipeline.listing import REGISTRIES
from calkd_edge.registry import Registry, settings_model
from calkd_edge.registry import registry as registry_module

EVERY = [(kind, name) for kind, registry in REGISTRIES.items() for name in registry.names()]


def knob(given: int, *, width: Annotated[float, Field(gt=0, le=2)] = 1.0, tags: tuple[str, ...] = ()):
    """Turn a knob.

    Source: nobody, "Nothing".
    """
    return given, width, tags


@pytest.fixture
def knobs():
    found = Registry("knob", {"plain": f"{__name__}:knob", "lost": "no_such_package_at_all:knob"})
    found.add("own", knob)
    return found


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_registered_callable_is_documented_and_annotated_after_the_star(kind, name):
    target = REGISTRIES[kind].load(name)
    assert inspect.getdoc(target), "its docstring is what `calkd-edge list` shows"
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    for parameter in inspect.signature(target).parameters.values():
        assert parameter.kind is not inspect.Parameter.VAR_KEYWORD
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            assert parameter.name in hints
    description = REGISTRIES[kind].describe(name)
    assert description["name"] == name
    assert description["summary"].endswith(".")


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_defaults_of_a_registered_callable_pass_its_own_bounds(kind, name):
    schema = settings_model(REGISTRIES[kind].load(name))
    needed = {key for key, field in schema.model_fields.items() if field.is_required()}
    if needed:
        pytest.skip(f"{name} needs {', '.join(sorted(needed))}")
    defaults = REGISTRIES[kind].settings(name, {}, where="test")
    assert REGISTRIES[kind].settings(name, defaults, where="test") == defaults


def test_settings_are_filled_in_as_plain_json(knobs):
    assert knobs.settings("plain", {"tags": ["a"]}, where="here") == {"width": 1.0, "tags": ["a"]}


@pytest.mark.parametrize(
    "given", [{"width": 0}, {"width": 3}, {"width": "1"}, {"width": True}, {"wdith": 1}, {"given": 1}]
)
def test_settings_outside_the_signature_are_refused_with_their_path(knobs, given):
    with pytest.raises(RecipeError) as refused:
        knobs.settings("plain", given, where="r.yaml: student")
    assert refused.value.message.startswith(f"r.yaml: student.{next(iter(given))}: ")


def test_unknown_setting_is_answered_with_all_keys_that_may_stand_there(knobs):
    with pytest.raises(RecipeError) as refused:
        knobs.settings("plain", {"weigths": 1}, where="r.yaml: student", beside=("name", "weights"))
    assert "Did you mean 'weights'?" in refused.value.remedy
    assert "name, tags, weights, width" in refused.value.remedy


def test_unknown_name_is_answered_with_the_nearest_and_with_all(knobs):
    with pytest.raises(RecipeError) as refused:
        knobs.load("plian", where="r.yaml: student")
    assert refused.value.message == "r.yaml: student: no knob is named 'plian'"
    assert "Did you mean 'plain'?" in refused.value.remedy
    assert "calkd-edge list knobs" in refused.value.remedy


def test_missing_package_is_named(knobs):
    with pytest.raises(EnvironmentProblem) as lacking:
        knobs.load("lost")
    assert "no_such_package_at_all" in lacking.value.message
    assert lacking.value.exit_code == 6


def test_names_are_known_without_importing_what_they_stand_for(knobs):
    assert knobs.names() == ["lost", "own", "plain"]
    assert "lost" in knobs


def test_added_name_is_loaded_and_a_taken_one_refused(knobs):
    assert knobs.load("own") is knob
    for taken in ("own", "plain"):
        with pytest.raises(RecipeError, match="exists already"):
            knobs.add(taken, knob)


def test_installed_entry_point_is_a_name_like_any_other(monkeypatch):
    from importlib.metadata import EntryPoint

    point = EntryPoint("foreign", f"{__name__}:knob", "calkd_edge.knobs")
    monkeypatch.setattr(registry_module, "_entry_points", lambda group: (point,))
    found = Registry("knob", {})
    assert found.names() == ["foreign"]
    assert found.load("foreign")(1) == (1, 1.0, ())
