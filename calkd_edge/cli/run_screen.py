"""The screen of a run: progress with the time left, and one table at the end.

In scope: drawing stages and report rows. Out of scope: deciding what they contain.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from calkd_edge.cli.rich_console import VisibleConsole
from calkd_edge.release.report.table import EMULATED, rows

if TYPE_CHECKING:
    from calkd_edge.engine.stage import Stage
    from calkd_edge.pipeline.planned import Plan
    from calkd_edge.records import Report

LOG_EVERY_S = 15.0
PAGE_WIDTH = 150
STYLES = {
    "passed": "green",
    "failed": "bold red",
    "unmeasured": "bold red",
    "undecided": "yellow",
    "smoke": "cyan",
}


class TerminalWatcher:
    """Shows each stage: as a bar with the time left on a terminal, as plain lines elsewhere.

    Args:
        console: where to write.
    """

    def __init__(self, console: Console) -> None:
        self.console, self.total = console, 0
        self.number = 0
        self.bar: Progress | None = None
        self.task: TaskID | None = None
        self.started_at = self.logged_at = 0.0

    def planned(self, plan: Plan) -> None:
        """Take the number of stages, for "3/20"."""
        self.total = len(plan.stages)

    def started(self, stage: Stage) -> Callable[[int, int], None]:
        """Start a stage's line."""
        self.started_at = self.logged_at = time.monotonic()
        if self.console.is_terminal:
            columns = (
                TextColumn("  [bold]{task.description}"),
                BarColumn(bar_width=28),
                TextColumn("{task.percentage:>3.0f}%"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self.bar = Progress(*columns, console=self.console, transient=True)
            self.task = self.bar.add_task(stage.name, total=None)
            self.bar.start()
        return lambda done, total: self._advance(stage.name, done, total)

    def _advance(self, name: str, done: int, total: int) -> None:
        if self.bar is not None and self.task is not None:
            self.bar.update(self.task, completed=done, total=total or None)
            return
        now = time.monotonic()
        if now - self.logged_at < LOG_EVERY_S or not total:
            return
        self.logged_at = now
        left = (now - self.started_at) * (total - done) / max(done, 1)
        self.console.print(f"  {name}: {100 * done / total:.0f} %, about {left:.0f} s left", highlight=False)

    def finished(self, stage: Stage, *, reused: bool, seconds: float) -> None:
        """End a stage's line."""
        self.stop()
        self.number += 1
        spent = "reused" if reused else f"{seconds:.1f} s"
        count = f"{self.number}/{self.total}"
        self.console.print(
            f"  [dim]{count:>6}[/dim] {escape(stage.name)} [dim]{spent}[/dim]", highlight=False
        )

    def stop(self) -> None:
        """Remove a running bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def result_console() -> Console:
    """Standard output; where it is not a terminal, wide enough for the table."""
    console = VisibleConsole()
    return console if console.is_terminal else VisibleConsole(width=PAGE_WIDTH)


def show_plan(plan: Plan, reused: set[str]) -> None:
    """Print the plan and which stages are reused."""
    console = result_console()
    table = Table(
        "stage", "fingerprint", "state", title=f"plan of {plan.name}", title_justify="left", box=None
    )
    for stage in plan.stages:
        state = "[green]reused[/green]" if stage.fingerprint in reused else "to do"
        table.add_row(escape(stage.name), stage.fingerprint[:12], state)
    console.print(table)


def plan_json(plan: Plan, reused: set[str]) -> str:
    """The plan and which stages are reused, as JSON."""
    lines = [
        {"stage": stage.name, "fingerprint": stage.fingerprint, "reused": stage.fingerprint in reused}
        for stage in plan.stages
    ]
    return json.dumps({"name": plan.name, "stages": lines}, indent=1)


def show_report(report: Report) -> None:
    """Print the table of all models and precisions, the gates, and the conclusions."""
    console = result_console()
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for name in ("model", "top-1 %", "NLL", "ECE % ≤", "T", "p50 ms", "p95 ms", "size", "verdict"):
        table.add_column(name, overflow="fold")
    several = len({(m.device, m.runtime) for m in report.measurements}) > 1
    for row, measurement in zip(rows(report), report.measurements, strict=True):
        if not measurement.calibrated and measurement.model == "student":
            continue
        name = (
            row.model
            + ("" if measurement.calibrated else " raw")
            + (f" {row.device.removesuffix(f', {EMULATED}')}" if several else "")
        )
        style = STYLES.get(row.verdict, "")
        verdict = f"[{style}]{row.verdict}[/{style}]" if style else row.verdict
        figures = [row.top1, row.nll, row.ece, row.temperature, row.p50, row.p95, row.size]
        table.add_row(escape(name), *[escape(_bare(figure)) for figure in figures], verdict)
    console.print()
    console.print(table)
    show_verdict(report)


def show_verdict(report: Report) -> None:
    """Print the gates, the conclusions, the verdict and what to ship."""
    console = result_console()
    console.print()
    for gate in report.gates:
        style = STYLES[gate.result]
        sentence = gate.sentence.replace(f": {gate.result}", "", 1)
        console.print(
            f"  [{style}]{gate.result:>10}[/{style}]  {escape(sentence)}",
            highlight=False,
            soft_wrap=True,
        )
    if report.baseline is not None:
        console.print(f"  · {escape(report.baseline.sentence)}", highlight=False, soft_wrap=True)
    for sentence in report.conclusions:
        console.print(f"  · {escape(sentence)}", highlight=False, soft_wrap=True)
    style = STYLES[report.verdict]
    console.print(f"\n  verdict: [{style}]{report.verdict}[/{style}]", highlight=False)
    for one in report.recommendation:
        console.print(f"  {escape(one.sentence)}", highlight=False, soft_wrap=True)
        if one.runtimes:
            console.print(f"  [dim]{escape(one.runtimes)}[/dim]", highlight=False, soft_wrap=True)


def _bare(figure: str) -> str:
    """A cell without the unit, which is in the column's head."""
    return figure.replace(" %", "").replace(" ms", "")
