"""calkd-edge benchmark, whole: a run, its bundle, one file; here, over ssh, emulated; cut, full, compared."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import jsonschema
import numpy as np
import onnx
import pytest
import yaml
from benchmark_world import SHORT
from bundles import sealed
from jetson_roots import ina3221, plant
from onnx import TensorProto, helper
from PIL import Image
from tiny_run import command

from calkd_edge.benchmarking.sources import open_source
from calkd_edge.devices.local import Local
from calkd_edge.errors import CalkdError, RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.metrics.latency import LOADS, PROCESSES
from calkd_edge.onnx_model.graph import set_metadata
from calkd_edge.records import Benchmark


@pytest.fixture(autouse=True)
def short(monkeypatch):
    """Seconds become fractions of them."""
    for name in ("quick", "standard"):
        monkeypatch.setitem(LOADS, name, SHORT)
    monkeypatch.setitem(PROCESSES, "quick", 1)


@pytest.fixture
def inventory(tmp_path, monkeypatch):
    """inventory(name, **entry): what the user's own inventory says."""

    def write(**entries):
        path = tmp_path / "config" / "calkd-edge" / "devices.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(entries))
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    return write


def told(folder: Path) -> Benchmark:
    return Benchmark.model_validate_json((folder / "benchmark.json").read_text())


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "benchmark.npz", allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}


def test_run_is_timed_side_by_side_on_its_own_test_images(tiny, tmp_path):
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--store", tiny.store, "--out", out)
    assert done.code == 0, done.err
    found = told(out)
    assert [one.precision for one in found.files] == ["fp32", "int8"]
    assert found.files[1].file == "student.int8.cpu.onnx", (
        "the file that ONNX Runtime's CPU runs in a release"
    )
    for one in found.files:
        assert one.sha256 == sha256_of(tiny.out / "models" / one.file)
        assert one.latency_ms.samples >= 200
        assert one.latency_ms.p50.low <= one.latency_ms.p50.value <= one.latency_ms.p50.high
        assert one.latency_ms.load_ms > 0 < one.latency_ms.first_ms
        assert one.top1 is not None, "the run's report says it"
        assert one.peak_memory_bytes > 10e6
    assert found.images == "64 test images of the run"
    assert found.scope == "e2e"
    (verdict,) = found.worth
    assert verdict.precision == "int8"
    assert verdict.ratio.low <= verdict.ratio.value <= verdict.ratio.high
    assert "int8 worth it?" in done.out
    assert "student" not in done.out, "rows are named by their precision"
    raw = arrays(out)
    assert len(raw["int8.samples_ns.0"]) == len(raw["int8.starts_ns.0"]) == found.files[1].latency_ms.samples
    assert found.samples_sha256 == sha256_of(out / "benchmark.npz")
    assert sorted(path.name for path in out.iterdir()) == ["benchmark.json", "benchmark.npz"]


def test_json_is_the_record_that_was_written(tiny, tmp_path):
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--precision", "int8", "--out", out, "--json")
    assert done.code == 0, done.err
    assert Benchmark.model_validate_json(done.out) == told(out)
    assert told(out).worth == (), "there is no fp32 to hold it against"


def test_its_schema_takes_it(tiny, tmp_path):
    schema = json.loads(command("schema", "benchmark").out)
    jsonschema.Draft202012Validator.check_schema(schema)
    done = command("benchmark", tiny.out, "--precision", "fp32", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    tree = json.loads((tmp_path / "out/benchmark.json").read_text())
    jsonschema.validate(tree, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**tree, "files": "none"}, schema)


def test_processes_take_turns(tiny, tmp_path):
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--profile", "standard", "--out", out)
    assert done.code == 0, done.err
    order = [line.split()[1] for line in done.err.splitlines() if "/6" in line]
    assert order == ["fp32", "int8"] * 3
    found = told(out)
    assert (found.processes, found.files[0].latency_ms.processes) == (3, 3)
    assert found.worth[0].ratio.processes == 3
    assert {"fp32.samples_ns.2", "int8.samples_ns.2"} <= set(arrays(out))


