"""Every Python example of docs/api.md runs, in one namespace, on the recipe that the page shows."""

from __future__ import annotations

import re
from pathlib import Path

import yaml
from tiny_run import RECIPE

import calkd_edge

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_every_function_has_an_example():
    code = "\n".join(blocks("python"))
    functions = [name for name in calkd_edge.__all__ if name[0].islower()]
    assert [name for name in functions if f"ck.{name}(" not in code] == []


def test_examples_run_on_the_recipe_of_the_page(tiny, tmp_path, monkeypatch, capsys):
    (recipe,) = blocks("yaml")
    assert yaml.safe_load(recipe) == RECIPE  # so that the stages of the shared run are reused
    (tmp_path / "tiny.yaml").write_text(recipe, encoding="utf-8")
    (tmp_path / ".calkd").symlink_to(tiny.store)
    monkeypatch.chdir(tmp_path)
    namespace: dict[str, object] = {"__name__": "example"}
    for block in blocks("python"):
        exec(compile(block, str(PAGE), "exec"), namespace)
    printed = capsys.readouterr().out
    assert "finished distill reused" in printed
    assert "Did you mean 'quickstart'?" in printed
