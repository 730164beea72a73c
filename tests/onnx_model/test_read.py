"""Files that are cut, damaged or meant to harm: refused before their claims cost anything."""

from __future__ import annotations

import resource
import shlex
import subprocess
import sys
import textwrap

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tiny_run import command

from calkd_edge.errors import RecipeError
from calkd_edge.files import sha256_of
from calkd_edge.onnx_model.lint import lint
from calkd_edge.onnx_model.read import content_sha256, read_onnx
from calkd_edge.onnx_model.sizes import LARGEST_VALUE

WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3)


def model(weight: onnx.TensorProto | None = None, *, nodes=None, sizes=("n", 4)) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes or [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "by_hand",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(sizes))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [weight or numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def elsewhere(location: str, dims=(4, 3), **entries: object) -> onnx.TensorProto:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, data_location=TensorProto.EXTERNAL)
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def saved(folder, proto: onnx.ModelProto):
    (folder / "m.onnx").write_bytes(proto.SerializeToString())
    return folder / "m.onnx"


def test_a_file_with_external_data_is_read_completely(tmp_path):
    (tmp_path / "w.bin").write_bytes(b"\0" * 8 + WEIGHT.tobytes())
    read = read_onnx(saved(tmp_path, model(elsewhere("w.bin", offset=8, length=48))))
    (tensor,) = read.graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(tensor), WEIGHT)
    assert tensor.data_location == TensorProto.DEFAULT
    assert not tensor.external_data


def test_the_digest_of_a_model_is_that_of_its_file_and_of_all_its_data(tmp_path):
    plain = saved(tmp_path, model())
    assert content_sha256(plain) == sha256_of(plain), "fingerprints of before stay"
    folders = [tmp_path / name for name in ("first", "elsewhere", "changed")]
    for folder in folders:
        folder.mkdir()
        saved(folder, model(elsewhere("w.bin")))
        (folder / "w.bin").write_bytes((WEIGHT + (folder.name == "changed")).tobytes())
    digests = [content_sha256(folder / "m.onnx") for folder in folders]
    assert digests[0] == digests[1] != digests[2]
    assert len({sha256_of(folder / "m.onnx") for folder in folders}) == 1
    assert lint(folders[0] / "m.onnx").sha256 == digests[0]


@pytest.mark.parametrize("location", ["../secret.bin", "/dev/zero", "none.bin", ""])
def test_for_its_digest_nothing_outside_of_a_models_folder_is_read(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    (tmp_path / "model").mkdir()
    path = saved(tmp_path / "model", model(elsewhere(location)))
    assert content_sha256(path) == sha256_of(path), "read_onnx refuses it"


@pytest.mark.parametrize("kind", sorted(set(TensorProto.DataType.values()) - {TensorProto.UNDEFINED}))
def test_every_kind_of_number_is_read_as_typed_or_raw_data(tmp_path, kind):
    count = 8
    typed = TensorProto(name="w", data_type=kind, dims=[count])
    if kind == TensorProto.STRING:
        typed.string_data.extend([b"a"] * count)
    else:
        numbers = np.ones(count).astype(helper.tensor_dtype_to_np_dtype(kind))
        raw = numpy_helper.from_array(numbers, "w")
        typed = helper.make_tensor("w", kind, [count], numbers)
        read_onnx(saved(tmp_path, model(raw)))
    read_onnx(saved(tmp_path, model(typed)))


def test_open_sizes_below_zero_are_left_out(tmp_path):
    (value,) = read_onnx(saved(tmp_path, model(sizes=(-1, 4)))).graph.input
    assert not value.type.tensor_type.shape.dim[0].HasField("dim_value")


def four_gigabytes() -> onnx.ModelProto:
    return model(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[2**15, 2**15], raw_data=b"\0" * 48))


def a_claim_in_a_constant() -> onnx.ModelProto:
    claim = TensorProto(data_type=TensorProto.INT64, dims=[2**40], raw_data=b"\0" * 8)
    return model(nodes=[helper.make_node("Constant", [], ["y"], value=claim)])


def a_value_that_no_memory_holds() -> onnx.ModelProto:
    shape = numpy_helper.from_array(np.array([2**20, 2**20]), "w")
    return model(shape, nodes=[helper.make_node("ConstantOfShape", ["w"], ["y"])])