def test_bundle_brings_its_golden_inputs(tiny, tmp_path):
    out = tmp_path / "out"
    done = command("benchmark", tiny.out / "bundle.zip", "--out", out)
    assert done.code == 0, done.err
    found = told(out)
    assert found.source.kind == "bundle"
    assert [one.precision for one in found.files] == ["fp32", "int8"]
    assert found.images == "16 golden inputs of the bundle"
    assert {one.sha256 for one in found.files} == {
        sha256_of(tiny.out / "models" / name) for name in ("student.fp32.onnx", "student.int8.cpu.onnx")
    }


def test_damaged_bundle_and_changed_model_are_refused(tiny, tmp_path):
    broken = tmp_path / "bundle.zip"
    content = bytearray((tiny.out / "bundle.zip").read_bytes())
    content[len(content) // 3] ^= 1
    broken.write_bytes(content)
    done = command("benchmark", broken, "--out", tmp_path / "out")
    assert done.code == 6
    assert "is damaged" in done.err
    changed = shutil.copytree(tiny.out, tmp_path / "run")
    model = onnx.load(changed / "models" / "student.fp32.onnx")
    model.doc_string = "another"
    onnx.save(model, changed / "models" / "student.fp32.onnx")
    done = command("benchmark", changed, "--out", tmp_path / "out")
    assert done.code == 6
    assert "is not the file that the report measured" in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../../out", "/{folder}/out", "a/b", "..", "int8\nnever"])
def test_a_file_cannot_choose_where_its_copy_is_written(exported, tmp_path, name):
    claimed = name.format(folder=tmp_path)
    model = onnx.load(exported("resnet20").path)
    set_metadata(model, {"precision": claimed})
    onnx.save(model, tmp_path / "hostile.onnx")
    work = tmp_path / "a" / "work"
    work.mkdir(parents=True)
    with pytest.raises(RecipeError, match="not a valid name"):
        open_source(tmp_path / "hostile.onnx", work)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "hostile.onnx", "work"]


def written_bundle(folder: Path, content: dict[str, bytes]) -> Path:
    (folder / "bundle.zip").write_bytes(sealed(content))
    return folder / "bundle.zip"


def test_a_bundle_cannot_choose_where_its_files_are_written(tiny, tmp_path):
    with zipfile.ZipFile(tiny.out / "bundle.zip") as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    work = tmp_path / "a" / "work"
    work.mkdir(parents=True)
    open_source(written_bundle(tmp_path, content), work)  # in order as it is
    report = json.loads(content["report.json"])
    manifest = json.loads(content["manifest.json"])
    for row in (*report["measurements"], *manifest["measured"]):
        row["precision"] = row["precision"].replace("int8", "../../int8")
    forged = {"report.json": report, "manifest.json": manifest}
    hostile = {
        "cannot be the name of a file in a bundle": {
            "student.fp32.x/../../../out.onnx": content["student.fp32.onnx"]
        },
        "is not a valid name": {name: json.dumps(value).encode() for name, value in forged.items()},
    }
    for words, change in hostile.items():
        shutil.rmtree(work)
        work.mkdir()
        with pytest.raises(CalkdError, match=words):
            open_source(written_bundle(tmp_path, {**content, **change}), work)
        outside = [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(work)]
        assert outside == [tmp_path / "bundle.zip"]


def test_bare_file_runs_on_noise_that_is_said_to_be_noise(exported, tmp_path):
    out = tmp_path / "out"
    done = command("benchmark", exported("resnet20").path, "--out", out)
    assert done.code == 0, done.err
    found = told(out)
    assert found.images.startswith("64 images of seeded noise")
    assert "seeded noise" in done.out
    assert (found.source.kind, found.files[0].file) == ("file", "model.onnx")


