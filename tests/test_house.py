"""The rules of the house that no linter holds."""

from __future__ import annotations

import ast
import importlib
import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CODE = sorted((ROOT / "calkd_edge").rglob("*.py"))
LINES, CODE_LINES = 300, 60
MOST_LOOSE_SIGNATURES = 90

PICKLED = re.compile(r"^\s*(import|from) pickle|allow_pickle=True|weights_only=False", re.MULTILINE)
UNPICKLES = {"calkd_edge/data/cifar_archive.py": "the official archives are pickles; builds arrays only"}
LARGE = {"calkd_edge/data/assets/fashion_mnist_small.xz": "the data set that the quickstart needs"}
"""Files that may break a rule, and why."""
NO_NAMES = ("utils.py", "helpers.py", "common.py")
TEXT = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".css", ".j2", ".json", ".sh", ".cfg", ""}
# Put together from parts, so that this file does not hold what it looks for.
PLACES = (
    "/" + "work/",
    "/" + "tmp/w/",
    "/" + "home/(?!someone/)[a-z]+/",
    "/" + "Users/[a-z]+/",
    "/" + "root/",
    "/" + "farm/",
    r"\.\./" + "shared",
)
LOCAL_PATHS = re.compile("|".join(PLACES))


def tracked() -> list[Path]:
    """Every file that is or will be part of the project: tracked, or new and not ignored."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    names = [git, "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(names, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines() if (ROOT / line).is_file()]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_file_is_short_enough_to_be_read_at_once(path):
    count = len(path.read_text().splitlines())
    assert count <= LINES


@pytest.mark.parametrize("path", CODE, ids=relative)
def test_file_public_functions_and_classes_are_documented(path):
    assert path.name not in NO_NAMES
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the file does not say what it is for"
    classes = [one for one in tree.body if isinstance(one, ast.ClassDef) and not one.name.startswith("_")]
    for node in [tree, *classes]:
        for one in node.body:
            named = isinstance(one, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
            private = named and one.name.startswith("_")
            if named and not private:
                assert ast.get_docstring(one), f"line {one.lineno}: {one.name}"


@pytest.mark.parametrize("path", [path for path in CODE if "agent" in path.parts], ids=relative)
def test_agent_is_written_in_the_python_of_old_boards(path):
    # Grammar only; annotations are text there, and calls are run by the agent's own tests.
    ast.parse(path.read_text(), feature_version=(3, 8))
    assert "from __future__ import annotations" in path.read_text() or not path.read_text().count("->")


def test_agent_uses_no_name_younger_than_python_3_8():
    younger = re.compile(r"\.removeprefix\(|\.removesuffix\(|\bzip\([^)]*strict=|\bmatch \w+:|@cache\b")
    for path in CODE:
        if "agent" in path.parts:
            assert not younger.search(path.read_text()), path.name


def code_lines(node: ast.FunctionDef, source: list[str]) -> int:
    """Lines of a function without its docstring, blank lines and comments."""
    documented = ast.get_docstring(node, clean=False) is not None
    text = range(node.body[0].lineno, node.body[0].end_lineno + 1) if documented else range(0)
    lines = (
        source[number - 1].strip() for number in range(node.lineno, node.end_lineno + 1) if number not in text
    )
    return sum(bool(line) and not line.startswith("#") for line in lines)


def test_functions_fit_on_a_screen():
    long = []
    for path in CODE:
        text = path.read_text()
        source = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and code_lines(node, source) > CODE_LINES:
                long.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert not long


def test_few_signatures_say_any():
    loose = []
    for path in CODE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                arguments += [item for item in (node.args.vararg, node.args.kwarg) if item]
                hints = [item.annotation for item in arguments] + [node.returns]
                parts = [part for hint in hints if hint for part in ast.walk(hint)]
                if any(isinstance(part, ast.Name) and part.id == "Any" for part in parts):
                    loose.append(f"{relative(path)}:{node.lineno} {node.name}")
    assert len(loose) <= MOST_LOOSE_SIGNATURES, "\n".join(loose)


def test_stages_read_no_parameter_by_its_name_in_quotes():
    for path in (ROOT / "calkd_edge" / "stages").rglob("*.py"):
        assert 'params["' not in path.read_text(), relative(path)


def test_no_tracked_text_names_a_place_of_one_machine():
    for path in tracked():
        if path.suffix in TEXT and path.stat().st_size < 1_000_000:
            text = path.read_text(encoding="utf-8", errors="ignore")
            found = LOCAL_PATHS.search(text)
            assert found is None, f"{relative(path)}: {found[0] if found else ''}"


def test_nothing_is_left_for_later_and_nothing_is_pickled():
    unfinished = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "NotImplemented" + r"Error\(\)")))
    for path in CODE:
        text = path.read_text()
        assert not unfinished.search(text), relative(path)
        if relative(path) not in UNPICKLES:
            assert not PICKLED.search(text), relative(path)


def test_only_the_command_lines_and_the_agent_print():
    for path in CODE:
        if not {"cli", "agent", "assets"} & set(path.parts):
            calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
            assert not any(isinstance(c.func, ast.Name) and c.func.id == "print" for c in calls), relative(
                path
            )


def test_weights_data_and_runs_are_not_tracked():
    for path in tracked():
        assert path.suffix not in {".onnx", ".safetensors", ".ckpt", ".pt", ".pth", ".engine", ".npz", ".npy"}
        assert path.stat().st_size < 1_000_000 or relative(path) in LARGE, relative(path)


@pytest.mark.parametrize("folder", ["benchmarks", "examples"])
def test_scripts_import_names_that_exist(folder):
    """Nobody runs a benchmark at each change of the package."""
    for path in sorted((ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("calkd_edge"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    is_module = (
                        find_spec(f"{node.module}.{name.name}") if hasattr(module, "__path__") else None
                    )
                    assert hasattr(module, name.name) or is_module, f"{path}: {node.module}.{name.name}"
