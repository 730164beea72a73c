"""A release whose sums are right and whose records contradict each other or its files."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import onnx
import pytest
from bundles import members, sealed
from tiny_run import command

FP32, INT8 = "student.fp32.onnx", "student.int8.cpu.onnx"


def edited(record: str, **changes):
    """A change of some keys of a JSON file."""

    def change(files: dict[str, bytes]) -> None:
        files[record] = json.dumps(json.loads(files[record]) | changes).encode()

    return change


def without_measured(files: dict[str, bytes]) -> None:
    manifest = json.loads(files["manifest.json"])
    del manifest["measured"]
    files["manifest.json"] = json.dumps(manifest).encode()


def with_measurement(**changes):
    def change(files: dict[str, bytes]) -> None:
        report = json.loads(files["report.json"])
        for row in report["measurements"]:
            row.update(changes)
        files["report.json"] = json.dumps(report).encode()

    return change


def swapped(files: dict[str, bytes]) -> None:
    """Two models, with their golden outputs, as the manifest says of them."""
    for form in ("{}", "golden/{}.npz"):
        one, other = form.format(FP32), form.format(INT8)
        files[one], files[other] = files[other], files[one]
    manifest = json.loads(files["manifest.json"])
    for row in manifest["measured"]:
        row["sha256"] = hashlib.sha256(files[row["file"]]).hexdigest()
    files["manifest.json"] = json.dumps(manifest).encode()


def with_metadata(key: str, value: str):
    """A model with other metadata, and every record of its digest and size set right."""

    def change(files: dict[str, bytes]) -> None:
        model = onnx.load_from_string(files[FP32])
        for entry in model.metadata_props:
            entry.value = value if entry.key == f"calkd_edge.{key}" else entry.value
        old, files[FP32] = files[FP32], model.SerializeToString()
        digests = [hashlib.sha256(content).hexdigest().encode() for content in (old, files[FP32])]
        sizes = [f'"size_bytes": {len(content)},'.encode() for content in (old, files[FP32])]
        for record in ("manifest.json", "report.json"):
            files[record] = files[record].replace(*digests).replace(*sizes)

    return change


CLASSES = json.dumps([f"grating_{number:02}" for number in reversed(range(10))])
IN_BUNDLES = {
    "manifest.json and report.json disagree on verdict": edited("report.json", verdict="failed"),
    "report.json says passed, and its gates say undecided": edited("report.json", gates=[]),
    "manifest.json and report.json disagree on name": edited("report.json", name="other"),
    "manifest.json and report.json disagree on environment": edited("manifest.json", environment={}),
    "disagree on measured": edited("manifest.json", measured=[]),
    "report.json disagree on measured": without_measured,
    f"{FP32} has not the size that report.json gives": with_measurement(size_bytes=5),
    f"{FP32} is not the file that was measured on local": swapped,
    f"{FP32} says that its precision is int8, report.json says fp32": with_metadata("precision", "int8"),
    f"{FP32} names other classes than report.json": with_metadata("classes", CLASSES),
}


@pytest.mark.parametrize("problem", IN_BUNDLES)
def test_contradiction_inside_a_bundle_is_named(tiny, tmp_path, problem):
    files = members((tiny.out / "bundle.zip").read_bytes())
    IN_BUNDLES[problem](files)
    bundle = tmp_path / "bundle.zip"
    bundle.write_bytes(sealed(files))
    done = command("verify", bundle)
    assert done.code == 3, done.err
    assert problem in done.out


def other_report(out: Path) -> None:
    report = json.loads((out / "report.json").read_text())
    (out / "report.json").write_text(json.dumps(report | {"verdict": "undecided"}))


def foreign_bundle(out: Path) -> None:
    files = members((out / "bundle.zip").read_bytes())
    edited("report.json", conclusions=[])(files)
    (out / "bundle.zip").write_bytes(sealed(files))


def swapped_models(out: Path) -> None:
    one, other = out / "models" / FP32, out / "models" / INT8
    content = one.read_bytes(), other.read_bytes()
    one.write_bytes(content[1])
    other.write_bytes(content[0])


def without_teacher(out: Path) -> None:
    (out / "models/teacher.fp32.onnx").unlink()


def seal(out: Path) -> None:
    """SHA256SUMS anew, of what lies there."""
    names = [line.partition("  ")[2] for line in (out / "SHA256SUMS").read_text().splitlines()]
    there = [name for name in names if (out / name).exists()]
    sums = {name: hashlib.sha256((out / name).read_bytes()).hexdigest() for name in there}
    (out / "SHA256SUMS").write_text("".join(f"{sums[name]}  {name}\n" for name in there))


IN_FOLDERS = {
    "report.json is not the file of that name in bundle.zip": other_report,
    "report.json is not the file of that name in bundle.zip ": foreign_bundle,
    f"models/{FP32} is not the file that report.json has measurements of": swapped_models,
    "models/teacher.fp32.onnx is missing": without_teacher,
}


@pytest.fixture
def out(tiny, tmp_path):
    return shutil.copytree(tiny.out, tmp_path / "out")


@pytest.mark.parametrize("problem", IN_FOLDERS)
def test_contradiction_inside_a_folder_is_named(out, problem):
    IN_FOLDERS[problem](out)
    seal(out)
    done = command("verify", out, "--run")
    assert done.code == 3, done.err
    assert problem.strip() in done.out


def add(name: str):
    def change(out: Path) -> None:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("x")

    return change


def append(line: str):
    def change(out: Path) -> None:
        with (out / "SHA256SUMS").open("a") as sums:
            sums.write(line + "\n")

    return change


def moved_out(out: Path) -> None:
    model = out / "models" / FP32
    shutil.move(model, out.parent / "model")
    model.symlink_to(out.parent / "model")


def as_pipe(out: Path) -> None:
    (out / "SHA256SUMS").unlink()
    os.mkfifo(out / "SHA256SUMS")


DAMAGE = {
    "SHA256SUMS cannot be read, so no finished release is in this folder: it is a pipe": as_pipe,
    "its line 9 names no file of a release": append("nonsense"),
    "line 9 names no file of a release": append("0" * 64 + "  ../../../etc/passwd"),
    "models/sub/x.onnx is surplus": add("models/sub/x.onnx"),
    "models/extra.onnx.data is surplus": add("models/extra.onnx.data"),
    "models/student.int8.pth is surplus": add("models/student.int8.pth"),
    "bundle2.zip is surplus": add("bundle2.zip"),
    "student.onnx is surplus": add("student.onnx"),
    f"models/{FP32} is a link": moved_out,
    "report.json is missing": lambda out: (out / "report.json").unlink(),
    "no finished release": lambda out: (out / "SHA256SUMS").unlink(),
}


@pytest.mark.parametrize("problem", DAMAGE)
def test_damage_of_a_folder_is_named(out, problem):
    DAMAGE[problem](out)
    done = command("verify", out)
    assert (done.code, problem in done.out) == (3, True), done


def test_other_files_are_no_damage_and_a_log_is_no_release(out, tmp_path):
    for name in ("README", "data.zip", "models/notes.txt"):
        add(name)(out)
    assert command("verify", out, "--run").code == 0
    log = tmp_path / "cut"
    log.mkdir()
    shutil.copyfile(out / "log.txt", log / "log.txt")
    done = command("verify", log)
    assert done.code == 2
    assert "holds no finished release" in done.err
    assert "Run compress again" in done.err
