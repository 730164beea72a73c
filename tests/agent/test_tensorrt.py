"""TensorRT without a GPU: the build for real, by TensorRT for RTX; the run on host memory."""

from __future__ import annotations

import ctypes
import enum
import hashlib
import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import played_tensorrt
import pytest
from onnx import TensorProto, helper
from played_classifier import classifier_model

from calkd_edge.agent import engine
from calkd_edge.agent.cudart import Cudart
from calkd_edge.agent.problem import AgentProblem
from calkd_edge.agent.runtimes import open_runtime

SUPPORT = Path(__file__).parents[1] / "support"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("classifier") / "model.onnx"
    onnx.save(classifier_model(), path)
    return path


@pytest.fixture(scope="module")
def stub(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    target = tmp_path_factory.mktemp("stub") / "libcudart.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", target, SUPPORT / "cudart_stub.c"], check=True)
    return target


@pytest.fixture
def board(stub, monkeypatch):
    """A machine whose libcudart works on host memory and whose tensorrt is played."""
    monkeypatch.setenv("CALKD_CUDART", str(stub))
    monkeypatch.setitem(sys.modules, "tensorrt", played_tensorrt)
    monkeypatch.setattr(played_tensorrt.Context, "stub", ctypes.CDLL(str(stub)))
    return played_tensorrt.Context.stub


def engine_of(classifier: Path, folder: Path) -> tuple[str, dict[str, object]]:
    plan = played_tensorrt.plan(classifier.read_bytes())
    (folder / "model.engine").write_bytes(plan)
    options = {"sha256": hashlib.sha256(plan).hexdigest(), "max_images": played_tensorrt.MOST}
    return str(folder / "model.engine"), options


def images(count: int) -> np.ndarray:
    return RNG.integers(0, 256, (count, 3, 8, 8), dtype=np.uint8)


@pytest.mark.parametrize("graph", [False, True])
def test_engine_answers_what_its_model_does_for_any_number_of_images(graph, classifier, board, tmp_path):
    session = onnxruntime.InferenceSession(classifier, providers=["CPUExecutionProvider"])
    path, options = engine_of(classifier, tmp_path)
    with open_runtime("tensorrt", path, {**options, "cuda_graph": graph}) as runtime:
        for count in (1, 7, 3, 1, 1, 10, 3):
            given = images(count)
            outputs = runtime.infer(given)
            for name, values in zip(
                ("logits", "probabilities"), session.run(None, {"images": given}), strict=True
            ):
                np.testing.assert_array_equal(outputs[name], values)
        assert runtime.device_ms > 0
        assert runtime.session_options()["tensorrt"] == "10.3.0"
    assert board.stub_allocated() == 0, "memory was not given back"


def test_graph_is_replayed_for_the_number_of_images_it_was_captured_with(classifier, board, tmp_path):
    path, options = engine_of(classifier, tmp_path)
    with open_runtime("tensorrt", path, {**options, "cuda_graph": True}) as runtime:
        first, again = runtime.infer(images(1)), runtime.infer(images(1))
        assert runtime._captured == 1
        assert not np.array_equal(first["logits"], again["logits"]), "other images, the same answers"


@pytest.mark.parametrize("shape", [(played_tensorrt.MOST + 1, 3, 8, 8), (0, 3, 8, 8), (1, 3, 9, 8)])
def test_what_lies_outside_of_the_profile_is_refused(shape, classifier, board, tmp_path):
    path, options = engine_of(classifier, tmp_path)
    with open_runtime("tensorrt", path, options) as runtime:
        with pytest.raises(AgentProblem, match="not built for images of shape"):
            runtime.infer(np.zeros(shape, np.uint8))
        assert len(runtime.infer(images(2))["logits"]) == 2


def test_engine_with_another_sha256_is_never_opened(classifier, board, tmp_path):
    path, options = engine_of(classifier, tmp_path)
    with open(path, "ab") as handle:
        handle.write(b"x")
    with (
        pytest.raises(AgentProblem, match="not the engine that was built"),
        open_runtime("tensorrt", path, options),
    ):
        pass
    with pytest.raises(AgentProblem, match="not the engine"), open_runtime("tensorrt", path, {}):
        pass


