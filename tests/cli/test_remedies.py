"""Every remedy in the code: its options exist on the commands that print it, its commands exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import calkd_edge
from calkd_edge.cli.app import app

ROOT = Path(calkd_edge.__file__).parent
COMMANDS = typer.main.get_command(app).commands
OPTIONS = {
    name: {text for parameter in command.params for text in (*parameter.opts, *parameter.secondary_opts)}
    for name, command in COMMANDS.items()
}
STORE = {
    name: {text for p in command.params for text in p.opts}
    for name, command in COMMANDS["store"].commands.items()
}

RUN = {"compress"}
RAISED_BY = {
    "benchmarking": {"benchmark"},
    "cli/benchmark.py": {"benchmark"},
    "cli/calibrate.py": {"calibrate"},
    "cli/doctor.py": {"doctor"},
    "cli/evaluate.py": {"evaluate"},
    "cli/lint.py": {"lint"},
    "cli/verify.py": {"verify"},
    "data": RUN,  # evaluate and calibrate put their own remedy in its place
    "engine": RUN,
    "external_models/calibrate.py": {"calibrate"},
    "external_models/evaluate.py": {"evaluate"},
    "external_models/repair.py": {"calibrate"},
    "external_models": {"evaluate", "calibrate"},
    "models": RUN,
    "onnx_model/lint": {"lint"},
    "pipeline": RUN,
    "pipeline/collection.py": {"store gc"},
    "pipeline/report.py": {"report"},
    "recipe": RUN,
    "release/gates": RUN,
    "stages": RUN,
    "training": RUN,
}
"""The commands that print the remedies of a room or file; of others, any command may."""

OF_OTHER_PROGRAMS = {
    "--force-reinstall": "pip install",
    "--no-deps": "pip install",
    "--upgrade": "pip install",
    "--system-site-packages": "-m venv",
}
"""Options in remedies that belong to another program, and which."""


def texts(node: ast.expr) -> Iterator[str]:
    """The text of an expression, with NAME for what is known at run time only."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        yield "".join(part.value if isinstance(part, ast.Constant) else "NAME" for part in node.values)
    elif isinstance(node, ast.IfExp):
        yield from (*texts(node.body), *texts(node.orelse))
    elif isinstance(node, ast.BinOp):
        yield from (*texts(node.left), *texts(node.right))


def remedies() -> Iterator[tuple[str, int, str]]:
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            name = path.relative_to(ROOT).as_posix()
            if isinstance(node, ast.keyword) and node.arg == "remedy":
                yield from ((name, node.value.lineno, text) for text in texts(node.value))
            elif isinstance(node, ast.Assign) and any(
                isinstance(target, ast.Name) and "remedy" in target.id.lower() for target in node.targets
            ):
                yield from ((name, node.lineno, text) for text in texts(node.value))


REMEDIES = [(name, line, text) for name, line, text in remedies() if "--" in text or "calkd-edge" in text]


def raised_by(name: str) -> set[str] | None:
    """The commands that print the remedies of a file: of the longest entry that fits."""
    fitting = [place for place in RAISED_BY if name == place or name.startswith(f"{place}/")]
    return RAISED_BY[max(fitting, key=len)] if fitting else None


def options_of(command: str) -> set[str]:
    return STORE[command.split()[1]] if command.startswith("store ") else OPTIONS[command]


def test_remedies_are_found():
    assert len(list(remedies())) > 250
    assert len(REMEDIES) > 60


@pytest.mark.parametrize(("name", "line", "text"), REMEDIES, ids=lambda value: str(value)[:60])
def test_remedy_names_options_and_commands_that_exist(name, line, text):
    named = re.search(r"(?<!the )(?<!This )calkd-edge ((?:store )?[a-z]+)", text)
    if named:
        assert named[1].split()[0] in COMMANDS, f"{name}:{line}: no such command: {text}"
    for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", text):
        if option in OF_OTHER_PROGRAMS:
            assert OF_OTHER_PROGRAMS[option] in text
            continue
        before = re.findall(
            r"\b(compress|benchmark|evaluate|calibrate|doctor|lint|verify|store gc)\b", text.split(option)[0]
        )
        commands = {before[-1]} if before else raised_by(name)
        lacking = (
            [command for command in commands if option not in options_of(command)]
            if commands
            else ([] if any(option in options for options in OPTIONS.values()) else ["any command"])
        )
        assert not lacking, f"{name}:{line}: {option} is no option of {', '.join(lacking)}: {text}"