PIXELS = [
    helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
    helper.make_node("Cast", ["most"], ["bright"], to=TensorProto.BOOL),
    helper.make_node("Cast", ["most"], ["count"], to=TensorProto.INT64),
    helper.make_node("Expand", ["count", "w"], ["counts"]),
]
"""What is computed of the pixels: a condition, and the sizes of a value."""


def a_value_in_a_branch() -> onnx.ModelProto:
    branch_value = helper.make_tensor_value_info("filled", TensorProto.FLOAT, None)
    branches = [
        helper.make_graph([helper.make_node(kind, [operand], ["filled"])], kind, [], [branch_value])
        for kind, operand in (("ConstantOfShape", "w"), ("Identity", "x"))
    ]
    chosen = helper.make_node("If", ["bright"], ["y"], then_branch=branches[0], else_branch=branches[1])
    return model(numpy_helper.from_array(np.array([2**17, 2**17]), "w"), nodes=[*PIXELS[:2], chosen])


def a_value_in_a_function() -> onnx.ModelProto:
    filled = model(
        numpy_helper.from_array(np.array([2**17, 2**17]), "w"),
        nodes=[helper.make_node("Fill", ["w"], ["y"], domain="own")],
    )
    opset, function_node = helper.make_opsetid("", 20), helper.make_opsetid("own", 1)
    body = [helper.make_node("ConstantOfShape", ["a"], ["b"])]
    filled.functions.append(helper.make_function("own", "Fill", ["a"], ["b"], body, [opset]))
    filled.opset_import.append(function_node)
    return filled


def a_value_of_the_size_of_a_pixel() -> onnx.ModelProto:
    nodes = [PIXELS[0], *PIXELS[2:], helper.make_node("ConstantOfShape", ["counts"], ["y"])]
    return model(numpy_helper.from_array(np.array([2]), "w"), nodes=nodes)


HOSTILE = {
    "4 GiB claimed": (four_gigabytes, "claims 4,294,967,296 bytes"),
    "a claim in a Constant": (a_claim_in_a_constant, "claims 8,796,093,022,208 bytes"),
    "a value of 4 TiB": (a_value_that_no_memory_holds, "would have 1,099,511,627,776 elements"),
    "a value of 64 GiB in a branch": (a_value_in_a_branch, "would have 17,179,869,184 elements"),
    "a value of 64 GiB in a function": (a_value_in_a_function, "would have 17,179,869,184 elements"),
    "a value of the size of a pixel": (a_value_of_the_size_of_a_pixel, "is unknown"),
    "an image of 2**40 pixels": (lambda: model(sizes=("n", 3, 2**20, 2**20)), "elements"),
    "fewer numbers than claimed": (
        lambda: model(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 3], float_data=[1.0])),
        "claims 48 bytes",
    ),
    "a size below zero": (
        lambda: model(TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[-4, 3])),
        r"sizes \[-4, 3\]",
    ),
    "an unknown type": (lambda: model(TensorProto(name="w", data_type=99, dims=[1])), "unknown type 99"),
    "numbers from above": (lambda: model(elsewhere("../secret.bin")), "outside the model's folder"),
    "numbers from anywhere": (lambda: model(elsewhere("/etc/passwd")), "outside the model's folder"),
    "numbers from a link": (lambda: model(elsewhere("link.bin")), "outside the model's folder"),
    "numbers from nowhere": (lambda: model(elsewhere("")), "names no file for its numbers"),
    "numbers that are missing": (lambda: model(elsewhere("absent.bin")), "absent.bin is missing"),
    "a short file of numbers": (lambda: model(elsewhere("short.bin")), "claims 48 bytes"),
    "a place behind the end": (lambda: model(elsewhere("whole.bin", offset=8)), "from 8 on"),
    "a place before the start": (lambda: model(elsewhere("whole.bin", offset=-8)), "from -8 on"),
    "another length": (lambda: model(elsewhere("whole.bin", length=40)), "claims 48 bytes"),
    "a place that is no number": (lambda: model(elsewhere("whole.bin", offset="x")), "external data at"),
}


@pytest.fixture
def folder(tmp_path):
    inside = tmp_path / "inside"
    inside.mkdir()
    (tmp_path / "secret.bin").write_bytes(WEIGHT.tobytes())
    (inside / "link.bin").symlink_to(tmp_path / "secret.bin")
    (inside / "short.bin").write_bytes(b"\0" * 40)
    (inside / "whole.bin").write_bytes(WEIGHT.tobytes())
    return inside