def test_engine_for_another_machine_is_refused_with_what_tensorrt_says(board, tmp_path):
    (tmp_path / "other.engine").write_bytes(b"garbage")
    options = {"sha256": hashlib.sha256(b"garbage").hexdigest()}
    with (
        pytest.raises(AgentProblem, match="magicTag") as refused,
        open_runtime("tensorrt", str(tmp_path / "other.engine"), options),
    ):
        pass
    assert "build it again on this device" in refused.value.remedy


def test_old_tensorrt_is_refused_with_the_jetpack_to_install(board, monkeypatch):
    monkeypatch.setattr(played_tensorrt, "__version__", "8.6.2")
    with pytest.raises(AgentProblem, match="8.6.2 is too old") as refused:
        engine.load("tensorrt")
    assert "JetPack 6.1" in refused.value.remedy


def test_missing_tensorrt_says_where_it_comes_from(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(AgentProblem, match="cannot be imported") as refused:
        engine.load("tensorrt")
    assert "--system-site-packages" in refused.value.remedy


def test_missing_libcudart_names_the_package(monkeypatch):
    monkeypatch.setenv("CALKD_CUDART", "/nowhere/libcudart.so")
    with pytest.raises(AgentProblem, match="libcudart cannot be loaded") as refused:
        Cudart()
    assert "nvidia-cuda-runtime-cu12" in refused.value.remedy


def test_unknown_options_are_refused():
    with pytest.raises(AgentProblem, match="unknown option fp16"):
        open_runtime("tensorrt", "model.engine", {"fp16": True})


@pytest.fixture
def rtx():
    return pytest.importorskip("tensorrt_rtx", reason="needs the extra [trt-check]")


def built(model: Path, folder: Path, **options: object) -> dict[str, object]:
    job = {"model": str(model), "engine": str(folder / "model.engine"), "options": options}
    job["options"] = {"module": "tensorrt_rtx", "capability": "SM86", **options}
    return engine.build(job)


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning"
)  # the compiler for RTX keeps the timing cache as a no-op
def test_build_writes_the_file_whose_sha256_it_returns(rtx, classifier, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    reply = built(classifier, tmp_path, timing_cache="orin.cache")
    plan = (tmp_path / "model.engine").read_bytes()
    assert reply["sha256"] == hashlib.sha256(plan).hexdigest()
    assert reply["size_bytes"] == len(plan) > 1000
    assert reply["tensorrt"] == rtx.__version__
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "model.engine"]
    assert [path.name for path in tmp_path.rglob("*.cache")] == ["orin.cache"]
    assert built(classifier, tmp_path, timing_cache="orin.cache")["seconds"] > 0


@pytest.mark.parametrize(
    "options", [{"module": "antigravity"}, {"timing_cache": "../.bashrc"}, {"timing_cache": 7}]
)
def test_options_name_no_program_and_no_place(tmp_path, options):
    with pytest.raises(AgentProblem, match=f"{[*options][0]} cannot be"):
        engine.build({"model": "absent", "engine": str(tmp_path / "model.engine"), "options": options})


def test_file_that_the_parser_refuses_names_the_node(rtx, tmp_path):
    node = helper.make_node("Det", ["x"], ["y"], "determinant")
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", *rest])
        for name, rest in (("x", [3, 3]), ("y", []))
    ]
    graph = helper.make_graph([node], "by_hand", values[:1], values[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10),
        tmp_path / "m.onnx",
    )
    with pytest.raises(AgentProblem, match=r"determinant \(Det\)"):
        built(tmp_path / "m.onnx", tmp_path)
    assert not (tmp_path / "model.engine").exists()


def test_card_that_the_compiler_cannot_build_for_is_an_error(rtx, classifier, tmp_path):
    with pytest.raises(AgentProblem, match="cannot build"):
        built(classifier, tmp_path, capability="SM75")
    assert not (tmp_path / "model.engine").exists()


def test_dla_is_refused_where_there_is_none(rtx, classifier, tmp_path):
    with pytest.raises(AgentProblem, match="no DLA core 0"):
        built(classifier, tmp_path, dla_core=0)


