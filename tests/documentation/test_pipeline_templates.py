"""The templates of docs/templates: valid for the services that read them, with commands that exist."""

from __future__ import annotations

import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from calkd_edge.cli.app import app

TEMPLATES = Path(__file__).parents[2] / "docs" / "templates"
SCHEMAS = {
    "github-release-gate.yml": "vendor.github-workflows",
    "gitlab-release-gate.yml": "vendor.gitlab-ci",
}


def linted(path: Path, schema: str) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_template_is_what_the_schema_of_its_service_wants(name, tmp_path):
    done = linted(TEMPLATES / name, SCHEMAS[name])
    assert done.returncode == 0, done.stdout + done.stderr
    tree = yaml.safe_load((TEMPLATES / name).read_text())
    job: dict[str, Any] = tree["jobs"]["release"] if "jobs" in tree else tree["release gate"]
    job["timeout-minutes" if "jobs" in tree else "timeout"] = ["no time"]
    (tmp_path / name).write_text(yaml.safe_dump(tree))
    assert linted(tmp_path / name, SCHEMAS[name]).returncode == 1


def test_every_template_has_a_schema():
    assert {path.name for path in TEMPLATES.iterdir()} == SCHEMAS.keys()


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_commands_of_a_template_exist_with_their_options(name):
    text = (TEMPLATES / name).read_text()
    lines = [line.strip().removeprefix("- ").removeprefix("run: ") for line in text.splitlines()]
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("calkd-edge ")]
    assert [words[0] for words in commands] == ["compress", "verify"]
    group = typer.main.get_command(app)
    for command, *words in commands:
        group.get_command(None, command).make_context(command, words)
