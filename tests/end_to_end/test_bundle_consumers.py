"""A release of photos, used by programs that know nothing of calkd-edge; and the same release made twice."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from huggingface_hub import ModelCard
from photos import picture
from PIL import Image
from tiny_run import command, recipe_with, written

EXAMPLES = Path(__file__).parents[2] / "examples" / "consumer"
MODELS = ("student.fp32.onnx", "student.int8.cpu.onnx")
NEAR = 1e-3
TIMED = {"README.md", "report.json", "report.html", "manifest.json", "SHA256SUMS"}
"""As docs/files.md lists them."""


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """JPEG photos of two classes, dark and bright, in many sizes and ways of compression."""
    root, draw = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    for number in range(160):
        width, height = (int(edge) for edge in draw.integers(40, 180, 2))
        noise = draw.integers(-25, 25, (height, width, 3)) + (60 if number % 2 else -60)
        pixels = (np.asarray(picture(number, (width, height))) + noise).clip(0, 255).astype(np.uint8)
        folder = root / ("bright" if number % 2 != (number % 9 == 0) else "dark")  # some are wrong
        folder.mkdir(exist_ok=True)
        ways = {
            "quality": int(draw.integers(50, 95)),
            "subsampling": number % 3,
            "progressive": number % 5 == 0,
        }
        Image.fromarray(pixels).save(folder / f"{number:03d}.jpg", **ways)
    return root


def released(home: Path, photos: Path) -> Path:
    """The unpacked bundle of a run on these photos, in a store of its own."""
    home.mkdir()
    brief = {"epochs": 4, "images_per_step": 16, "optimizer": {"lr": 0.05}}
    tree = recipe_with(
        name="photos",
        data={"name": "image_folder", "root": str(photos), "image_size": 32, "calibration_images": 32},
        teacher_training=brief,
        distill={**brief, "losses": [{"name": "kd", "temperature": 2.0}], "soft_labels": {"views": 1}},
        evaluate={"corruptions": []},
        gates=[{"metric": "size_bytes", "max": 4_000_000}],
    )
    recipe = written(home, tree)
    places = ("--store", home / "store", "--out", home / "out")
    done = command("compress", "--recipe", recipe, *places, "--allow-undecided")
    assert done.code in (0, 4), done.err  # 32 test images decide little
    with zipfile.ZipFile(home / "out/bundle.zip") as archive:
        archive.extractall(home / "bundle")
    return home / "bundle"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory, photos) -> Path:
    return released(tmp_path_factory.mktemp("made") / "first", photos)


@pytest.fixture(scope="module")
def native(tmp_path_factory) -> Path:
    """The C++ program, with the library of the PyPI package and Debian's headers."""
    headers = [
        Path(os.environ.get("CALKD_ORT_INCLUDE", "none")),
        *map(Path, ("/usr/include/onnxruntime", "/usr/include/onnxruntime/core/session")),
    ]
    found = [folder for folder in headers if (folder / "onnxruntime_cxx_api.h").is_file()]
    library = next(Path(onnxruntime.__file__).parent.glob("capi/libonnxruntime.so.*"), None)
    if not found or library is None:
        pytest.skip("no C++ headers of ONNX Runtime: tests/support/onnxruntime_headers.sh, CALKD_ORT_INCLUDE")
    if not shutil.which("cmake") or not shutil.which("g++"):
        pytest.skip("no cmake or no g++")
    folder = tmp_path_factory.mktemp("native")
    (folder / "libonnxruntime.so.1").symlink_to(library)
    made = []
    for words in (
        ["-S", EXAMPLES / "cpp", "-B", folder / "build", f"-DORT_INCLUDE={found[0]}"]
        + [f"-DORT_LIBRARY={folder / 'libonnxruntime.so.1'}"],
        ["--build", folder / "build"],
    ):
        made.append(subprocess.run(["cmake", *words], capture_output=True, text=True, check=False))
        if "Could NOT find JPEG" in made[-1].stderr or "Could NOT find PNG" in made[-1].stderr:
            pytest.skip("no libjpeg-dev or no libpng-dev")
        assert made[-1].returncode == 0, made[-1].stdout + made[-1].stderr
    assert "warning" not in made[-1].stdout + made[-1].stderr
    return folder / "build/classify"


def answers(program: list[str | Path], bundle: Path, model: str, *more: str) -> list[list[str]]:
    """The fields of each line that a program prints for the golden photos, which are JPEG files."""
    golden = sorted((bundle / "golden/photos").iterdir())
    assert {path.suffix for path in golden} == {".jpg"}
    words = [*program, bundle, model, *golden, "--logits", *more]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split("\t") for line in done.stdout.splitlines()]