def test_real_engine_is_not_opened_without_a_driver(rtx, classifier, stub, tmp_path, monkeypatch):
    if Path("/proc/driver/nvidia").exists():
        pytest.skip("there is a driver")
    monkeypatch.setenv("CALKD_CUDART", str(stub))
    reply = built(classifier, tmp_path)
    options = {"module": "tensorrt_rtx", "sha256": reply["sha256"]}
    with (
        pytest.raises(AgentProblem, match="CUDA"),
        open_runtime("tensorrt", str(tmp_path / "model.engine"), options),
    ):
        pass


RUN = {
    "Runtime": ("deserialize_cuda_engine",),
    "ICudaEngine": (
        "num_io_tensors",
        "get_tensor_name",
        "get_tensor_mode",
        "get_tensor_dtype",
        "get_tensor_profile_shape",
        "create_execution_context",
    ),
    "IExecutionContext": (
        "set_input_shape",
        "infer_shapes",
        "get_tensor_shape",
        "set_tensor_address",
        "execute_async_v3",
    ),
    "TensorIOMode": ("INPUT",),
}
BUILD = {
    "Builder": (
        "create_network",
        "create_builder_config",
        "create_optimization_profile",
        "build_serialized_network",
        "num_DLA_cores",
    ),
    "OnnxParser": ("parse_from_file", "num_errors", "get_error"),
    "ParserError": ("node_name", "node_operator", "desc"),
    "IBuilderConfig": (
        "set_memory_pool_limit",
        "profiling_verbosity",
        "builder_optimization_level",
        "add_optimization_profile",
        "clear_flag",
        "default_device_type",
        "DLA_core",
        "create_timing_cache",
        "set_timing_cache",
        "get_timing_cache",
    ),
    "IOptimizationProfile": ("set_shape",),
    "MemoryPoolType": ("WORKSPACE",),
    "ProfilingVerbosity": ("DETAILED",),
    "DeviceType": ("DLA",),
    "BuilderFlag": ("TF32",),
}


@pytest.mark.parametrize(
    ("module", "wanted"),
    [("tensorrt_rtx", {**RUN, **BUILD}), ("tensorrt_lean", RUN)],
)
def test_every_name_in_use_exists_in_the_real_classes(module, wanted):
    trt = pytest.importorskip(module, reason="needs the extra [trt-check]")
    absent = [
        f"{kind}.{name}"
        for kind, names in wanted.items()
        for name in names
        if not hasattr(getattr(trt, kind), name)
    ]
    assert not absent
    assert hasattr(trt, "nptype")


def test_what_is_played_has_no_name_that_the_real_classes_lack(rtx):
    for played, real in (
        (played_tensorrt.Engine, rtx.ICudaEngine),
        (played_tensorrt.Context, rtx.IExecutionContext),
        (played_tensorrt.Runtime, rtx.Runtime),
    ):
        names = {name for name in vars(played) if not name.startswith("_")} - {"types", "stub"}
        assert not {name for name in names if not hasattr(real, name)}


def test_agent_builds_by_its_verb(rtx, classifier, tmp_path):
    """As a board would be asked: one job file, one reply."""
    import json

    from calkd_edge.agent import PROTOCOL
    from calkd_edge.agent.__main__ import main

    job = {"protocol": PROTOCOL, "model": str(classifier), "engine": str(tmp_path / "model.engine")}
    job["options"] = {"module": "tensorrt_rtx", "capability": "SM89"}
    (tmp_path / "job.json").write_text(json.dumps(job))
    assert main(["build", str(tmp_path / "job.json"), str(tmp_path / "reply.json")]) == 0
    reply = json.loads((tmp_path / "reply.json").read_text())
    assert reply["sha256"] == hashlib.sha256((tmp_path / "model.engine").read_bytes()).hexdigest()
    assert importlib.import_module("tensorrt_rtx").__version__ == reply["tensorrt"]


def refuse(*given):
    given[-1].log(played_tensorrt.ILogger.Severity.ERROR, "CUDA initialization failure with error: 100")
    raise TypeError("pybind11::init(): factory function returned nullptr")


