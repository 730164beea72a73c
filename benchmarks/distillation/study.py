"""What the studies share: a recipe run whole as anybody would run it, and what it came to.

A result is a JSON file with one row a run, written as soon as the run is done. A run whose row is there with
the same recipe is not run again, so that a study goes on where it was cut, on another machine too. Rows that
another process has written meanwhile are kept. A row holds which test images were answered rightly, one bit
each, for paired comparisons.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import yaml

from calkd_edge.files.atomic import write_atomically
from calkd_edge.metrics.intervals.proportions import tango
from calkd_edge.metrics.per_image import top1
from calkd_edge.records import Predictions

RECIPES = Path(__file__).parents[2] / "recipes"
ENDED = (0, 3, 4)
"""Exit codes of a run that was measured, whatever its gates say."""

PLACES = ("root", "weights")
"""Keys of a recipe that say where, not what: left out of its digest."""


@dataclass(frozen=True)
class Wanted:
    """One run: its name in the result, what it is, and its recipe."""

    name: str
    facts: dict[str, Any]
    recipe: dict[str, Any]

    @property
    def digest(self) -> str:
        """SHA-256 over the recipe but for places."""
        return _digest(self.recipe)

    @property
    def teacher(self) -> str:
        """SHA-256 over what decides the teacher: runs that share it share its training."""
        return _digest({key: self.recipe.get(key) for key in ("data", "teacher", "teacher_training")})


def _digest(tree: Mapping[str, Any]) -> str:
    told = {key: _without_places(part) for key, part in tree.items()}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _without_places(part: Any) -> Any:
    if isinstance(part, dict):
        return {key: value for key, value in part.items() if key not in PLACES}
    return part


def packaged(name: str, root: str | None, **distill: Any) -> dict[str, Any]:
    """A packaged recipe with other settings of its distillation; fp32 alone is measured."""
    tree: dict[str, Any] = yaml.safe_load((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"))
    tree["distill"] |= distill
    tree |= {"precisions": [{"name": "fp32"}], "gates": []}
    if root is not None:
        tree["data"]["root"] = root
    return tree


@dataclass
class Study:
    """Runs, and the file that keeps what they came to.

    Attributes:
        store: of calkd-edge.
        result: the JSON file.
        jobs: runs at a time; the machine's cores are shared out among them.
        figures: (store, folder of a finished run) -> its row.
    """

    store: Path
    result: Path
    jobs: int = 1
    figures: Callable[[Path, Path], dict[str, Any]] = field(default_factory=lambda: figures)
    rows: dict[str, dict[str, Any]] = field(init=False)
    _lock: Lock = field(init=False, default_factory=Lock)

    def __post_init__(self) -> None:
        self.rows = self._written()

    def bring(self, wanted: Iterable[Wanted]) -> dict[str, dict[str, Any]]:
        """The rows of runs, each read from the result or run now, in this order.

        While the first run of a teacher trains it, no other run of it starts: it would only wait.
        """
        runs = list(wanted)
        missing = [run for run in runs if not self._is_of(run)]
        running: dict[Future[dict[str, Any]], Wanted] = {}
        trained: set[str] = set()
        with ThreadPoolExecutor(self.jobs) as pool:
            while missing or running:
                training = {run.teacher for run in running.values()} - trained
                ready = (run for run in missing if run.teacher not in training)
                if len(running) < self.jobs and (run := next(ready, None)) is not None:
                    missing.remove(run)
                    running[pool.submit(self._run, run)] = run
                    continue
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    run = running.pop(future)
                    self.rows[run.name] = future.result()
                    trained.add(run.teacher)
        return {run.name: self.rows[run.name] for run in runs}

    def folder(self, run: Wanted) -> Path:
        """The folder of a run; where another machine has run it, it is run again."""
        out = self.store / "runs" / run.name
        if not (out / "report.json").is_file():
            row = self.rows[run.name]  # callers hold it, with what they have added
            row.update(self._run(run))
            self.rows[run.name] = row
        return out

    def write(self, **conclusions: Any) -> None:
        """The result file: conclusions, then rows."""
        with self._lock:
            for name, row in self._written().items():
                self.rows.setdefault(name, row)
            told = {**conclusions, "runs": dict(sorted(self.rows.items()))}
            write_atomically(self.result, (json.dumps(told, indent=1) + "\n").encode())

    def _written(self) -> dict[str, dict[str, Any]]:
        told = json.loads(self.result.read_text(encoding="utf-8")) if self.result.is_file() else {}
        rows: dict[str, dict[str, Any]] = told.get("runs", {})
        return rows

    def _is_of(self, run: Wanted) -> bool:
        return self.rows.get(run.name, {}).get("recipe_sha256") == run.digest

    def _run(self, run: Wanted) -> dict[str, Any]:
        out = self.store / "runs" / run.name
        out.mkdir(parents=True, exist_ok=True)
        recipe = out / "recipe.yaml"
        recipe.write_text(yaml.safe_dump(run.recipe), encoding="utf-8")
        command = [sys.executable, "-m", "calkd_edge", "compress", "--recipe", str(recipe)]
        command += ["--store", str(self.store), "--out", str(out), "--reuse-measurements"]
        threads = str(max(1, (os.cpu_count() or 1) // self.jobs))
        with (out / "output.txt").open("a", encoding="utf-8") as log:
            environment = {**os.environ, "OMP_NUM_THREADS": threads}
            done = subprocess.run(command, stdout=log, stderr=log, check=False, env=environment)
            if done.returncode not in ENDED:
                raise RuntimeError(f"{run.name} ended with {done.returncode}: see {log.name}")
        row = {**run.facts, "recipe_sha256": run.digest, **self.figures(self.store, out)}
        with self._lock:
            self.rows[run.name] = row
        self.write()
        print(f"{run.name:44} top-1 {row['top1']['value']:.4f}  NLL {row['nll']['value']:.4f}", flush=True)
        return row


def folder_of(store: Path, report: Mapping[str, Any], stage: str) -> Path:
    """A stage's published folder."""
    fingerprint: str = next(line["fingerprint"] for line in report["plan"] if line["stage"] == stage)
    return store / "objects" / fingerprint[:2] / fingerprint


