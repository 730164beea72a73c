"""compress --debug-parity: says of each exported file how its layers fare, and makes nothing else anew."""

from __future__ import annotations

import json
import re

from tiny_run import command


def test_each_export_is_held_against_torch(tiny, tmp_path):
    arguments = ("--recipe", tiny.recipe, "--store", tiny.store)
    done = command("compress", *arguments, "--out", tmp_path, "--reuse-measurements", "--debug-parity")
    assert done.code == 0, done.err
    said = re.findall(r"parity-(teacher|student): all (\d+) layers and the logits agree", done.err + done.out)
    assert [what for what, _ in said] == ["teacher", "student"]
    planned = command("compress", *arguments, "--dry-run", "--json", "--debug-parity").stages
    assert all(planned.values())
    assert {"parity-teacher", "parity-student"} <= planned.keys()
    without = command("compress", *arguments, "--dry-run", "--json").stages
    assert set(planned) - set(without) == {"parity-teacher", "parity-student"}
    (place,) = (
        path for path in tiny.store.glob("objects/*/*/parity.json") if stage_of(path) == "parity-student"
    )
    rows = json.loads(place.read_text(encoding="utf-8"))
    assert [row["departs"] for row in rows] == [False] * len(rows)
    assert len(rows) == int(said[1][1]) + 1
    assert rows[0]["layer"] == "backbone.conv1"


def stage_of(path):
    return json.loads((path.parent / "manifest.json").read_text(encoding="utf-8"))["stage"]