def test_builder_without_a_gpu_names_the_groups_and_tensorrts_words(board, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(played_tensorrt.Builder, "__init__", refuse)
    job = {"model": str(classifier), "engine": str(tmp_path / "e"), "options": {}}
    with pytest.raises(AgentProblem, match="Builder: CUDA initialization failure with error: 100") as refused:
        engine.build(job)
    assert "usermod -aG video,render" in refused.value.remedy


def test_runtime_without_a_gpu_names_the_groups_and_tensorrts_words(board, classifier, tmp_path, monkeypatch):
    path, options = engine_of(classifier, tmp_path)
    monkeypatch.setattr(played_tensorrt.Runtime, "__init__", refuse)
    with pytest.raises(AgentProblem, match="Runtime: CUDA initialization failure with error: 100") as refused:
        open_runtime("tensorrt", path, options).__enter__()
    assert "usermod -aG video,render" in refused.value.remedy


def test_context_that_cannot_be_created_is_an_error(board, classifier, tmp_path, monkeypatch):
    path, options = engine_of(classifier, tmp_path)
    monkeypatch.setattr(played_tensorrt.Engine, "create_execution_context", lambda self: None)
    with pytest.raises(AgentProblem, match="execution context"):
        open_runtime("tensorrt", path, options).__enter__()


def test_run_that_fails_gives_tensorrts_last_error(board, classifier, tmp_path, monkeypatch):
    path, options = engine_of(classifier, tmp_path)
    with open_runtime("tensorrt", path, options) as runtime:

        def fail(stream):
            runtime.logger.log(played_tensorrt.ILogger.Severity.ERROR, "enqueueV3: out of memory")
            return False

        monkeypatch.setattr(runtime.context, "execute_async_v3", fail)
        with pytest.raises(AgentProblem, match="enqueueV3: out of memory"):
            runtime.infer(images(1))


def test_fp32_is_built_without_tf32(board, classifier, tmp_path, monkeypatch):
    seen = []

    def build(self, network, settings):
        seen.append(set(self.flags))
        return played_tensorrt.plan(network.model)

    monkeypatch.setattr(played_tensorrt.Builder, "build_serialized_network", build)
    engine.build({"model": str(classifier), "engine": str(tmp_path / "e"), "options": {}})
    assert seen == [set()]


def test_libcudart_of_pip_is_loaded(stub, tmp_path, monkeypatch):
    folder = tmp_path / "nvidia" / "cuda_runtime" / "lib"
    folder.mkdir(parents=True)
    shutil.copy(stub, folder / "libcudart.so.12")
    monkeypatch.delenv("CALKD_CUDART", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("calkd_edge.agent.cudart.NAMES", ())
    Cudart().close()


def test_engine_that_is_timed_with_one_image_is_built_for_one(board, classifier, tmp_path):
    job = {"model": str(classifier), "engine": str(tmp_path / "e"), "options": {}}
    sha256 = engine.build(job)["sha256"]
    with open_runtime("tensorrt", str(tmp_path / "e"), {"sha256": sha256}) as runtime:
        assert runtime.fixed == 1
        assert runtime._sizes["images"] == 3 * 8 * 8, "memory for more images than one"


def test_dla_gets_one_shape(board, classifier, tmp_path, monkeypatch):
    monkeypatch.setattr(played_tensorrt.Builder, "num_DLA_cores", 2)
    monkeypatch.setattr(played_tensorrt, "DeviceType", enum.Enum("DeviceType", "GPU DLA"), raising=False)
    options = {"dla_core": 1, "max_images": 8}
    engine.build({"model": str(classifier), "engine": str(tmp_path / "e"), "options": options})
    assert (tmp_path / "e").read_bytes().startswith(played_tensorrt.MAGIC + b"00080008")


def test_timed_runs_of_one_shape_prepare_nothing(board, classifier, tmp_path, monkeypatch):
    path, options = engine_of(classifier, tmp_path)
    with open_runtime("tensorrt", path, options) as runtime:
        runtime.infer(images(1))
        for name in ("set_input_shape", "infer_shapes", "get_tensor_shape"):
            monkeypatch.setattr(runtime.context, name, None)
        monkeypatch.setattr(runtime.context, "_run", lambda: None)
        monkeypatch.setattr(runtime.cuda, "marked_ms", None)
        runtime.infer(images(1))
