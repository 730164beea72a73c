"""The screen of calkd-edge benchmark: a row for each file, the verdicts, the warnings.

In scope: drawing a benchmark. Out of scope: timing, judging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from calkd_edge.cli.console import screen
from calkd_edge.cli.run_screen import result_console
from calkd_edge.devices.core_names import processor_name
from calkd_edge.records import Benchmark, Paced, Percentile, Soak, TimedFile
from calkd_edge.release.report import numbers

STYLES = {
    "yes": "green",
    "better": "green",
    "no": "bold",
    "unchanged": "bold",
    "worse": "bold red",
    "undecided": "yellow",
    "inconclusive": "yellow",
    "emulated": "cyan",
}
COLUMNS = ("precision", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "load ms", "first ms", "memory", "size")
ACCURACY = ("top-1 %", "ECE %")
"""Further columns, where a run's report has these figures."""


class Watcher:
    """Shows processes as they run: as a bar on a terminal, as a line for each elsewhere."""

    def __init__(self) -> None:
        self.console = screen()
        self.bar: Progress | None = None

    def started(self, what: str, number: int, total: int) -> Callable[[int, int], None]:
        """Show the start of a process; the returned callable takes its progress."""
        self.stop()
        if not self.console.is_terminal:
            self.console.print(f"  [dim]{number:>3}/{total}[/dim] {escape(what)}", highlight=False)
            return lambda done, steps: None
        columns = (TextColumn("  [bold]{task.description}"), BarColumn(bar_width=28))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        # Drawn seldom: on `local` it runs beside what is timed.
        bar = Progress(*columns, *times, console=self.console, transient=True, refresh_per_second=1)
        task: TaskID = bar.add_task(f"{number}/{total} {what}", total=None)
        bar.start()
        self.bar = bar
        return lambda done, steps: bar.update(task, completed=done, total=steps or None)

    def stop(self) -> None:
        """Remove a running bar."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def show(result: Benchmark, console: Console | None = None) -> None:
    """Print a benchmark, on standard output by default."""
    console = console or result_console()
    console.print()
    for line in _head(result):
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    console.print()
    console.print(_table(result))
    console.print()
    for line in _details(result):
        console.print(f"  · {escape(line)}", highlight=False, soft_wrap=True)
    for warning in result.warnings:
        console.print(f"  [yellow]warning[/yellow]  {escape(warning)}", highlight=False, soft_wrap=True)
    for verdict in result.worth:
        _print_verdict(console, f"{verdict.precision} worth it?", verdict.worth, verdict.reason)
    for change in result.against:
        head = f"{change.precision} against the baseline:"
        _print_verdict(console, head, change.verdict, change.reason)
    if result.recommended is not None:
        console.print(f"\n  take [bold]{escape(result.recommended)}[/bold] on {escape(result.device)}")


def _print_verdict(console: Console, head: str, verdict: str, reason: str) -> None:
    style = STYLES[verdict]
    word = verdict.upper() if verdict == "inconclusive" else verdict
    console.print(
        f"  {escape(head)} [{style}]{word}[/{style}]: {escape(reason)}", highlight=False, soft_wrap=True
    )


def _head(result: Benchmark) -> Iterable[str]:
    """Device, runtime and method."""
    facts = result.facts
    mode = f", power mode {facts.power_mode}" if facts.power_mode else ""
    emulated = ", emulated" if facts.emulated else ""
    yield f"{result.device}: {facts.board}, {processor_name(facts.cpu)}{mode}{emulated}"
    threads = "" if result.threads is None else f", threads {result.threads}"
    schedule = "back to back"
    if result.rate_hz is not None:
        schedule = f"at each tick of {result.rate_hz:g} Hz, timed from the tick"
    duration = "" if result.soak_s is None else f" for {numbers.seconds(result.soak_s)}"
    yield f"{result.runtime} {result.runtime_version}{threads}; one image at a time, {schedule}{duration}"
    fresh = "1 fresh process" if result.processes == 1 else f"{result.processes} fresh processes"
    yield f"from host memory to host memory, {fresh} a file ({result.profile}), {result.images}"


def _table(result: Benchmark) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    energy = any(file.energy is not None for file in result.files)
    scored = any(file.top1 is not None for file in result.files)
    for name in (*COLUMNS, *(("mJ",) if energy else ()), *(ACCURACY if scored else ())):
        table.add_column(name, overflow="fold", no_wrap=name == "precision")
    for file in result.files:
        more = (*((_millijoules(file),) if energy else ()), *(_accuracy(file) if scored else ()))
        size = numbers.size(file.size_bytes)
        table.add_row(escape(file.precision), *_times(file), _memory(file), size, *more)
    return table


def _times(file: TimedFile) -> list[str]:
    latency = file.latency_ms
    if latency is None:
        return ["[cyan]emulated[/cyan]", *[numbers.MISSING] * 5]
    percentiles = [_cell(percentile) for percentile in (latency.p50, latency.p90, latency.p95)]
    tail = numbers.MISSING if file.p99 is None or file.p99.value is None else _cell(file.p99)
    starts = [
        numbers.milliseconds(value).removesuffix(" ms") for value in (latency.load_ms, latency.first_ms)
    ]
    return [*percentiles, tail, *starts]


def _cell(percentile: Percentile) -> str:
    return escape(numbers.percentile(percentile).replace(" ms", ""))


def _memory(file: TimedFile) -> str:
    return numbers.MISSING if file.peak_memory_bytes is None else numbers.size(file.peak_memory_bytes)


def _accuracy(file: TimedFile) -> tuple[str, str]:
    """Top-1 and ECE, as the run measured them."""
    top1, ece = (
        numbers.percent(estimate.value if estimate else None).removesuffix(" %")
        for estimate in (file.top1, file.ece)
    )
    return top1, ece


def _millijoules(file: TimedFile) -> str:
    used = file.energy
    if used is None or used.joules_per_inference is None:
        return numbers.MISSING
    net = used.net_joules_per_inference
    return f"{1000 * (used.joules_per_inference if net is None else net):.3g}"


def _details(result: Benchmark) -> Iterable[str]:
    """Sentences below the table: device time, schedules, soaks, energy."""
    for file in result.files:
        if file.infer_ms is not None:
            p50, p95 = (numbers.percentile(value) for value in (file.infer_ms.p50, file.infer_ms.p95))
            yield f"{file.precision}: on the device itself, without copies (infer): p50 {p50}, p95 {p95}"
        if file.paced is not None:
            yield f"{file.precision}: {_schedule(file.paced)}"
        if file.soak is not None:
            yield f"{file.precision}: {_soak(file.soak)}"
        if file.energy is not None:
            used = file.energy
            idle = "idle not known" if used.idle_w is None else f"{used.idle_w:.2f} W of them idle"
            yield f"{file.precision}: {used.mean_w:.2f} W on {', '.join(used.rails)} ({used.scope}), {idle}"


def _schedule(paced: Paced) -> str:
    held = f"held {paced.held_hz:.2f} Hz, {paced.missed} of {paced.ticks} ticks missed"
    late = f"95 % started within {paced.late_p95_ms:.2f} ms of their tick"
    return f"{held}; {late}, the latest {paced.late_max_ms:.2f} ms after it"


def _soak(soak: Soak) -> str:
    first, last = numbers.percentile(soak.first), numbers.percentile(soak.last)
    change = f"ratio {soak.ratio.value:.3f}, between {soak.ratio.low:.3f} and {soak.ratio.high:.3f}"
    heat = "" if soak.hottest_c is None else f"; at most {soak.hottest_c:.0f} °C"
    window = numbers.seconds(soak.window_s)
    return f"windows of {window}: p50 {first} at first, {last} at last ({change}){heat}"