@pytest.mark.parametrize("language", ["python", "cpp"])
@pytest.mark.parametrize("model", MODELS)
def test_a_program_gives_the_golden_outputs_from_jpeg_photos(bundle, request, language, model):
    if language == "cpp":
        program = [request.getfixturevalue("native")]
    else:
        program = [sys.executable, EXAMPLES / "python/classify.py"]
    lines = answers(program, bundle, model)
    rows = [int(name[:2]) for name, *_ in lines]
    with np.load(bundle / f"golden/{model}.npz") as golden:
        logits, chances = golden["logits"][rows], golden["probabilities"][rows]
    assert len(lines) == 8
    np.testing.assert_allclose(
        [np.array(line[4].split(), float) for line in lines], logits, rtol=0, atol=NEAR
    )
    labels = (bundle / "labels.txt").read_text().splitlines()
    assert [line[1] for line in lines] == [labels[best] for best in chances.argmax(axis=1)]
    np.testing.assert_allclose([float(line[2]) for line in lines], chances.max(axis=1), atol=NEAR)
    limit = float(np.median(chances.max(axis=1)))
    taken = [line[3] == "taken" for line in answers(program, bundle, model, "--threshold", str(limit))]
    assert 0 < sum(taken) < len(taken)
    assert {line[3] for line in lines} == {"-"}  # nothing is decided by a threshold that nobody has given


def test_the_python_program_takes_nothing_by_a_promise_that_the_bundle_does_not_make(bundle, tmp_path):
    folder, model = tmp_path / "bundle", MODELS[0]
    shutil.copytree(bundle, folder)
    promises = [
        {"file": model, "precision": precision, "threshold": threshold}
        for precision, threshold in ((0.9, 0.5), (0.99, None))
    ]
    (folder / "thresholds.json").write_text(json.dumps({"guaranteed": promises}))
    program = [sys.executable, EXAMPLES / "python/classify.py"]
    at_half = answers(program, folder, model, "--threshold", "0.5")
    assert answers(program, folder, model, "--precision", "0.9") == at_half
    for precision in ("0.99", "0.95"):
        words = [*program, folder, model, *(folder / "golden/photos").iterdir(), "--precision", precision]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout) == (1, "")
        assert f"right on {precision} of what it takes (guaranteed: 0.9)" in done.stderr


def test_the_cpp_program_refuses_what_it_cannot_read(bundle, native, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(0).save(tmp_path / "turned.jpg", exif=exif)
    picture(0).convert("RGBA").save(tmp_path / "clear.png")
    (tmp_path / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    for name, reason in (("turned.jpg", "upright"), ("clear.png", "transparent"), ("cut.jpg", "JPEG")):
        words = [native, bundle, MODELS[0], tmp_path / name]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert (done.returncode, reason in done.stderr) == (1, True), done.stderr


def test_the_list_of_components_is_valid_and_has_every_model_and_package(bundle):
    text = (bundle / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    components = {item["bom-ref"]: item for item in json.loads(text)["components"]}
    for path in bundle.glob("student.*"):
        item = components[f"model:{path.name}"]
        assert item["type"] == "machine-learning-model"
        assert item["hashes"] == [
            {"alg": "SHA-256", "content": hashlib.sha256(path.read_bytes()).hexdigest()}
        ]
        assert item["externalReferences"] == [{"type": "model-card", "url": "README.md"}]
    assert components["data"]["type"] == "data"
    assert components.keys() >= {"weights:student", "weights:teacher"}
    locked = dict(line.split("==") for line in (bundle / "requirements.lock").read_text().splitlines())
    assert {name: components[f"package:{name}"]["version"] for name in locked} == locked
    assert (locked["torch"], locked["calkd-edge"]) == (version("torch"), version("calkd-edge"))
    environment = json.loads((bundle / "environment.json").read_text())
    assert (environment["python"], "date" in environment) == (platform.python_version(), False)


def test_the_readme_and_the_input_are_those_of_the_data(bundle):
    resize = json.loads((bundle / "preprocessing.json").read_text())["resize"]
    assert (resize["how"], resize["height"], resize["width"]) == ("crop", 32, 32)
    text = (bundle / "README.md").read_text()
    assert "largest middle part that has the proportions 32:32" in text
    assert ModelCard(text).data.to_dict()["pipeline_tag"] == "image-classification"
    assert command("verify", bundle.parent / "out").code == 0


def test_two_clean_runs_give_the_same_bytes_but_for_the_files_that_hold_timings(
    bundle, photos, tmp_path_factory
):
    again = released(tmp_path_factory.mktemp("made") / "second", photos)
    names = sorted(str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(again)) for path in again.rglob("*") if path.is_file())
    differing = {name for name in names if (bundle / name).read_bytes() != (again / name).read_bytes()}
    assert differing <= TIMED
