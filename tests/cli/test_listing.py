"""calkd-edge list and schema: every name that a recipe may use, and the shapes of the files."""

from __future__ import annotations

import json

import jsonschema
import pytest
from tiny_run import RECIPE, command, recipe_with

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.devices.inventory import PROFILES
from calkd_edge.errors import RecipeError
from calkd_edge.pipeline.listing import (
    CORRUPTIONS,
    KINDS,
    OPTIMIZERS,
    OTHERS,
    REGISTRIES,
    SCHEDULES,
    list_names,
)
from calkd_edge.recipe.schema import EvaluateSection
from calkd_edge.recipe.training import OptimizerSection, ScheduleSection
from calkd_edge.release.gates.metrics import METRICS


@pytest.mark.parametrize("kind", KINDS)
def test_list_shows_every_name_with_a_sentence_and_parses_as_json(kind, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))  # without an inventory
    plain, as_json = command("list", kind), command("list", kind, "--json")
    assert (plain.code, as_json.code) == (0, 0)
    entries = json.loads(as_json.out)
    assert entries == list_names(kind)
    assert entries
    for entry in entries:
        assert entry["name"] in plain.out
        assert entry["summary"]
        assert " ".join(entry["source"].split()) in plain.out
    if kind in REGISTRIES:
        names = {entry["name"] for entry in entries}
        assert names - set(REGISTRIES[kind].names()) == (set(PROFILES) if kind == "devices" else set())
        assert names >= set(REGISTRIES[kind].names())


def test_list_without_a_kind_shows_the_kinds():
    done = command("list")
    assert done.code == 0
    lines = done.out.splitlines()
    assert [line.split()[0] for line in lines] == list(KINDS) == [entry["name"] for entry in list_names()]
    assert {*REGISTRIES, *OTHERS} == set(KINDS)
    assert max(map(len, lines)) <= 110


def test_unknown_name_is_refused_with_a_list_command_that_works():
    for kind, registry in REGISTRIES.items():
        with pytest.raises(RecipeError) as wrong:
            registry.load("no_such_name")
        assert wrong.value.remedy.endswith(f"List them with: calkd-edge list {kind}")


def names_allowed(section, field: str) -> set[str]:
    """Names that a recipe's schema allows for a field."""
    schema = section.model_json_schema()["properties"][field]
    return set(schema.get("items", schema)["enum"])


def test_names_without_a_registry_are_those_that_a_recipe_may_use():
    assert set(OPTIMIZERS) == names_allowed(OptimizerSection, "name")
    assert set(SCHEDULES) == names_allowed(ScheduleSection, "name")
    assert set(CORRUPTIONS) == names_allowed(EvaluateSection, "corruptions")
    assert {entry["name"] for entry in list_names("runtimes")} == set(RUNTIMES)
    assert {entry["name"] for entry in list_names("gates")} == set(METRICS)


def test_runtimes_say_which_file_they_run():
    summaries = {entry["name"]: entry["summary"] for entry in list_names("runtimes")}
    assert "engine" in summaries["tensorrt"]
    assert "converts" in summaries["litert"]
    assert summaries["onnxruntime"] == "Runs the ONNX file."


def test_figures_of_a_report_are_listed(tiny):
    quality = tiny.report["measurements"][0]["quality"]
    for entry in list_names("metrics"):
        assert entry["name"] in {**quality, **quality["confidence"]}


def test_schema_of_a_recipe_accepts_recipes_and_refuses_others():
    schema = json.loads(command("schema", "recipe").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(RECIPE, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(recipe_with(seed="no number"), schema)


def test_schema_of_a_report_accepts_the_report_of_a_run(tiny):
    schema = json.loads(command("schema", "report").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tiny.report, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**tiny.report, "verdict": "perhaps"}, schema)
