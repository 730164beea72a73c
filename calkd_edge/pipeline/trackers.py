"""Experiment trackers: a finished run's curves, figures and files, by each tracker's own client.

Off unless named (`--log-to NAME`). A tracker that cannot be reached leaves a warning: the release stands.

In scope: what is logged, and under which names. Out of scope: servers, keys and projects, which each client
takes from its own environment variables and files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from calkd_edge.errors import EnvironmentProblem, RecipeError, did_you_mean
from calkd_edge.records import Json, Measurement, Report
from calkd_edge.release.gates.evidence import labels_of
from calkd_edge.release.report.report import HTML_NAME, JSON_NAME

Histories = Mapping[str, Sequence[Mapping[str, Json]]]
"""One line an epoch, by the model that was trained."""

Scalars = dict[str, float]

FILES = (HTML_NAME, JSON_NAME, "bundle.zip")
"""Files of a release that are attached where they exist."""


def check_trackers(names: Sequence[str]) -> tuple[str, ...]:
    """The names, each once.

    Raises:
        RecipeError: there is no such tracker.
        EnvironmentProblem: its client is not installed.
    """
    for name in names:
        if name not in TRACKERS:
            raise RecipeError(
                f"log to {name}: no tracker has this name",
                remedy=f"{did_you_mean(name, TRACKERS)}Valid: {', '.join(TRACKERS)}.",
            )
        if find_spec(name) is None:
            raise EnvironmentProblem(
                f"log to {name}: its client is not installed", remedy=f"Install it: pip install {name}"
            )
    return tuple(dict.fromkeys(names))


def log_to(
    names: Sequence[str],
    report: Report,
    histories: Histories,
    folder: Path,
    on_message: Callable[[str], None],
) -> None:
    """Log a finished run to every named tracker, and say where it is.

    Args:
        names: of trackers.
        report: of the run.
        histories: of its trainings.
        folder: of its release.
        on_message: called with a sentence for each tracker.
    """
    for name in names:
        try:
            on_message(f"Logged to {name}: {TRACKERS[name](report, histories, folder)}")
        except Exception as wrong:  # a client raises what it likes: no server, no key, no disk
            on_message(f"WARNING: not logged to {name}: {type(wrong).__name__}: {wrong}. The release stands.")


def _tensorboard(report: Report, histories: Histories, folder: Path) -> str:
    from torch.utils.tensorboard import SummaryWriter

    target = folder / "tensorboard"
    with SummaryWriter(str(target)) as writer:
        for epoch, scalars in _by_epoch(histories):
            for key, value in scalars.items():
                writer.add_scalar(key, value, epoch)
        for key, value in _figures(report).items():
            writer.add_scalar(key, value, 0)
        writer.add_text("verdict", f"{report.verdict}: {_shipped(report)}", 0)
    return f"tensorboard --logdir {target}"


def _mlflow(report: Report, histories: Histories, folder: Path) -> str:
    import mlflow

    with mlflow.start_run(run_name=report.name) as run:
        mlflow.set_tags({"verdict": report.verdict, "recommendation": _shipped(report)})
        mlflow.log_params(_settings(report))
        for epoch, scalars in _by_epoch(histories):
            mlflow.log_metrics(scalars, step=epoch)
        mlflow.log_metrics(_figures(report))
        for path in _files(folder):
            mlflow.log_artifact(str(path))
        return f"run {run.info.run_id} at {mlflow.get_tracking_uri()}"


def _wandb(report: Report, histories: Histories, folder: Path) -> str:
    import wandb

    with wandb.init(name=report.name, config=report.recipe, dir=str(folder)) as run:
        for epoch, scalars in _by_epoch(histories):
            run.log({**scalars, "epoch": epoch})
        run.summary.update(
            {**_figures(report), "verdict": report.verdict, "recommendation": _shipped(report)}
        )
        artifact = wandb.Artifact(f"release-{report.name}", type="release")
        for path in _files(folder):
            artifact.add_file(str(path))
        run.log_artifact(artifact)
        return str(run.url or run.dir)


TRACKERS: dict[str, Callable[[Report, Histories, Path], str]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
    "wandb": _wandb,
}
"""Logs a run and returns where it is; the name is that of the client's package."""


def _by_epoch(histories: Histories) -> Iterator[tuple[int, Scalars]]:
    """Every number of every line, named MODEL/KEY."""
    for model, lines in histories.items():
        for line in lines:
            scalars = {
                f"{model}/{key}": float(value)
                for key, value in line.items()
                if key != "epoch" and isinstance(value, int | float) and not isinstance(value, bool)
            }
            yield int(str(line.get("epoch", 0))), scalars


def _figures(report: Report) -> Scalars:
    """The main figures of each calibrated file, named RELEASE/FILE/FIGURE."""
    figures: Scalars = {}
    for m, label in zip(report.measurements, labels_of(report.measurements), strict=True):
        if m.calibrated and m.quality is not None:
            name = label.replace(" ", "_").replace(":", "_")
            figures.update({f"release/{name}/{key}": value for key, value in _of_file(m).items()})
    return figures


def _of_file(m: Measurement) -> Scalars:
    figures = {"size_bytes": float(m.size_bytes)}
    if m.quality is not None:
        figures |= {key: getattr(m.quality, key).value for key in ("top1", "nll", "brier", "ece")}
    if m.latency_ms is not None and m.latency_ms.p50.value is not None:
        figures["latency_p50_ms"] = m.latency_ms.p50.value
    return figures


def _shipped(report: Report) -> str:
    return " ".join(item.sentence for item in report.recommendation) or "no recommendation"


def _settings(report: Report) -> dict[str, Any]:
    """The recipe's values by dotted name, cut to what a tracker takes."""
    settings: dict[str, Any] = {}

    def add(tree: Json, path: str) -> None:
        if isinstance(tree, dict):
            for key, value in tree.items():
                add(value, f"{path}.{key}" if path else key)
        elif tree is not None:
            settings[path] = str(tree)[:500]

    add(report.recipe, "")
    return settings


def _files(folder: Path) -> list[Path]:
    return [folder / name for name in FILES if (folder / name).is_file()]
