"""Everything that a recipe may name, by kind, and the JSON schemas of the files.

In scope: names with summary, source and settings. Out of scope: printing; importing what the names stand for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from pydantic import JsonValue

from calkd_edge.agent.runtimes import RUNTIMES, known_options
from calkd_edge.calibration import CALIBRATORS
from calkd_edge.calibration.tables import TABLES
from calkd_edge.data import AUGMENTATIONS, DATASETS, MIXINGS
from calkd_edge.devices import DEVICES
from calkd_edge.devices.inventory import PROFILES, inventory
from calkd_edge.errors import RecipeError, did_you_mean
from calkd_edge.export import TEACHER_FILES
from calkd_edge.losses import LOSSES
from calkd_edge.models import MODELS
from calkd_edge.pipeline.device_checks import PLANNED_OPTIONS
from calkd_edge.quantization import QUANTIZERS
from calkd_edge.recipe import source as recipe_text
from calkd_edge.recipe.schema import Recipe
from calkd_edge.recipe.training import OptimizerSection, ScheduleSection
from calkd_edge.records import Benchmark, Quality, Record, Report
from calkd_edge.records.quality import ConfidenceFigures, Estimate
from calkd_edge.registry import EntryDescription, Registry
from calkd_edge.release.gates.metrics import METRICS

Settings = dict[str, dict[str, JsonValue]]

SCHEMAS: dict[str, type[Record]] = {"recipe": Recipe, "report": Report, "benchmark": Benchmark}

UNITS = {"share": ", 0..1", "ms": ", in ms", "bytes": ", in bytes"}

OPTIMIZERS = {
    "sgd": (
        "Stochastic gradient descent with momentum.",
        ("lr", "momentum", "nesterov", "weight_decay", "pretrained_lr_factor"),
    ),
    "adamw": ("Adam with decoupled weight decay.", ("lr", "weight_decay", "pretrained_lr_factor")),
}
"""Summary and settings of each `optimizer.name`."""

SCHEDULES = {
    "constant": ("The same rate after the warm-up.", ("warmup_epochs",)),
    "cosine": ("Half a cosine from the rate down to 0.", ("warmup_epochs",)),
    "steps": (
        "The rate times `factor` at each of `at_epochs`.",
        ("warmup_epochs", "at_epochs", "factor"),
    ),
    "one_cycle": (
        "Up to the rate over the warm-up, or 0.3 of the epochs, then down to near 0.",
        ("warmup_epochs",),
    ),
}
"""Summary and settings of each `schedule.name`."""

CORRUPTIONS = {
    "brightness": "A constant added to the value of every pixel.",
    "blur": "A Gaussian blur.",
    "noise": "Gaussian noise on every channel.",
    "jpeg": "JPEG compression.",
}
"""Summary of each of `evaluate.corruptions`; all at three strengths."""


def list_names(kind: str | None = None) -> list[EntryDescription]:
    """List every name of one kind that a recipe may use: name, summary, source, settings.

        for entry in list_names("losses"):
            print(entry["name"], entry["summary"])

    Args:
        kind: such as models or losses; None lists the kinds themselves.

    Raises:
        RecipeError: no such kind.
    """
    if kind is None:
        return [_entry(name, summary) for name, summary in KINDS.items()]
    if kind not in KINDS:
        raise RecipeError(
            f"there is no list of '{kind}'",
            remedy=f"{did_you_mean(kind, KINDS)}Valid: {', '.join(KINDS)}.",
        )
    return OTHERS[kind]() if kind in OTHERS else _registered(REGISTRIES[kind])


def schema(kind: str) -> dict[str, JsonValue]:
    """Return the JSON schema of a recipe, of report.json or of benchmark.json.

        schema("recipe")["properties"]

    Args:
        kind: recipe, report or benchmark.

    Raises:
        RecipeError: no such schema.
    """
    if kind not in SCHEMAS:
        raise RecipeError(
            f"there is no schema of '{kind}'",
            remedy=f"{did_you_mean(kind, SCHEMAS)}Valid: {', '.join(SCHEMAS)}.",
        )
    # A recipe is what a user writes: its defaults may be left out.
    return SCHEMAS[kind].model_json_schema(mode="validation" if kind == "recipe" else "serialization")


def _entry(name: str, summary: str, settings: Settings | None = None) -> EntryDescription:
    return {"name": name, "summary": summary, "source": "", "settings": settings or {}}


def _registered(registry: Registry) -> list[EntryDescription]:
    return [registry.describe(name) for name in registry.names()]


def _devices() -> list[EntryDescription]:
    """Registered devices, the user's inventory, and the kinds of boards that the inventory does not name."""
    boards = {name: f"{entry.address}, of your inventory" for name, entry in inventory().items()}
    kinds = {
        name: f"{profile.title}: this machine, or one of your inventory; {profile.runtime} by default"
        for name, profile in PROFILES.items()
        if name not in boards
    }
    entries = [_entry(name, summary) for name, summary in {**boards, **kinds}.items()]
    return [*_registered(DEVICES), *entries]