def figures(store: Path, out: Path) -> dict[str, Any]:
    """What a finished run came to in fp32."""
    report = json.loads((out / "report.json").read_text(encoding="utf-8"))
    found = Predictions.load(folder_of(store, report, "predict-student-fp32@local") / "test.npz")
    calibration = json.loads(
        (folder_of(store, report, "calibrate-student-fp32") / "calibration.json").read_text(encoding="utf-8")
    )
    rows = {
        (row["model"], row["calibrated"]): row["quality"]
        for row in report["measurements"]
        if row["precision"] == "fp32"
    }
    seconds = {line["stage"]: line["seconds"] for line in report["plan"]}
    return {
        "calibration_split_nll": calibration["nll_after"],
        "temperature": calibration["temperature"],
        **{name: rows["student", True][name] for name in ("top1", "nll", "ece")},
        "nll_uncalibrated": rows["student", False]["nll"],
        "ece_uncalibrated": rows["student", False]["ece"],
        "teacher": {
            **{name: rows["teacher", True][name] for name in ("top1", "nll", "ece")},
            "ece_uncalibrated": rows["teacher", False]["ece"],
        },
        "seconds_of_distillation": round(seconds["distill"], 1),
        "right": base64.b64encode(np.packbits(top1(found.logits) == found.labels).tobytes()).decode(),
        "test_images": len(found.labels),
    }


def right(row: Mapping[str, Any]) -> np.ndarray:
    """[N] bool: which test images a run answered rightly."""
    bits = np.frombuffer(base64.b64decode(row["right"]), dtype=np.uint8)
    return np.unpackbits(bits, count=row["test_images"]).astype(bool)


def top1_difference(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, float]:
    """The paired difference in top-1, first less second, with Tango's interval."""
    one, other = right(first), right(second)
    bounds = tango(int((one & ~other).sum()), int((other & ~one).sum()), len(one))
    return {"value": bounds.value, "low": bounds.low, "high": bounds.high}
