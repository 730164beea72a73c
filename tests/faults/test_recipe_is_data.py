"""A recipe of a stranger: whatever stands in its fields, it runs no program and contacts nobody."""

from __future__ import annotations

import copy
import os
import socket
import sys
from pathlib import Path

import pytest
from tiny_run import RECIPE, command, written

FULL = {
    **RECIPE,
    "teacher": {**RECIPE["teacher"], "trained_on": "train"},
    "calibrate": {"on": "local", "compare": [{"name": "vector"}]},
    "evaluate": {"images": 200, "thresholds": [0.9], "corruptions": ["blur"]},
    "devices": [
        {"name": "local", "runtime": "onnxruntime", "options": {"providers": ["CPUExecutionProvider"]}},
    ],
}
TENSORRT = {"name": "local", "runtime": "tensorrt", "options": {"module": "tensorrt", "timing_cache": "a"}}
ADDED = [
    (*place, key)
    for place in (("devices", 0), ("data",), ("teacher",), ("student",), ("export",), ())
    for key in (
        "host",
        "port",
        "python",
        "kind",
        "command",
        "plugin",
        "plugins",
        "script",
        "url",
        "root",
        "weights",
        "pretrained",
    )
]
"""Keys that a recipe may be given besides its own."""


def leaves(tree, path=()):
    if isinstance(tree, dict | list):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from leaves(value, (*path, key))
    else:
        yield path


def with_value(path, value, tree=FULL):
    tree = copy.deepcopy(tree)
    holder = tree
    for step in path[:-1]:
        holder = holder.setdefault(step, {}) if isinstance(holder, dict) else holder[step]
    holder[path[-1]] = value
    return tree


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Programs that leave a mark when they run, first in PATH, and a port where nobody may call."""
    mark = tmp_path / "mark"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("evil.sh", "ssh", "scp", "sh", "python3", "curl", "wget", "git"):
        path = programs / name
        path.write_text(f"#!/bin/bash\necho {name} >> {mark}\nexit 1\n")
        path.chmod(0o755)
    (tmp_path / "evil.py").write_text(f"open({str(mark)!r}, 'a').write('evil.py')\n")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        yield mark, programs, server.getsockname()[1]
        with pytest.raises(BlockingIOError):
            server.accept()
    assert not mark.exists(), mark.read_text()


def test_no_field_of_a_recipe_runs_a_program_or_contacts_an_address(world, tmp_path):
    _, programs, port = world
    hostile = [
        str(programs / "evil.sh"),
        f"me@127.0.0.1:{port}",
        f"http://127.0.0.1:{port}/x",
        "evil",
        f"$({programs}/evil.sh)",
    ]
    whole = written(tmp_path, FULL)
    assert command("compress", "--dry-run", "--recipe", whole, "--store", tmp_path / "store").code == 0
    on_a_board = {**FULL, "devices": [TENSORRT]}
    fields = [(path, FULL) for path in sorted({*leaves(FULL), *ADDED}, key=str)]
    fields += [(path, on_a_board) for path in leaves(on_a_board) if path[0] == "devices"]
    accepted = {}
    for number, (path, tree) in enumerate(fields):
        for value in (hostile[number % 5], hostile[(number + 1) % 5]):
            recipe = written(tmp_path, with_value(path, value, tree))
            done = command("compress", "--dry-run", "--recipe", recipe, "--store", tmp_path / "store")
            assert done.code in (0, 2, 5, 6, 7), (path, value, done.err)
            if done.code == 0:
                accepted[path] = recipe.read_text()
    assert not Path("store").exists()
    assert "data" in {path[0] for path in accepted}
    for recipe in accepted.values():  # what planning lets through is run for real
        done = command("compress", "--recipe", written(tmp_path, recipe), "--store", "store", "--out", "out")
        assert done.code in (0, 4, 5), done.err
