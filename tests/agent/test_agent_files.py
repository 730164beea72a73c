"""The agent as it is shipped: old syntax, few imports, one small zip with the same bytes every time."""

from __future__ import annotations

import ast
import importlib
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from board_pythons import VERSIONS, clean, interpreters

from calkd_edge import agent
from calkd_edge.agent import PROTOCOL
from calkd_edge.agent.__main__ import VERBS
from calkd_edge.devices import agent_zip as agent_zip_module
from calkd_edge.devices.agent_zip import agent_name, agent_zip

ROOT = Path(agent.__file__).parent
SOURCES = sorted(ROOT.rglob("*.py"))


@pytest.fixture
def pyz(tmp_path) -> Path:
    path = tmp_path / agent_name()
    path.write_bytes(agent_zip())
    return path


def run(pyz, verb, job, *, python=sys.executable, folder=None):
    folder = folder or pyz.parent
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    command = [python, str(pyz), verb, "job.json", "reply.json"]
    done = subprocess.run(
        command, cwd=folder, env=clean(), capture_output=True, text=True, timeout=60, check=False
    )
    reply = folder / "reply.json"
    return done, json.loads(reply.read_text(encoding="utf-8")) if reply.exists() else None


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_is_written_in_python_3_8(path):
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=(3, 8))
    # Names that an older Python would evaluate and not know: new generics outside annotations.
    future = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    annotated = any(isinstance(node, (ast.AnnAssign, ast.arg)) and node.annotation for node in ast.walk(tree))
    assert future or not annotated
    assert not any(isinstance(node, ast.Call) and _names(node, "zip", "strict") for node in ast.walk(tree))


def _names(call: ast.Call, function: str, keyword: str) -> bool:
    named = isinstance(call.func, ast.Name) and call.func.id == function
    return named and any(item.arg == keyword for item in call.keywords)


def imported_by(path: Path) -> set[str]:
    modules = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules |= {name.name.partition(".")[0] for name in node.names}
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            modules.add((node.module or "").partition(".")[0])
    return modules


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_file_imports_only_the_standard_library_numpy_and_its_runtime(path):
    runtime = {path.stem.rstrip("_")} if path.parent.name == "runtimes" else set()
    foreign = imported_by(path) - set(sys.stdlib_module_names) - {"numpy", "calkd_edge"} - runtime
    assert not foreign


def test_running_agent_has_loaded_nothing_else(pyz):
    code = (
        "import json, sys; sys.path.insert(0, sys.argv[1]);"
        "before = set(sys.modules);"
        "from calkd_edge.agent.__main__ import main;"
        "status = main(['probe', 'job.json', 'reply.json']);"
        "print(json.dumps([status, sorted({n.partition('.')[0] for n in set(sys.modules) - before})]))"
    )
    (pyz.parent / "job.json").write_text(json.dumps({"protocol": PROTOCOL}), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", code, str(pyz)],
        cwd=pyz.parent,
        env=clean(),
        capture_output=True,
        text=True,
        check=True,
    )
    status, loaded = json.loads(done.stdout)
    assert status == 0
    foreign = {name for name in loaded if name not in sys.stdlib_module_names}
    assert {name for name in foreign if not name.startswith(("_", "numpy", "mkl"))} <= {"calkd_edge"}


def test_package_comes_from_the_zip_alone(pyz):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import calkd_edge.agent as a; print(a.__file__)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(pyz)],
        cwd=pyz.parent,
        env=clean(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.startswith(str(pyz))


def test_zip_is_small_whole_and_the_same_every_time(pyz):
    assert len(agent_zip()) < 50_000
    agent_zip_module._zip.cache_clear()
    assert agent_zip() == pyz.read_bytes()
    with zipfile.ZipFile(pyz) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
    shipped = {name for name in names if name.startswith("calkd_edge/agent/")}
    assert shipped == {f"calkd_edge/agent/{path.relative_to(ROOT).as_posix()}" for path in SOURCES}
    assert set(names) - shipped == {"__main__.py", "calkd_edge/__init__.py"}


def test_name_follows_the_content(pyz):
    assert pyz.name.startswith("calkd-agent-")
    assert pyz.suffix == ".pyz"


@pytest.mark.parametrize("version", VERSIONS)
def test_probe_runs_under_the_pythons_of_boards(pyz, version):
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"no Python {version} here; name one in CALKD_PYTHONS")
    has_numpy = subprocess.run([python, "-c", "import numpy"], env=clean(), capture_output=True, check=False)
    if has_numpy.returncode:
        pytest.skip(f"{python} has no numpy; name one that has in CALKD_PYTHONS")
    done, reply = run(pyz, "probe", {"protocol": PROTOCOL}, python=python)
    assert done.returncode == 0, done.stderr
    assert reply["python"].startswith(version)