def test_file_of_another_make_runs_on_floats(tmp_path):
    graph = helper.make_graph(
        [helper.make_node("GlobalAveragePool", ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 20, 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3, 1, 1])],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), tmp_path / "net.onnx")
    done = command("benchmark", tmp_path / "net.onnx", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    assert told(tmp_path / "out").files[0].precision == "as given"


def test_images_of_ones_own(tiny, tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 3, 32, 32), dtype=np.uint8)
    np.save(tmp_path / "mine.npy", pixels)
    (tmp_path / "pictures").mkdir()
    Image.fromarray(pixels[0].transpose(1, 2, 0)).resize((50, 40)).save(tmp_path / "pictures" / "a.png")
    for name in ("mine.npy", "pictures"):
        done = command(
            "benchmark", tiny.out, "--precision", "fp32", "--images", tmp_path / name, "--out", tmp_path / "o"
        )
        assert done.code == 0, done.err
        assert told(tmp_path / "o").images == name
    np.save(tmp_path / "small.npy", pixels[:, :, :8, :8])
    done = command("benchmark", tiny.out, "--images", tmp_path / "small.npy", "--out", tmp_path / "o2")
    assert done.code == 2
    assert "does not fit the model" in " ".join(done.err.split())


def test_newest_run_is_taken_and_named(tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = command("benchmark")
    assert done.code == 2
    assert "no finished run" in done.err
    assert "calkd-edge compress --recipe" in " ".join(done.err.split())
    for name in ("old", "new"):
        shutil.copytree(tiny.out, tmp_path / "runs" / name)
    (tmp_path / "runs" / "unfinished").mkdir()
    (tmp_path / "runs" / "new" / "report.json").touch()
    done = command("benchmark", "--precision", "fp32")
    assert done.code == 0, done.err
    assert "the newest finished run: runs/new" in done.err
    assert (tmp_path / "runs" / "benchmark-local" / "benchmark.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--precision", "int9"], "Did you mean 'int8'?"),
        (["--profile", "fast"], "Valid: quick, standard, certify"),
        (["--soak", "soon"], "--soak 10m"),
        (["--soak", "5h"], "to 3 h"),
        (["--rate", "0"], "--rate 0"),
        (["--device", "moon"], "no device is named 'moon'"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(tiny, tmp_path, arguments, words):
    done = command("benchmark", tiny.out, "--out", tmp_path / "out", *arguments)
    assert done.code == 2, done.err
    assert words in " ".join(done.err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["missing", "notes.txt"])
def test_what_is_no_model_is_a_usage_error(tmp_path, name):
    (tmp_path / "notes.txt").write_text("no model")
    done = command("benchmark", tmp_path / name, "--out", tmp_path / "out")
    assert done.code == 2
    assert "MODEL.onnx or bundle.zip" in " ".join(done.err.split())


def test_a_file_for_litert_is_made_where_no_run_made_one(tiny, tmp_path):
    pytest.importorskip("ai_edge_litert")
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--device", "local:litert", "--out", out)
    assert done.code == 0, done.err
    found = told(out)
    assert [one.file for one in found.files] == ["student.fp32.tflite", "student.int8.tflite"]
    assert all(one.latency_ms.samples >= 200 for one in found.files)
    assert "accuracy and confidence are those of local:onnxruntime" in found.warnings[0]
    assert "fp32, int8: converted for this benchmark" in found.warnings[1]


def test_a_lone_file_for_litert_is_made_again_as_a_baseline_and_keeps_its_name(tiny, tmp_path):
    pytest.importorskip("ai_edge_litert")
    model = tmp_path / "net.v2.onnx"
    shutil.copyfile(tiny.out / "models" / "student.int8.onnx", model)
    asked = ("benchmark", model, "--device", "local:litert", "--out")
    assert command(*asked, tmp_path / "old").code == 0
    done = command(*asked, tmp_path / "new", "--baseline", tmp_path / "old")
    assert done.code == 0, done.err
    (old,), (new,) = told(tmp_path / "old").files, told(tmp_path / "new").files
    assert (new.file, new.precision) == ("net.v2.tflite", "int8")
    assert new.source_sha256 == old.source_sha256
    (verdict,) = told(tmp_path / "new").against
    assert verdict.interleaved, "the earlier file is converted again, the same to the byte"
    model.write_bytes((tiny.out / "models" / "student.fp32.onnx").read_bytes())
    done = command(*asked, tmp_path / "other", "--baseline", tmp_path / "old")
    assert done.code == 2, "it holds another precision now"


def test_device_without_the_runtime_exits_5(tiny, tmp_path):
    done = command("benchmark", tiny.out, "--device", "local:tensorrt", "--out", tmp_path / "out")
    if done.code == 0:
        pytest.skip("this machine has TensorRT")
    assert done.code == 5
    assert "cannot import tensorrt" in " ".join(done.err.split())


def test_engines_are_built_on_the_device_first(tiny, tmp_path, inventory):
    """TensorRT is played: a Python that finds one, and a libcudart that works on host memory."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    support, played = Path(__file__).parents[1] / "support", tmp_path / "played"
    facts = played / "tensorrt-10.3.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: tensorrt\nVersion: 10.3.0\n")
    library = played / "libcudart.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, support / "cudart_stub.c"], check=True)
    shutil.copyfile(support / "played_tensorrt.py", played / "tensorrt.py")
    variables = f'CALKD_CUDART="{library}" PYTHONPATH="{played}"'
    (played / "python3").write_text(f'#!/bin/sh\n{variables} exec "{sys.executable}" "$@"\n')
    (played / "python3").chmod(0o755)
    inventory(edge={"python": str(played / "python3")})
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--device", "edge:tensorrt", "--out", out)
    assert done.code == 0, done.err
    found = told(out)
    assert (found.runtime_version, found.threads) == ("10.3.0", None)
    for one in found.files:
        assert one.file == f"student.{one.precision}.onnx", "the canonical file"
        assert one.built["sha256"] == one.sha256 == one.session_options["sha256"]
        assert one.source_sha256 == sha256_of(tiny.out / "models" / one.file) != one.sha256
        assert one.infer_ms.p50.value is not None
        assert one.infer_ms.p50.value <= one.latency_ms.p50.value
    assert found.seconds.building > 0
    assert "(infer)" in done.out
    again = command(
        "benchmark", tiny.out, "--device", "edge:tensorrt", "--baseline", out, "--out", tmp_path / "o"
    )
    assert again.code == 0, again.err
    assert all(one.interleaved for one in told(tmp_path / "o").against)


def test_paced_run_tells_of_its_schedule(tiny, tmp_path):
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--precision", "fp32", "--rate", "100", "--out", out)
    assert done.code == 0, done.err
    paced = told(out).files[0].paced
    assert paced.rate_hz == 100
    assert paced.ticks >= 130
    assert (paced.ticks - paced.missed) == told(out).files[0].latency_ms.samples
    assert f"{paced.missed} of {paced.ticks} ticks missed" in done.out
    raw = arrays(out)
    grid = (raw["fp32.starts_ns.0"] - raw["fp32.starts_ns.0"][0]) / 1e7
    np.testing.assert_allclose(grid, np.round(grid), atol=1e-6)


def test_soak_compares_its_ends(tiny, tmp_path):
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--precision", "fp32", "--soak", "3s", "--out", out)
    assert done.code == 0, done.err
    found = told(out)
    soak = found.files[0].soak
    assert (found.soak_s, soak.seconds, soak.window_s) == (3, 3, 0.5)
    assert soak.ratio.low <= soak.ratio.value <= soak.ratio.high
    assert soak.first.value is not None
    assert "windows of 0.5 s" in done.out


class Railed(Local):
    """This machine, as one whose rails can be read: jobs name a folder that plays it."""

    root = ""

    def put(self, source, target):
        if target.startswith("job-"):
            job = json.loads(source.read_text()) | {"root": self.root, "idle_seconds": 0.3}
            source.write_text(json.dumps(job))
        super().put(source, target)


def test_energy_is_of_the_modules_rails_without_idle(tiny, tmp_path, device):
    plant(tmp_path / "root", ina3221(0, ("VDD_IN", 5000, 1000)))
    Railed.root = str(tmp_path / "root")
    device("railed", Railed)
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--device", "railed", "--out", out)
    assert done.code == 0, done.err
    found = told(out)
    for one in found.files:
        assert one.energy.scope == "module rails"
        assert one.energy.mean_w == pytest.approx(5.0)
        assert one.energy.net_joules_per_inference == pytest.approx(0, abs=1e-9), "it rests at what it takes"
    assert found.seconds.idle >= 4 * 0.3
    assert "module rails" in done.out


class Played(Local):
    """A machine whose probe says that it is emulated."""

    def get(self, source, target):
        super().get(source, target)
        if source.startswith("reply-"):
            reply = json.loads(target.read_text())
            if "emulated" in reply:
                target.write_text(json.dumps(reply | {"emulated": True}))


def test_emulated_device_prints_no_speed(tiny, tmp_path, device):
    device("played", Played)
    out = tmp_path / "out"
    done = command("benchmark", tiny.out, "--device", "played", "--out", out)
    assert done.code == 0, done.err
    found = told(out)
    assert all(one.emulated and one.latency_ms is None and one.p99 is None for one in found.files)
    assert found.worth[0].worth == "emulated"
    assert found.recommended is None
    rows = [line for line in done.out.splitlines() if line.startswith(("fp32", "int8"))]
    assert len(rows) == 2
    assert all("emulated" in row for row in rows)
    figures = "".join(rows).replace("fp32", "").replace("int8", "")
    assert "[" not in figures, "no interval of a time"
    assert " ms," not in done.out
    assert " of the time" not in done.out
    assert len(arrays(out)["fp32.samples_ns.0"]) == 64
    refused = command(
        "benchmark", tiny.out, "--device", "played", "--baseline", out, "--out", tmp_path / "again"
    )
    assert refused.code == 2
    assert "emulated" in refused.err


def test_emulated_arm64_runs_the_files(tiny, tmp_path, arm64, inventory):
    inventory(arm={"python": str(arm64)})
    done = command("benchmark", tiny.out, "--device", "arm", "--precision", "int8", "--out", tmp_path / "o")
    assert done.code == 0, done.err
    found = told(tmp_path / "o")
    assert found.facts.machine == "aarch64"
    assert found.files[0].emulated
    assert found.files[0].latency_ms is None


def test_baseline_whose_files_are_there_is_timed_in_turns(tiny, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    assert command("benchmark", tiny.out, "--out", first).code == 0
    done = command("benchmark", tiny.out, "--baseline", first / "benchmark.json", "--out", second)
    assert done.code == 0, done.err
    order = [line.split()[1] for line in done.err.splitlines() if "/4" in line]
    assert order == ["fp32", "int8", "baseline.fp32", "baseline.int8"]
    found = told(second)
    assert [one.precision for one in found.against] == ["fp32", "int8"]
    assert all(one.interleaved for one in found.against)
    assert all(one.verdict in ("better", "worse", "unchanged", "inconclusive") for one in found.against)
    assert "timed in turns" in done.out
    assert "baseline.int8.samples_ns.0" in arrays(second)


def test_baseline_whose_files_are_gone_is_compared_by_its_samples(tiny, tmp_path):
    run, first = shutil.copytree(tiny.out, tmp_path / "run"), tmp_path / "first"
    assert command("benchmark", run, "--precision", "fp32", "--out", first).code == 0
    shutil.rmtree(run)
    done = command("benchmark", tiny.out, "--baseline", first, "--out", tmp_path / "second")
    assert done.code == 0, done.err
    (against,) = told(tmp_path / "second").against
    assert (against.precision, against.interleaved) == ("fp32", False)
    assert "not in turns" in done.out
    (first / "benchmark.npz").write_bytes(b"another")
    done = command("benchmark", tiny.out, "--baseline", first, "--out", tmp_path / "third")
    assert done.code == 2
    assert "benchmark.npz was changed" in " ".join(done.err.split())
    assert not (tmp_path / "third").exists()


def test_baseline_of_another_file_is_not_taken_for_it(tiny, tmp_path):
    run, first = shutil.copytree(tiny.out, tmp_path / "run"), tmp_path / "first"
    assert command("benchmark", run / "models/student.fp32.onnx", "--out", first).code == 0
    model = onnx.load(run / "models/student.fp32.onnx")
    model.doc_string = "another"
    onnx.save(model, run / "models/student.fp32.onnx")
    done = command("benchmark", tiny.out, "--precision", "fp32", "--baseline", first, "--out", tmp_path / "o")
    assert done.code == 0, done.err
    assert not told(tmp_path / "o").against[0].interleaved


def test_baseline_of_another_input_size_is_refused_before_anything_is_timed(exported, tmp_path, monkeypatch):
    new, old = tmp_path / "new.onnx", tmp_path / "old.onnx"
    for path, size in ((new, 48), (old, 32)):
        model = onnx.load(exported("resnet8").path)
        for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
            dim.dim_value = size
        onnx.save(model, path)
    assert command("benchmark", old, "--out", tmp_path / "first").code == 0
    monkeypatch.delattr("calkd_edge.benchmarking.benchmark.time_in_turns")
    done = command("benchmark", new, "--baseline", tmp_path / "first", "--out", tmp_path / "second")
    assert done.code == 2, done.err
    assert "input of fp32 [3, 48, 48] uint8, baseline [3, 32, 32] uint8" in " ".join(done.err.split())
    assert not (tmp_path / "second").exists()


def test_a_file_with_a_little_external_data_is_timed_with_it(exported, tmp_path):
    model = onnx.load(exported("resnet8").path)
    bias = min(model.graph.initializer, key=lambda tensor: len(tensor.raw_data) or 10**9)
    onnx.external_data_helper.set_external_data(bias, "bias.bin")
    onnx.save(model, tmp_path / "net.onnx")
    first = command("benchmark", tmp_path / "net.onnx", "--out", tmp_path / "first")
    assert first.code == 0, first.err
    changed = bytearray((tmp_path / "bias.bin").read_bytes())
    changed[0] ^= 1
    (tmp_path / "bias.bin").write_bytes(changed)
    assert command("benchmark", tmp_path / "net.onnx", "--out", tmp_path / "again").code == 0
    digests = {told(tmp_path / name).files[0].source_sha256 for name in ("first", "again")}
    assert len(digests) == 2, "other numbers, another file"


def test_baseline_of_another_rate_is_refused_before_anything_is_timed(tiny, tmp_path):
    first = tmp_path / "first"
    assert command("benchmark", tiny.out, "--precision", "fp32", "--out", first).code == 0
    done = command("benchmark", tiny.out, "--baseline", first, "--rate", "50", "--out", tmp_path / "second")
    assert done.code == 2
    assert "rate 50 Hz, baseline back to back" in " ".join(done.err.split())
    assert "  1/" not in done.err
    assert not (tmp_path / "second").exists()


@pytest.mark.ssh
def test_board_over_ssh_is_benchmarked_and_cleaned(tiny, tmp_path, board, inventory):
    inventory(edge={"host": board.host})
    first, second = tmp_path / "first", tmp_path / "second"
    asked = ("benchmark", tiny.out, "--device", "edge", "--precision", "int8")
    done = command(*asked, "--out", first)
    assert done.code == 0, done.err
    found = told(first)
    assert found.device == "edge"
    assert all(one.latency_ms.samples >= 200 for one in found.files)
    assert list(board.cache.glob("sessions/*")) == []
    done = command(*asked, "--baseline", first, "--clean", "--out", second)
    assert done.code == 0, done.err
    assert all(one.interleaved for one in told(second).against)
    assert not board.cache.exists()


@pytest.mark.ssh
def test_cable_that_is_cut_leaves_nothing_half_written_and_the_next_run_works(
    tiny, tmp_path, board, inventory, monkeypatch
):
    inventory(edge={"host": board.host})
    out = tmp_path / "out"
    monkeypatch.setitem(LOADS, "quick", {**SHORT, "min_seconds": 60.0})
    timer = threading.Thread(target=cut_when_it_times, args=(board,))
    timer.start()
    done = command("benchmark", tiny.out, "--device", "edge", "--out", out)
    timer.join()
    assert done.code == 5, done.err
    assert "broke" in done.err
    assert not out.exists()
    monkeypatch.setitem(LOADS, "quick", SHORT)
    done = command("benchmark", tiny.out, "--device", "edge", "--out", out)
    assert done.code == 0, done.err
    assert told(out).files


def cut_when_it_times(board):
    """Pull the cable once a process is under way there."""
    end = time.monotonic() + 60
    while time.monotonic() < end and not list(board.cache.glob("sessions/*/job-2.json")):
        time.sleep(0.05)
    time.sleep(1.0)
    board.cut()


@pytest.mark.serial
def test_overhead_of_a_quick_benchmark_is_small(tiny, tmp_path):
    """A bound that holds on a busy machine too; the figure itself stands in benchmark.json."""
    done = command("benchmark", tiny.out, "--precision", "fp32", "--out", tmp_path / "out")
    assert done.code == 0, done.err
    spent = told(tmp_path / "out").seconds
    assert spent.whole == pytest.approx(
        spent.timed + spent.warmup + spent.idle + spent.building + spent.overhead
    )
    assert 0 < spent.overhead < 10


def test_quick_benchmark_times_three_processes_and_names_the_load_of_the_machine(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(PROCESSES, "quick", 3)
    done = command("benchmark", tiny.out, "--store", tiny.store, "--out", tmp_path)
    assert done.code == 0, done.err
    found = told(tmp_path)
    assert found.worth[0].ratio.processes == found.processes == 3
    assert found.others_cores >= 0
    kept = arrays(tmp_path)
    typical = [
        statistics.geometric_mean(np.median(kept[f"{name}.samples_ns.{n}"]) for n in range(3))
        for name in ("int8", "fp32")
    ]
    assert found.worth[0].ratio.value == pytest.approx(typical[0] / typical[1], rel=0.1)
    assert f"{found.worth[0].ratio.value:.2f} of the time" in found.worth[0].reason


def test_busy_machine_gives_no_verdict_and_a_pipeline_learns_it(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(PROCESSES, "quick", 2)
    command("benchmark", tiny.out, "--store", tiny.store, "--out", tmp_path / "before")
    loop = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        line = ("benchmark", tiny.out, "--store", tiny.store, "--baseline", tmp_path / "before")
        done = command(*line, "--out", tmp_path / "busy", "--fail-on-worse")
    finally:
        loop.kill()
        loop.wait()
    found = told(tmp_path / "busy")
    assert found.others_cores > 0.25
    assert [one.worth for one in found.worth] == ["undecided"]
    assert "the times do not decide: other work used" in found.worth[0].reason
    assert found.recommended is None
    assert {one.verdict for one in found.against} == {"inconclusive"}
    assert done.code == 4
    assert "the runs do not decide" in done.err


def test_fail_on_worse_needs_a_baseline(tmp_path):
    done = command("benchmark", tmp_path, "--fail-on-worse")
    assert done.code == 2
    assert "--baseline PATH" in done.err
