"""One folder holds one release, and says so when it does not."""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from types import SimpleNamespace

import pytest
from small_disk import mounted

from calkd_edge.agent.runtimes import RUNTIMES
from calkd_edge.errors import EnvironmentProblem, RecipeError, StoreError
from calkd_edge.release.folder import ReleaseFolder, copy_measured

CONTENT = {"report.json": '{"recipe": {"name": "a"}}', "report.html": "page", "models/student.fp32.onnx": "m"}


def staged_into(folder: ReleaseFolder, bundle: bool = True, **changes: str) -> None:
    with folder.held(), folder.staged() as staged:
        files = {**CONTENT, **({"bundle.zip": "zip"} if bundle else {}), **changes}
        for name, text in files.items():
            (staged / name).parent.mkdir(exist_ok=True)
            (staged / name).write_text(text)
        folder.publish(staged)


@pytest.fixture
def folder(tmp_path):
    made = ReleaseFolder(tmp_path / "out")
    staged_into(made)
    return made


def names(folder):
    return {str(path.relative_to(folder.path)) for path in folder.path.rglob("*") if path.is_file()}


def test_release_is_complete_and_sha256sum_agrees(folder):
    assert names(folder) == {*CONTENT, "bundle.zip", "SHA256SUMS"}
    assert folder.problems() == []
    done = subprocess.run(["sha256sum", "-c", "--quiet", "SHA256SUMS"], cwd=folder.path, check=False)
    assert done.returncode == 0


def test_next_release_leaves_nothing_of_the_one_before(folder):
    (folder.path / "models/notes.txt").write_text("mine")
    staged_into(folder, **{"models/student.int8.onnx": "of an earlier run"})
    staged_into(folder, bundle=False)
    assert names(folder) == {*CONTENT, "SHA256SUMS", "models/notes.txt"}


@pytest.mark.parametrize("killed", [True, False])
@pytest.mark.parametrize("moved", range(8))
def test_end_while_publishing_never_leaves_a_release_that_seems_finished(folder, monkeypatch, moved, killed):
    """After each number of moves, by a kill or an error; the next run knows what is left for a release's."""
    done, move = [], os.replace

    def replace(source, target):
        if len(done) == moved:
            if killed:
                os._exit(9)
            raise KeyboardInterrupt
        done.append(target)
        move(source, target)

    (folder.path / "README").write_text("mine")
    child = os.fork() if killed else 0
    if not child:
        with monkeypatch.context() as patch, suppress(KeyboardInterrupt):
            patch.setattr("calkd_edge.release.folder.os.replace", replace)
            staged_into(folder, **{"report.html": "new"})
        if killed:
            os._exit(0)
    else:
        os.waitpid(child, 0)
    page = folder.path / "report.html"
    if moved in (2, 3, 4, 5, 6):
        assert "no finished release" in folder.problems()[0]
        assert "bundle.zip" not in names(folder) or page.read_text() == "new"
    else:
        assert folder.problems() == []
        assert page.read_text() == ("page" if moved < 2 else "new")
    staged_into(folder, bundle=False)
    assert names(folder) == {*CONTENT, "SHA256SUMS", "README"}
    assert not list(folder.path.glob(".*"))


def test_disk_that_is_full_once_all_is_staged_does_not_stop_the_release(tmp_path, monkeypatch):
    with mounted(tmp_path / "small") as disk:
        folder = ReleaseFolder(disk / "out")
        staged_into(folder)
        withdraw = folder.withdraw

        def withdraw_on_a_full_disk():
            withdraw()
            with suppress(OSError), (disk / "of others").open("wb", buffering=0) as stream:
                while stream.write(bytes(4096)):
                    pass
            with pytest.raises(OSError, match="No space left"):
                (disk / "more").write_bytes(bytes(4096))

        monkeypatch.setattr(folder, "withdraw", withdraw_on_a_full_disk)
        staged_into(folder, **{"report.html": "new"})
        assert folder.problems() == []
        assert (folder.path / "report.html").read_text() == "new"


def test_second_run_into_a_folder_is_refused(folder):
    with (
        folder.held(),
        pytest.raises(EnvironmentProblem, match="another run writes into"),
        ReleaseFolder(folder.path).held(),
    ):
        pass


@pytest.mark.parametrize(
    ("recipe", "text", "stays"),
    [
        ({"name": "a"}, None, True),
        ({"name": "b"}, None, False),
        ({"name": "a"}, "{", False),
        ({"name": "a"}, "[" * 100_000, False),
        ({"name": "a"}, "[]", False),
    ],
)
def test_release_of_another_recipe_is_withdrawn(folder, recipe, text, stays):
    if text is not None:
        (folder.path / "report.json").write_text(text)
    with folder.held():
        folder.withdraw_other(recipe)
    assert ((folder.path / "bundle.zip").exists(), (folder.path / "report.json").exists()) == (stays, stays)


def test_folder_of_the_users_own_is_not_taken_for_a_withdrawn_release(folder, tmp_path):
    aside = folder.path / "withdrawn"
    with folder.held():
        folder.withdraw_other({"name": "b"})
    assert ReleaseFolder(aside).problems() == []
    aside.rename(tmp_path / "elsewhere")
    aside.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RecipeError, match="withdrawn"):
        folder.check()
    aside.unlink()
    aside.mkdir()
    (aside / "notes.txt").write_text("mine")
    with pytest.raises(RecipeError, match="withdrawn"):
        folder.check()


def test_refused_run_leaves_no_empty_folder(tmp_path):
    folder = ReleaseFolder(tmp_path / "a" / "out")
    with pytest.raises(ZeroDivisionError), folder.held():
        raise ZeroDivisionError
    assert not folder.path.exists()


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda path: (path / "models/student.fp32.onnx").write_text("M"), "student.fp32.onnx was altered"),
        (lambda path: (path / "report.json").unlink(), "report.json is missing"),
        (lambda path: (path / "models/student.int8.onnx").write_text("x"), "student.int8.onnx is surplus"),
        (lambda path: (path / "SHA256SUMS").unlink(), "no finished release"),
        (lambda path: (path / "SHA256SUMS").write_bytes(b"\xff"), "no finished release"),
    ],
)
def test_damage_of_a_release_is_reported(folder, damage, problem):
    damage(folder.path)
    assert any(problem in text for text in folder.problems())


def test_file_that_changed_since_it_was_measured_is_not_copied(tmp_path):
    (tmp_path / "model.onnx").write_text("changed")
    with pytest.raises(StoreError, match="has changed since it was measured") as refused:
        copy_measured(tmp_path / "model.onnx", tmp_path / "out" / "model.onnx", "0" * 64)
    assert refused.value.exit_code == 6
    assert not (tmp_path / "out" / "model.onnx").exists()


def test_files_of_an_added_runtime_belong_to_the_release(folder, monkeypatch):
    monkeypatch.setitem(RUNTIMES, "toy", SimpleNamespace(suffix=".toy"))
    staged_into(folder, **{"models/student.fp32.toy": "weights"})
    assert folder.problems() == []
    staged_into(folder)
    assert names(folder) == {*CONTENT, "bundle.zip", "SHA256SUMS"}