@pytest.mark.parametrize("arguments", [[], ["probe"], ["dance", "job.json", "reply.json"]])
def test_wrong_command_line_prints_usage(pyz, arguments):
    command = [sys.executable, str(pyz), *arguments]
    done = subprocess.run(command, env=clean(), capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert f"usage: {'|'.join(sorted(VERBS))}" in done.stderr


def test_every_verb_has_a_function():
    for name in VERBS.values():
        module, _, function = name.partition(".")
        assert callable(getattr(importlib.import_module(f"calkd_edge.agent.{module}"), function))


@pytest.mark.parametrize("version", VERSIONS)
def test_doctor_runs_without_numpy(pyz, version, tmp_path):
    """A bare venv, as a board may have it: what says what is missing must not need it."""
    python = interpreters().get(version)
    if python is None:
        pytest.skip(f"no Python {version} here; name one in CALKD_PYTHONS")
    subprocess.run([python, "-m", "venv", "--without-pip", str(tmp_path / "bare")], env=clean(), check=True)
    bare = str(tmp_path / "bare" / "bin" / "python")
    done, reply = run(pyz, "doctor", {"protocol": PROTOCOL}, python=bare)
    assert done.returncode == 0, done.stderr
    running = reply["interpreters"][0]
    assert running["version"].startswith(version)
    assert running["venv"]
    assert "numpy" not in running["packages"]
    done, reply = run(pyz, "probe", {"protocol": PROTOCOL}, python=bare)
    assert done.returncode == 1
    assert "No module named 'numpy'" in reply["error"]
    assert "calkd-edge doctor" in reply["remedy"]


@pytest.mark.parametrize("protocol", [0, PROTOCOL + 1, None, "1"])
def test_job_of_another_protocol_is_refused(pyz, protocol):
    done, reply = run(pyz, "probe", {"protocol": protocol})
    assert done.returncode == 1
    assert f"the job has protocol {protocol}, this agent {PROTOCOL}" in reply["error"]
    assert reply["remedy"]
    assert "traceback" not in reply


def test_damaged_job_comes_back_as_an_error_with_its_traceback(pyz):
    (pyz.parent / "job.json").write_text("{", encoding="utf-8")
    command = [sys.executable, str(pyz), "probe", "job.json", "reply.json"]
    done = subprocess.run(command, cwd=pyz.parent, env=clean(), capture_output=True, check=False)
    reply = json.loads((pyz.parent / "reply.json").read_text(encoding="utf-8"))
    assert done.returncode == 1
    assert reply["error"].startswith("JSONDecodeError")
    assert "Traceback" in reply["traceback"]


def test_reply_is_written_whole_and_leaves_nothing_beside_it(pyz):
    run(pyz, "probe", {"protocol": PROTOCOL})
    assert {path.name for path in pyz.parent.iterdir()} == {pyz.name, "job.json", "reply.json"}


REASONS = "Importing the numpy C-extensions failed.\\n" + "This can happen for many reasons.\\n" * 20


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (f'raise ImportError("{REASONS}")\n', "Importing the numpy C-extensions"),
        ("print 'of Python 2'\n", "Missing parentheses"),
        ("import os\nos.of_another_python\n", "module 'os' has no attribute"),
    ],
    ids=["ImportError", "SyntaxError", "AttributeError"],
)
def test_package_that_cannot_be_imported_is_named_in_one_sentence(tmp_path, content, reason):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy" / "__init__.py").write_text(content)
    (tmp_path / "job.json").write_text(json.dumps({"protocol": PROTOCOL}))
    line = [sys.executable, "-m", "calkd_edge.agent", "probe", "job.json", "reply.json"]
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = subprocess.run(line, cwd=tmp_path, env={**os.environ, "PYTHONPATH": path}, check=False)
    reply = json.loads((tmp_path / "reply.json").read_text())
    assert done.returncode == 1
    assert reply["error"].startswith(f"numpy is there and cannot be imported: {reason}")
    assert str(tmp_path / "numpy" / "__init__.py") in reply["error"]
    assert "PYTHONPATH there is" in reply["remedy"]


def test_probe_refuses_a_runtime_that_cannot_be_imported(pyz):
    (pyz.parent / "onnxruntime").mkdir()
    (pyz.parent / "onnxruntime" / "__init__.py").write_text("raise ImportError('built for another numpy')")
    job = {"protocol": PROTOCOL, "runtimes": ["onnxruntime"]}
    (pyz.parent / "job.json").write_text(json.dumps(job))
    line = [sys.executable, str(pyz), "probe", "job.json", "reply.json"]
    environment = {**os.environ, "PYTHONPATH": str(pyz.parent)}
    assert subprocess.run(line, cwd=pyz.parent, env=environment, check=False).returncode == 1
    reply = json.loads((pyz.parent / "reply.json").read_text())
    assert reply["error"].startswith(
        "onnxruntime is there and does not work: it cannot be imported: built for"
    )
