"""Names of others on the screen, in pages and in the log: shown, and not obeyed by the terminal."""

from __future__ import annotations

import ast
import json
import logging
import re
import zipfile
from pathlib import Path

import hostile
import onnx
import pytest
import yaml
from markupsafe import Markup
from tiny_run import RECIPE, command

import calkd_edge
from calkd_edge.cli import console
from calkd_edge.files.visible import visible
from calkd_edge.release.report.page import template_environment

STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")
NAME = "n\x1b]0;title\x07\x9b2J\x7f\u202eb"
SHOWN = "n\\u001b]0;title\\u0007\\u009b2J\\u007f\\u202eb"
CLI = Path(calkd_edge.__file__).parent / "cli"


@pytest.fixture
def lines(tmp_path):
    """Command lines that show a name of a file."""
    model = onnx.load_from_string(hostile.onnx_files()[0])
    model.graph.node[0].name, model.graph.node[0].op_type = NAME, f"Evil{NAME}"
    onnx.save(model, tmp_path / "model.onnx")
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({**RECIPE, NAME: 1}), encoding="utf-8")
    (tmp_path / "predictions.csv").write_text(f"label,{NAME}\n1,2\n", encoding="utf-8")
    with zipfile.ZipFile(tmp_path / "bundle.zip", "w") as archive:
        archive.writestr("manifest.json", '{"schema_version": 1, "files": {}}')
        archive.writestr(NAME, "a")
    return {
        "node": ["lint", tmp_path / "model.onnx"],
        "node in JSON": ["lint", tmp_path / "model.onnx", "--json"],
        "key": ["compress", "--recipe", tmp_path / "recipe.yaml", "--dry-run"],
        "column": ["calibrate", "--predictions", tmp_path / "predictions.csv"],
        "member": ["verify", tmp_path / "bundle.zip"],
        "file": ["lint", f"{NAME}.onnx"],
        "command": [NAME],
        "device": ["doctor", "--device", NAME],
    }


@pytest.mark.parametrize(
    "what", ["node", "node in JSON", "key", "column", "member", "file", "command", "device"]
)
def test_name_of_a_file_is_shown_escaped(what, lines):
    done = command(*lines[what])
    assert done.code in (2, 3)
    assert not STEERING.search(done.out + done.err)
    assert "title" in done.out + done.err
    if "JSON" in what:
        assert any(NAME in finding["node"] for finding in json.loads(done.out)["findings"])


def test_only_one_function_prints_and_only_one_console_is_made():
    for path in CLI.glob("*.py"):
        calls = [call.func for call in ast.walk(ast.parse(path.read_text())) if isinstance(call, ast.Call)]
        names = {func.id for func in calls if isinstance(func, ast.Name)}
        assert "Console" not in names, path.name
        assert "print" not in names or path.name == "console.py", path.name


def test_console_keeps_its_own_colours():
    from calkd_edge.cli.rich_console import VisibleConsole

    screen = VisibleConsole(force_terminal=True, color_system="standard", width=200)
    with screen.capture() as capture:
        screen.print(f"[red]{NAME}[/red]", highlight=False)
    assert capture.get().startswith("\x1b[31m")
    assert "\\u001b]0;title" in capture.get()


@pytest.mark.parametrize("autoescape", [True, False])
def test_pages_and_cards_hold_no_control_characters(autoescape):
    template = template_environment(autoescape=autoescape).from_string("{{ a }} {{ b }}")
    assert template.render(a=NAME, b=Markup(f"<i>{NAME}</i>")) == f"{SHOWN} <i>{SHOWN}</i>"


def test_log_lines_hold_no_control_characters(tmp_path):
    root = logging.getLogger()
    before = root.handlers[:]
    try:
        console.log_to(tmp_path / "log.txt")
        logging.getLogger("calkd_edge").warning("%s", NAME)
        assert SHOWN in (tmp_path / "log.txt").read_text(encoding="utf-8")
    finally:
        for handler in set(root.handlers) - set(before):
            root.removeHandler(handler)
            handler.close()
        logging.captureWarnings(False)


def test_text_stays_as_it_is_and_json_means_the_same():
    plain = "Grüße, 字 \U0001f600\n\tb"
    assert visible(plain) is plain
    text = json.dumps([NAME, "\\\x1b"], ensure_ascii=False)
    assert json.loads(visible(text)) == [NAME, "\\\x1b"]
    assert visible("\udcff") == "\\udcff"