def _runtimes() -> list[EntryDescription]:
    return [
        _entry(
            name,
            _executed_file(name),
            {
                key: {"default": cast(JsonValue, value)}
                for key, value in known_options(name).items()
                if key not in PLANNED_OPTIONS
            },
        )
        for name in RUNTIMES
    ]


def _executed_file(runtime: str) -> str:
    if RUNTIMES[runtime].is_compiled:
        return "Runs an engine that the device builds from the ONNX file."
    if RUNTIMES[runtime].is_converted:
        return "Runs a file that the host converts from the ONNX file."
    return "Runs the ONNX file."


def _optimizers() -> list[EntryDescription]:
    fields: Settings = OptimizerSection.model_json_schema()["properties"]
    return [
        _entry(name, summary, {key: fields[key] for key in settings})
        for name, (summary, settings) in OPTIMIZERS.items()
    ]


def _schedules() -> list[EntryDescription]:
    fields: Settings = ScheduleSection.model_json_schema()["properties"]
    return [
        _entry(name, summary, {key: fields[key] for key in settings})
        for name, (summary, settings) in SCHEDULES.items()
    ]


def _corruptions() -> list[EntryDescription]:
    return [_entry(name, summary) for name, summary in CORRUPTIONS.items()]


def _gates() -> list[EntryDescription]:
    """Metrics that a gate may limit, with the limits that it may set."""
    entries = []
    for name, metric in METRICS.items():
        settings: Settings = {limit: {"type": "number"} for limit in metric.limits}
        if metric.threshold:
            settings["threshold"] = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
        if metric.of_class:
            settings["of_class"] = {"type": "string"}
        entries.append(_entry(name, _sentence(f"{metric.meaning}{UNITS.get(metric.unit, '')}"), settings))
    return entries


def _figures() -> list[EntryDescription]:
    """Figures of quality in report.json: those with bounds first, then those of confidence."""
    bounded = [
        name
        for name, field in Quality.model_fields.items()
        if field.annotation in (Estimate, Estimate | None)
    ]
    summaries = {entry["name"]: entry["summary"] for entry in _gates() if entry["name"] in bounded}
    described = {
        name: _sentence(field.description or name) for name, field in ConfidenceFigures.model_fields.items()
    }
    return [_entry(name, summary) for name, summary in {**summaries, **described}.items()]


def _recipes() -> list[EntryDescription]:
    return [
        _entry(name, path.read_text("utf-8").partition("\n")[0].removeprefix("#").strip())
        for name, path in recipe_text.packaged().items()
    ]


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


REGISTRIES: dict[str, Registry] = {
    "models": MODELS,
    "teacher_files": TEACHER_FILES,
    "losses": LOSSES,
    "calibrators": CALIBRATORS,
    "tables": TABLES,
    "datasets": DATASETS,
    "augmentations": AUGMENTATIONS,
    "mixings": MIXINGS,
    "precisions": QUANTIZERS,
    "devices": DEVICES,
}
"""Kinds whose names are registered."""

OTHERS: dict[str, Callable[[], list[EntryDescription]]] = {
    "devices": _devices,
    "optimizers": _optimizers,
    "schedules": _schedules,
    "runtimes": _runtimes,
    "corruptions": _corruptions,
    "gates": _gates,
    "metrics": _figures,
    "recipes": _recipes,
}
"""Kinds that are more than a registry, or none."""

KINDS = {
    "models": "Networks: teacher.name, student.name",
    "teacher_files": "Files in place of a trained teacher: teacher.name",
    "losses": "Terms that the student minimises: distill.losses[].name",
    "calibrators": "Maps of logits: calibrator.name, calibrate.compare[].name",
    "tables": "Maps of confidence, measured only: calibrate.compare[].name",
    "datasets": "Sets of images: data.name",
    "augmentations": "Random views of an image: data.augmentation.name",
    "mixings": "Mixtures of images: teacher_training.mixing.name, distill.mixing.name",
    "optimizers": "Optimizers: teacher_training.optimizer.name, distill.optimizer.name",
    "schedules": "Learning rates over the epochs: distill.schedule.name",
    "precisions": "Number formats of the exported files: precisions[].name",
    "devices": "Machines that run the files: devices[].name, --device NAME",
    "runtimes": "Programs that run a file: devices[].runtime, --device NAME:RUNTIME",
    "corruptions": "Changes to the test images: evaluate.corruptions[]",
    "gates": "Metrics that a gate limits: gates[].metric",
    "metrics": "Figures of accuracy and confidence: measurements[].quality of report.json",
    "recipes": "Packaged recipes: calkd-edge compress NAME",
}
"""Every kind: its noun, and where its names are used."""
