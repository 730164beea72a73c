"""Help, version, completion, and what a command imports before it does anything."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys

import onnx
import pytest
from lint_graphs import Net
from tiny_run import command
from typer.main import get_command

from calkd_edge import __version__
from calkd_edge.cli.app import app
from calkd_edge.cli.help import EXAMPLES, PROGRAM
from calkd_edge.pipeline.listing import KINDS

COMMANDS = [name for name in EXAMPLES if name]
TRAINING = ("torch", "torchvision", "lightning_fabric", "timm")
ONNX = ("onnx", "onnxruntime")
SCREEN = ("rich", "numpy", "PIL")


def parser_of(name: str):
    """The parser of a command such as "store gc"."""
    parser = get_command(app)
    for word in name.split():
        parser = parser.commands[word]
    return parser


def help_of(name: str, columns: int, monkeypatch, option: str = "--help") -> str:
    monkeypatch.setenv("COLUMNS", str(columns))
    done = command(*name.split(), option)
    assert done.code == 0
    return done.out


def imported_by(lines: list[list[object]]) -> set[str]:
    """Modules that a fresh process has imported after it ran some command lines."""
    probe = (
        "import contextlib, json, os, sys\n"
        "from calkd_edge.cli.app import main\n"
        "with contextlib.redirect_stdout(open(os.devnull, 'w')), contextlib.redirect_stderr(sys.stdout):\n"
        "    codes = [main(line) for line in json.loads(sys.argv[1])]\n"
        "print(json.dumps([codes, sorted(sys.modules)]))"
    )
    text = json.dumps([[str(word) for word in line] for line in lines])
    done = subprocess.run([sys.executable, "-c", probe, text], capture_output=True, text=True, check=True)
    codes, modules = json.loads(done.stdout)
    assert not {1, 130} & set(codes)
    return set(modules)


def test_help_imports_nothing_heavy():
    lines = [[], ["--version"], *([*name.split(), "-h"] for name in EXAMPLES)]
    assert not imported_by(lines) & {*TRAINING, *ONNX, *SCREEN}


@pytest.mark.parametrize(
    ("lines", "forbidden"),
    [
        ([["list"], *(["list", kind] for kind in KINDS)], (*TRAINING, *ONNX)),
        ([["schema", kind] for kind in ("recipe", "report", "benchmark")], (*TRAINING, *ONNX)),
        ([["verify", "no_bundle.zip"], ["verify", __file__]], (*TRAINING, *ONNX)),
        ([["store", "check", "--store", "no_store"]], (*TRAINING, *ONNX)),
        ([["doctor"]], (*TRAINING, *ONNX)),
        ([["lint", "MODEL"]], TRAINING),
    ],
    ids=lambda value: value[0][0] if isinstance(value, list) else "",
)
def test_command_imports_only_what_it_needs(lines, forbidden, tmp_path):
    if lines == [["lint", "MODEL"]]:
        onnx.save(Net().model(), tmp_path / "m.onnx")
        lines = [["lint", tmp_path / "m.onnx"]]
    assert not imported_by(lines) & set(forbidden)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_the_terminal_and_describes_every_option(name, monkeypatch):
    narrow = help_of(name, 80, monkeypatch)
    wide = help_of(name, 120, monkeypatch)
    body = narrow.partition("Examples:")[0]
    assert max(map(len, body.splitlines())) <= 80
    assert "..." not in body.replace("[ARGS]...", "")
    assert len(wide.splitlines()) <= len(narrow.splitlines())
    assert max(map(len, help_of("compress", 300, monkeypatch).splitlines())) in range(81, 121)
    for parameter in parser_of(name).params:
        assert parameter.help, f"{name}: {parameter.name}"
        assert "\n" not in parameter.help


def test_h_is_help_everywhere(monkeypatch):
    for name in EXAMPLES:
        assert help_of(name, 100, monkeypatch, "-h") == help_of(name, 100, monkeypatch)


def test_many_options_are_grouped_and_few_are_not(monkeypatch):
    for name in ("compress", "benchmark", "evaluate", "calibrate"):
        assert "\nOutput:\n" in help_of(name, 100, monkeypatch)
    assert "\nOutput:\n" not in help_of("lint", 100, monkeypatch)


@pytest.mark.parametrize(("name", "example"), [(n, e) for n in EXAMPLES for e in EXAMPLES[n]])
def test_examples_of_a_help_are_accepted_by_the_parser(name, example, monkeypatch):
    assert f"\n  {example}\n" in help_of(name, 80, monkeypatch)
    program, *words = shlex.split(example)
    assert program == PROGRAM
    depth = 2 if words[0] == "store" else 1
    assert name in ("", words[0], " ".join(words[:depth]))
    parser_of(" ".join(words[:depth])).make_context(words[0], words[depth:])


def test_every_command_has_examples():
    names = [name for name in get_command(app).commands if name != "store"]
    names += [f"store {name}" for name in parser_of("store").commands]
    assert {*names, "store", ""} == set(EXAMPLES)


def test_version_is_printed_and_nothing_else():
    done = command("--version")
    assert (done.code, done.out, done.err) == (0, f"calkd-edge {__version__}\n", "")


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("calkd-edge compr", "compress"),
        ("calkd-edge compress quick", "quickstart"),
        ("calkd-edge list los", "losses"),
    ],
)
def test_shell_completes_commands_recipes_and_kinds(typed, expected):
    words = shlex.split(typed)
    variables = {
        **os.environ,
        "_CALKD_EDGE_COMPLETE": "complete_bash",
        "COMP_WORDS": typed,
        "COMP_CWORD": str(len(words) - 1),
    }
    line = [sys.executable, "-c", "import sys; from calkd_edge.cli.app import main; sys.exit(main([]))"]
    done = subprocess.run(line, env=variables, capture_output=True, text=True)
    assert done.stdout.split() == [expected]


def test_completion_takes_one_line_of_the_help(monkeypatch):
    text = help_of("", 80, monkeypatch)
    assert text.count("completion") == len(re.findall("completion", text.splitlines()[-1]))


def test_module_is_the_same_command_as_the_script():
    done = subprocess.run([sys.executable, "-m", "calkd_edge", "-h"], capture_output=True, text=True)
    assert done.stdout == command("-h").out