@pytest.mark.parametrize("name", HOSTILE)
def test_claims_that_do_not_hold_are_refused(name, folder):
    build, message = HOSTILE[name]
    path = saved(folder, build())
    before = sorted(folder.parent.rglob("*"))
    with pytest.raises(RecipeError, match=message) as refused:
        read_onnx(path)
    assert refused.value.remedy
    assert sorted(folder.parent.rglob("*")) == before, "something was written"


def test_refusing_costs_no_memory(folder):
    """The largest claims, each read in a process of its own."""
    large = ("4 GiB claimed", "a claim in a Constant", "a value of 4 TiB", "an image of 2**40 pixels")
    for name in (*large, "a value of 64 GiB in a branch", "a value of 64 GiB in a function"):
        path = saved(folder, HOSTILE[name][0]())
        script = f"""
            import resource
            from calkd_edge.onnx_model.read import read_onnx
            from calkd_edge.errors import RecipeError
            from pathlib import Path
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            try:
                read_onnx(Path({str(path)!r}))
            except RecipeError:
                print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(script)],
            capture_output=True,
            text=True,
            check=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 * 2**30, 4 * 2**30)),
        )
        assert int(done.stdout) < 64 * 1024, f"{name}: {done.stdout} KiB more"


@pytest.mark.parametrize("share", [0.0, 0.01, 0.3, 0.9, 0.999])
def test_a_file_that_is_cut_short_is_refused(share, tmp_path):
    content = saved(tmp_path, model()).read_bytes()
    (tmp_path / "m.onnx").write_bytes(content[: int(share * len(content))])
    with pytest.raises(RecipeError, match="not a readable ONNX file"):
        read_onnx(tmp_path / "m.onnx")


def test_damaged_bytes_are_refused_or_read_completely(tmp_path):
    content, rng = bytearray(saved(tmp_path, model()).read_bytes()), np.random.default_rng(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for position in rng.integers(0, len(content), 3):
            damaged[position] = rng.integers(0, 256)
        (tmp_path / "m.onnx").write_bytes(bytes(damaged))
        try:
            read = read_onnx(tmp_path / "m.onnx")
        except RecipeError:
            refused += 1
        else:
            assert all(np.prod(tensor.dims) <= LARGEST_VALUE for tensor in read.graph.initializer)
    assert 30 < refused < 300


@pytest.mark.parametrize("arguments", [("lint",), ("calibrate", "--data", "synthetic", "--model")])
def test_commands_refuse_them_with_exit_2(arguments, folder):
    done = command(*arguments, saved(folder, four_gigabytes()))
    assert done.code == 2
    assert "claims 4,294,967,296 bytes" in done.err
    assert "error" in done.err


def test_what_is_no_file_is_refused(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    for path, words in ((tmp_path, "is a folder"), (tmp_path / "none.onnx", "there is no file")):
        with pytest.raises(RecipeError, match=words):
            read_onnx(path)
    with pytest.raises(RecipeError, match="not a readable ONNX file"):
        read_onnx(tmp_path / "text.onnx")


def test_a_link_that_was_stored_as_text_is_named_and_its_remedy_works(tmp_path):
    """A cache of downloads that was copied or checked out without its links."""
    blobs, folder = tmp_path / "blobs", tmp_path / "snapshots" / "abc"
    blobs.mkdir()
    folder.mkdir(parents=True)
    (blobs / "aaa").write_bytes(model(elsewhere("w.bin", length=48)).SerializeToString())
    (blobs / "bbb").write_bytes(np.ones((4, 3), np.float32).tobytes())
    (folder / "m.onnx").write_text("../../blobs/aaa")
    (folder / "w.bin").write_text("../../blobs/bbb\n")
    for _ in range(2):
        with pytest.raises(RecipeError, match="a link that was stored as text") as refused:
            read_onnx(folder / "m.onnx")
        assert refused.value.remedy is not None
        subprocess.run(shlex.split(refused.value.remedy.partition(": ")[2]), check=True)
    (tensor,) = read_onnx(folder / "m.onnx").graph.initializer
    assert tensor.raw_data == (blobs / "bbb").read_bytes()
