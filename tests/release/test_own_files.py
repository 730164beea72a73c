"""A run writes over what an earlier release put into its folder, and over nothing else."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from tiny_run import RECIPE, command, written

from calkd_edge.engine.store import Store

SUMS_OF_OTHERS = "0" * 64 + "  data/train.csv\n"


def file(name: str, text: str = '{"my": "report"}'):
    def put(out: Path) -> None:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text(text)

    return put


def listed(out: Path) -> None:
    """A project's own checksums, of files that are called like a release's."""
    for name in ("report.json", "report.html"):
        file(name)(out)
    sums = subprocess.run(["sha256sum", "report.html", "report.json"], cwd=out, check=True, stdout=-1).stdout
    (out / "SHA256SUMS").write_bytes(sums)


def link(name: str, kind: str = "file"):
    def put(out: Path) -> None:
        target = out.parent / "elsewhere"
        if kind == "folder":
            file("mine.onnx")(target)
        else:
            target.write_text("mine")
        (out / name).symlink_to(target)

    return put


def folder(name: str):
    return lambda out: (out / name).mkdir(parents=True)


def pipe(name: str):
    return lambda out: os.mkfifo(out / name)


FOREIGN = {
    "models/mine.onnx": file("models/mine.onnx"),
    "report.json": file("report.json"),
    "report.html": file("report.html"),
    "bundle.zip": file("bundle.zip"),
    "scores.npz": file("scores.npz"),
    "SHA256SUMS": file("SHA256SUMS", SUMS_OF_OTHERS),
    "SHA256SUMS, report": listed,
    "models is a link": link("models", "folder"),
    "models is a file": file("models"),
    "log.txt is a link": link("log.txt"),
    "bundle.zip is a link": link("bundle.zip"),
    "report.json is a folder": folder("report.json"),
    "bundle.zip is a folder": folder("bundle.zip"),
    "models/a.onnx is a folder": folder("models/a.onnx"),
    "log.txt is a pipe": pipe("log.txt"),
    "report.json is a pipe": pipe("report.json"),
    "SHA256SUMS is a pipe": pipe("SHA256SUMS"),
}


def content(root: Path) -> dict[str, bytes | str]:
    """Everything below a folder: bytes of files, kinds of the rest."""
    return {
        str(path.relative_to(root)): path.read_bytes() if path.is_file() else oct(path.lstat().st_mode)
        for path in sorted(root.rglob("*"))
    }


@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
@pytest.mark.parametrize("name", FOREIGN)
def test_folder_with_foreign_files_at_our_names_is_refused_and_untouched(tmp_path, name, dry):
    out, recipe = tmp_path / "out", written(tmp_path, RECIPE)
    out.mkdir()
    FOREIGN[name](out)
    before = content(tmp_path)
    done = command("compress", recipe, "--out", out, "--store", tmp_path / "store", *dry)
    assert done.code == 2, done.err
    assert f"there are files that no release put there: {name}" in done.err
    assert content(tmp_path) == before


def test_releases_are_replaced_beside_unrelated_files(tiny, tmp_path):
    """The same recipe, another one, and one whose checksums were lost; files of other names stay."""
    mine = {"README": "a", ".report.json.bak": "b", "data/report.json": "c", "models/notes.txt": "d"}
    for name, text in mine.items():
        file(name, text)(tmp_path)
    for arguments in ((), ("--set", "gates=[]"), ("--set", "gates=[]")):
        assert tiny.again(tmp_path, *arguments).code == (4 if arguments else 0)
        assert {name: (tmp_path / name).read_text() for name in mine} == mine
        assert command("verify", tmp_path).code == 0
        (tmp_path / "SHA256SUMS").unlink(missing_ok=bool(arguments))


@pytest.mark.parametrize(
    ("out", "store", "named"),
    [
        ("store/objects/zz", "store", "--out"),
        ("store/work", "store", "--out"),
        ("store", "store", "--out"),
        ("linked/locks", "store", "--out"),
        ("out", "out/models/store", "--store"),
        ("out", "out/report.json", "--store"),
        ("", "store", "--out"),
        ("out", "", "--store"),
    ],
)
def test_results_and_store_that_overlap_or_have_no_name_are_refused(tmp_path, monkeypatch, out, store, named):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linked").symlink_to("store")
    recipe = written(tmp_path, RECIPE)
    before = content(tmp_path)
    lines = [("compress", recipe, "--out", out, "--store", store)]
    if not store:
        lines += [("store", "check", "--store", store), ("store", "gc", "--keep", recipe, "--store", store)]
    elif named == "--out":
        Store(tmp_path / "store")
        before = content(tmp_path)
        lines += [("benchmark", "m.onnx", "--out", out, "--store", store)]
    for line in lines:
        done = command(*line)
        assert (done.code, f"error: {named}" in done.err) == (2, True), (line, done.err)
    assert content(tmp_path) == before


@pytest.mark.parametrize(("out", "store"), [("out", "."), (".", ".calkd"), ("out", "out/store")])
def test_results_beside_or_around_the_store_are_accepted(tmp_path, monkeypatch, out, store):
    monkeypatch.chdir(tmp_path)
    done = command("compress", written(tmp_path, RECIPE), "--out", out, "--store", store, "--dry-run")
    assert done.code == 0, done.err
