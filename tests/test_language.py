"""Plain technical English: names, docstrings and help texts without this project's former dialect."""

from __future__ import annotations

import ast
import re
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted((ROOT / "calkd_edge").rglob("*.py"))
MOST_PER_THOUSAND = 3
PHRASES = re.compile(
    r"\banew\b|\bmend(s|ed|ing)?\b|what became of|\bh[eo]ld(s|ing)? [^.]{0,60}\bagainst\b", re.IGNORECASE
)


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def documented(tree: ast.Module) -> list[tuple[int, str, str]]:
    """Line, name and docstring of the module and of its functions, classes and methods."""
    kinds = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
    nodes = [node for node in ast.walk(tree) if isinstance(node, kinds)]
    return [
        (getattr(node, "lineno", 1), getattr(node, "name", ""), text)
        for node in nodes
        if (text := ast.get_docstring(node))
    ]


def test_few_names_hold_words_of_a_private_dialect():
    script = ROOT / "benchmarks" / "house" / "names.py"
    spec = spec_from_file_location("names", script)
    names = module_from_spec(spec)
    spec.loader.exec_module(names)
    total, hits = names.counted(ROOT / "calkd_edge")
    assert total > 5000
    assert 1000 * len(hits) / total <= MOST_PER_THOUSAND, "\n".join(hits)


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_docstrings_and_help_texts_are_plain(path):
    tree = ast.parse(path.read_text())
    for line, name, text in documented(tree):
        match = PHRASES.search(" ".join(text.split()))
        assert match is None, f"line {line}: {name}: {match and match[0]}"
        first = text.partition("\n\n")[0].replace("\n", " ")
        if not name.startswith("_"):
            assert re.search(r"[.:?)]$", first), f"line {line}: {name}: its first line is no sentence"
    for node in ast.walk(tree):
        if isinstance(node, ast.keyword) and node.arg in ("help", "remedy"):
            texts = [part.value for part in ast.walk(node.value) if isinstance(part, ast.Constant)]
            match = PHRASES.search(" ".join(str(text) for text in texts))
            assert match is None, f"line {node.value.lineno}: {match and match[0]}"
