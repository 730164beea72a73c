"""The screen of calkd-edge doctor: the machine, what runs on it, what it lacks.

In scope: drawing a report. Out of scope: judging it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from calkd_edge.cli.run_screen import result_console
from calkd_edge.devices.core_names import processor_name
from calkd_edge.records import ClockFacts, DoctorReport, Interpreter, MachineFacts, Runnable

KINDS = {"missing": "bold red", "trap": "yellow", "warning": "yellow"}
PRECISIONS = ("fp32", "fp16", "int8", "int8_fp16")
HOTTEST = 4
"""Number of temperatures that are shown; --json has all."""


def show(report: DoctorReport, console: Console | None = None) -> None:
    """Print a report, on standard output by default."""
    console = console or result_console()
    console.print()
    machine = Table(box=None, pad_edge=False, show_header=False, padding=(0, 1))
    machine.add_column(style="bold", no_wrap=True)
    machine.add_column(overflow="fold")
    for name, text in _rows(report):
        machine.add_row(name, escape(text))
    console.print(machine)
    console.print()
    console.print(_runtimes(report.runnable))
    for sentence in _reasons(report.runnable):
        console.print(f"  · {escape(sentence)}", highlight=False, soft_wrap=True)
    console.print()
    for symptom in report.symptoms:
        style = KINDS[symptom.kind]
        head = f"  [{style}]{symptom.kind:>8}[/{style}]"
        console.print(f"{head}  {escape(symptom.what)}", highlight=False, soft_wrap=True)
        if symptom.remedy:
            remedy = f"            {escape(symptom.remedy)}"
            console.print(remedy, style="dim", highlight=False, soft_wrap=True)


def _processor(facts: MachineFacts) -> str:
    """Its name, or those of its kinds of cores; of an emulated one, what it stands for."""
    if len(facts.core_kinds) > 1:
        return ", ".join(f"{count} x {processor_name(kind)}" for kind, count in facts.core_kinds.items())
    name = processor_name(facts.cpu)
    return f"emulated {facts.machine} (on {name})" if facts.emulated else name


def _rows(report: DoctorReport) -> Iterable[tuple[str, str]]:
    facts, jetson = report.facts, report.jetson
    yield "device", f"{report.device}: {facts.board}{', emulated' if facts.emulated else ''}"
    if jetson is not None:
        release = f"JetPack {jetson.jetpack or 'not known'} (L4T {facts.l4t or 'not known'})"
        yield "jetson", f"{release}, {jetson.chip}, {jetson.capability or 'GPU not known'}, {jetson.dla}"
    yield "system", f"{facts.system}, {facts.machine}{', in a container' if facts.container else ''}"
    flags = " ".join(facts.isa) or "no flags that matter"
    yield "processor", f"{_processor(facts)}, {facts.cores} cores; {flags}"
    memory, swap = facts.memory, "no swap"
    if memory.swap_total_bytes:
        swap = f"swap {_size(memory.swap_free_bytes)} free of {_size(memory.swap_total_bytes)}"
    yield "memory", f"{_size(memory.available_bytes)} free of {_size(memory.total_bytes)}, {swap}"
    yield "disk", f"{_size(facts.disk.free_bytes)} free in {facts.disk.folder}"
    if facts.power_mode is not None:
        yield "power mode", facts.power_mode
    if facts.clocks:
        groups = groupby(
            facts.clocks, lambda clock: (clock.name[:3], clock.min_mhz, clock.max_mhz, clock.governor)
        )
        yield "clocks", "; ".join(_clocks(list(group)) for _, group in groups)
    if facts.temperatures_c:
        yield "temperatures", _temperatures(facts)
    if facts.power.source is not None:
        rails = ", ".join(f"{name} {mw / 1000:.2f} W" for name, mw in facts.power.rails_mw.items())
        yield "power", f"{rails} (module rails, {facts.power.source})"
    for number, python in enumerate(item for item in facts.interpreters if item.problem is None):
        yield "" if number else "python", _python(python)
    silent = sum(python.problem is not None for python in facts.interpreters)
    if silent:
        yield "", f"{silent} more that did not answer"


def _clocks(clocks: Sequence[ClockFacts]) -> str:
    """Clocks with the same bounds and governor."""
    first, last = clocks[0], clocks[-1]
    text = first.name if first is last else f"{first.name} … {last.name}"
    now = sorted({f"{clock.now_mhz:.0f}" for clock in clocks if clock.now_mhz is not None}, key=int)
    if now:
        text += f" at {now[0] if len(now) == 1 else f'{now[0]} … {now[-1]}'} MHz"
    if first.min_mhz is not None and first.max_mhz is not None:
        fixed = first.min_mhz == first.max_mhz
        text += ", fixed" if fixed else f" of {first.min_mhz:.0f} to {first.max_mhz:.0f}"
    return text + (f" ({first.governor})" if first.governor else "")


def _temperatures(facts: MachineFacts) -> str:
    hottest = sorted(facts.temperatures_c.items(), key=lambda zone: -zone[1])[:HOTTEST]
    return ", ".join(f"{name} {value:.0f} °C" for name, value in hottest)


def _python(python: Interpreter) -> str:
    packages = [name for name in python.packages or {} if name not in ("pip", "ensurepip")]
    versions = ", ".join(f"{name} {(python.packages or {})[name]}" for name in packages)
    running = "runs the agent; " if python.running else ""
    return f"{python.path} {python.version}: {running}{versions or 'neither numpy nor a runtime'}"


def _runtimes(lines: tuple[Runnable, ...]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1))
    for name in ("runtime", *PRECISIONS):
        table.add_column(name)
    for runtime in dict.fromkeys(line.runtime for line in lines):
        by_precision = {line.precision: line for line in lines if line.runtime == runtime}
        version = next(iter(by_precision.values())).version
        cells = [_cell(by_precision.get(precision)) for precision in PRECISIONS]
        table.add_row(escape(f"{runtime} {version}" if version else runtime), *cells)
    return table


def _cell(line: Runnable | None) -> str:
    if line is None:
        return "[dim]-[/dim]"
    if not line.runs:
        return "[red]no[/red]"
    return "[yellow]runs, no gain[/yellow]" if line.gains is False else "[green]runs[/green]"


def _reasons(lines: tuple[Runnable, ...]) -> list[str]:
    """A sentence for each reason, with all precisions that share it."""
    precisions: dict[tuple[str, str], list[str]] = {}
    for line in lines:
        if line.why:
            precisions.setdefault((line.runtime, line.why), []).append(line.precision)
    return [f"{runtime} {', '.join(names)}: {why}" for (runtime, why), names in precisions.items()]


def _size(count: int | None) -> str:
    if count is None:
        return "not known"
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
