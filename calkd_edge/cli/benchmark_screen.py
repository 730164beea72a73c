"""What calkd-edge benchmark shows: a line for each file, the verdicts, what to be careful of.

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
from calkd_edge.records import Benchmark, Percentile, TimedFile
from calkd_edge.release.report import numbers

STYLES = {
    "yes": "green",
    "better": "green",
    "no": "bold",
    "worse": "bold red",
    "undecided": "yellow",
    "inconclusive": "yellow",
    "emulated": "cyan",
}
COLUMNS = ("precision", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "load ms", "first ms", "memory", "size")
ANSWERS = ("top-1 %", "ECE %")
"""Where a run's report says them."""


class Watcher:
    """Shows processes as they run: a bar on a terminal, a line for each elsewhere."""

    def __init__(self) -> None:
        self.console = screen()
        self.bar: Progress | None = None

    def began(self, what: str, number: int, whole: int) -> Callable[[int, int], None]:
        """A process begins; what is given back takes its progress."""
        self.stop()
        if not self.console.is_terminal:
            self.console.print(f"  [dim]{number:>3}/{whole}[/dim] {escape(what)}", highlight=False)
            return lambda done, total: None
        shown = (TextColumn("  [bold]{task.description}"), BarColumn(bar_width=28))
        times = (TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
        # Drawn seldom: on `local` it runs beside what is timed.
        bar = Progress(*shown, *times, console=self.console, transient=True, refresh_per_second=1)
        task: TaskID = bar.add_task(f"{number}/{whole} {what}", total=None)
        bar.start()
        self.bar = bar
        return lambda done, total: bar.update(task, completed=done, total=total or None)

    def stop(self) -> None:
        """Take a running bar away."""
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def show(found: Benchmark, console: Console | None = None) -> None:
    """Print a benchmark: on standard output where no other console is given."""
    console = console or result_console()
    console.print()
    for line in _head(found):
        console.print(f"  {escape(line)}", highlight=False, soft_wrap=True)
    console.print()
    console.print(_table(found))
    console.print()
    for line in _behind(found):
        console.print(f"  · {escape(line)}", highlight=False, soft_wrap=True)
    for one in found.warnings:
        console.print(f"  [yellow]warning[/yellow]  {escape(one)}", highlight=False, soft_wrap=True)
    for verdict in found.worth:
        _say(console, f"{verdict.precision} worth it?", verdict.worth, verdict.reason)
    for against in found.against:
        _say(console, f"{against.precision} against the baseline:", against.verdict, against.reason)
    if found.recommended is not None:
        console.print(f"\n  take [bold]{escape(found.recommended)}[/bold] on {escape(found.device)}")


def _say(console: Console, head: str, verdict: str, reason: str) -> None:
    style = STYLES[verdict]
    word = verdict.upper() if verdict == "inconclusive" else verdict
    console.print(
        f"  {escape(head)} [{style}]{word}[/{style}]: {escape(reason)}", highlight=False, soft_wrap=True
    )


def _head(found: Benchmark) -> Iterable[str]:
    facts = found.facts
    mode = f", power mode {facts.power_mode}" if facts.power_mode else ""
    yield f"{found.device}: {facts.board}, {facts.cpu}{mode}{', emulated' if facts.emulated else ''}"
    threads = "" if found.threads is None else f", threads {found.threads}"
    how = (
        "back to back" if found.rate_hz is None else f"at each tick of {found.rate_hz:g} Hz, counted from it"
    )
    long = "" if found.soak_s is None else f" for {numbers.seconds(found.soak_s)}"
    yield f"{found.runtime} {found.runtime_version}{threads}; one image at a time, {how}{long}"
    fresh = "1 fresh process" if found.processes == 1 else f"{found.processes} fresh processes"
    yield f"from host memory to host memory, {fresh} a file ({found.profile}), {found.images}"


def _table(found: Benchmark) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    energy = any(one.energy is not None for one in found.files)
    scored = any(one.top1 is not None for one in found.files)
    for name in (*COLUMNS, *(("mJ",) if energy else ()), *(ANSWERS if scored else ())):
        table.add_column(name, overflow="fold", no_wrap=name == "precision")
    for one in found.files:
        more = (*((_millijoules(one),) if energy else ()), *(_answers(one) if scored else ()))
        table.add_row(escape(one.precision), *_times(one), _memory(one), numbers.size(one.size_bytes), *more)
    return table


def _times(one: TimedFile) -> list[str]:
    if one.latency_ms is None:
        return ["[cyan]emulated[/cyan]", *[numbers.MISSING] * 5]
    told = one.latency_ms
    cells = [_cell(each) for each in (told.p50, told.p90, told.p95)]
    tail = numbers.MISSING if one.p99 is None or one.p99.value is None else _cell(one.p99)
    opened = [numbers.milliseconds(each).removesuffix(" ms") for each in (told.load_ms, told.first_ms)]
    return [*cells, tail, *opened]


def _cell(each: Percentile) -> str:
    return escape(numbers.percentile(each).replace(" ms", ""))


def _memory(one: TimedFile) -> str:
    return numbers.MISSING if one.peak_memory_bytes is None else numbers.size(one.peak_memory_bytes)


def _answers(one: TimedFile) -> tuple[str, str]:
    """Accuracy and confidence, as the run measured them."""
    told = (one.top1, one.ece)
    values = [numbers.percent(each.value if each else None).removesuffix(" %") for each in told]
    return values[0], values[1]


def _millijoules(one: TimedFile) -> str:
    used = one.energy
    if used is None or used.joules_per_inference is None:
        return numbers.MISSING
    net = used.net_joules_per_inference
    return f"{1000 * (used.joules_per_inference if net is None else net):.3g}"


def _behind(found: Benchmark) -> Iterable[str]:
    """Sentences behind the table: device time, schedules, soaks, energy."""
    for one in found.files:
        if one.infer_ms is not None:
            p50, p95 = (numbers.percentile(each) for each in (one.infer_ms.p50, one.infer_ms.p95))
            yield f"{one.precision}: on the device itself, without copies (infer): p50 {p50}, p95 {p95}"
        if one.paced is not None:
            kept = f"held {one.paced.held_hz:.2f} Hz, {one.paced.missed} of {one.paced.ticks} ticks missed"
            late = f"95 % began within {one.paced.late_p95_ms:.2f} ms of their tick"
            yield f"{one.precision}: {kept}; {late}, the latest {one.paced.late_max_ms:.2f} ms behind it"
        if one.soak is not None:
            first, last = (numbers.percentile(each) for each in (one.soak.first, one.soak.last))
            ends = f"p50 {first} at first, {last} at last"
            ratio = one.soak.ratio
            change = f"{ratio.value:.3f} of it, between {ratio.low:.3f} and {ratio.high:.3f}"
            heat = "" if one.soak.hottest_c is None else f"; at most {one.soak.hottest_c:.0f} °C"
            yield f"{one.precision}: windows of {numbers.seconds(one.soak.window_s)}: {ends} ({change}){heat}"
        if one.energy is not None:
            used = one.energy
            idle = "idle not known" if used.idle_w is None else f"{used.idle_w:.2f} W of them idle"
            yield f"{one.precision}: {used.mean_w:.2f} W on {', '.join(used.rails)} ({used.scope}), {idle}"
