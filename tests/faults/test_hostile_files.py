"""Damaged and hostile files of each kind: read, or refused by a CalkdError, in bounded memory."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zipfile

import bundles
import hostile
import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from onnx import TensorProto
from PIL import Image

from calkd_edge.data.pixels import BrokenImage, decode_image
from calkd_edge.errors import CalkdError, RecipeError
from calkd_edge.external_models.predictions import read_predictions
from calkd_edge.files.arrays import map_array, read_array, read_arrays
from calkd_edge.files.bounded import Unreadable
from calkd_edge.files.zipped import MOST_LIST_BYTES, opened_zip, read_member
from calkd_edge.models.checkpoint import read_state
from calkd_edge.onnx_model.lint import lint
from calkd_edge.release.verification import problems_of

COUNTS = {"npz": 200, "onnx": 200, "checkpoint": 150, "image": 300, "classifier": 12}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", COUNTS)
def test_damaged_file_is_read_or_refused(kind, tmp_path):
    hostile.read_all(kind, 1, COUNTS[kind], tmp_path)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("kind", "count"), [("bundle", 200), ("release", 10)])
def test_damaged_bundle_is_read_and_run_or_refused(kind, count, tiny, tmp_path, monkeypatch):
    """Sums that fit the damage do not help it."""
    content = bundles.small(tiny.out / "bundle.zip")
    name, _, damage, reader = hostile.KINDS[kind]
    monkeypatch.setitem(hostile.KINDS, kind, (name, lambda: (content,), damage, reader))
    hostile.read_all(kind, 1, count, tmp_path)


def zipped(path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def header(kind, shape):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": kind, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


# --- bundles ---


def with_field(content, name, offsets, value):
    """A 16-bit field in both headers of a member."""
    changed = bytearray(content)
    for mark, at, length, begin in ((b"PK\3\4", offsets[0], 26, 30), (b"PK\1\2", offsets[1], 28, 46)):
        place = -1
        while (place := changed.find(mark, place + 1)) >= 0:
            size = struct.unpack_from("<H", changed, place + length)[0]
            if changed[place + begin : place + begin + size] == name:
                struct.pack_into("<H", changed, place + at, value)
    return bytes(changed)


@pytest.mark.parametrize(("offsets", "value"), [((6, 8), 1), ((8, 10), 99), ((8, 10), 8), ((8, 10), 14)])
def test_member_that_cannot_be_unpacked_is_a_problem_of_the_bundle(offsets, value, tiny, tmp_path):
    path = tmp_path / "bundle.zip"
    path.write_bytes(with_field((tiny.out / "bundle.zip").read_bytes(), b"student.fp32.onnx", offsets, value))
    assert any("student.fp32.onnx was altered" in problem for problem in problems_of(path))


@pytest.mark.parametrize(
    "manifest",
    [
        b"[" * 200_000,
        b'{"schema_version": 1, "files": {"model.onnx": "abc"}}',
        b'{"schema_version": 1, "files": [["model.onnx", {}]]}',
        b'{"schema_version": "1", "files": {}}',
        b"\xff",
        b"null",
    ],
)
def test_manifest_of_another_form_is_a_problem_of_the_bundle(manifest, tmp_path):
    assert problems_of(zipped(tmp_path / "bundle.zip", {"manifest.json": manifest, "SHA256SUMS": b""}))


def test_members_are_read_in_bounded_memory(tmp_path):
    huge = zipped(tmp_path / "huge.zip", {"manifest.json": bytes(300 << 20)}, zipfile.ZIP_DEFLATED)
    many = tmp_path / "many.zip"
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
    count = 1_000_000
    many.write_bytes(
        entry * count + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, len(entry) * count, 0, 0)
    )
    code = (
        "import sys; from calkd_edge.release.verification import problems_of\n"
        "import resource; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(problems_of(sys.argv[1]), problems_of(sys.argv[2]))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    line = [sys.executable, "-c", code, str(huge), str(many)]
    answer = subprocess.run(line, capture_output=True, text=True, check=True).stdout.splitlines()
    assert "not readable as a bundle's manifest" in answer[0]
    assert "it lists too many files" in answer[0]
    assert int(answer[1]) < 60_000  # kB


def test_zip_may_list_as_many_files_as_its_bound(tmp_path):
    path = zipped(tmp_path / "a.zip", {f"{number:05d}": b"" for number in range(10_000)} | {"a": b"12345"})
    with opened_zip(path) as archive:
        assert read_member(archive, "a") == b"12345"
        with pytest.raises(Unreadable, match="larger than 4 bytes"):
            read_member(archive, "a", most=4)
        with pytest.raises(Unreadable, match="no item named"):
            read_member(archive, "missing")
    assert path.stat().st_size < MOST_LIST_BYTES


# --- arrays ---


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"logits.npy": b"hello", "labels.npy": b"x"}, "EOF"),
        ({"logits.npy": header("<f4", (10**7, 10**6))}, "claims"),
        ({"logits.npy": header("<f4", (-1, 4)) + bytes(64)}, "claims"),
        ({"logits.npy": header("|O", (2,)) + bytes(64)}, "objects"),
        ({"logits.npy": header("<U1", (1,)) + b"\xff" * 4}, "no characters"),
        ({"logits.npy": b"\x93NUMPY\2\0" + b"\xff" * 4}, "the description of an array"),
        ({"logits.npy": b"\x93NUMPY\3\0" + bytes(64)}, "version"),
        ({"logits.npy": header("<f4", (4,)).replace(b"(4,)", b"(4,(")}, "logits"),
    ],
)
def test_array_that_the_file_does_not_hold_is_refused_by_name(members, reason, tmp_path):
    path = zipped(tmp_path / "predictions.npz", members)
    with pytest.raises(RecipeError, match="cannot be read: .*" + reason):
        read_predictions(path)


def test_predictions_without_dimensions_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", logits=np.float32(1), labels=np.int64(0))
    with pytest.raises(RecipeError, match="no list of predictions"):
        read_predictions(tmp_path / "a.npz")


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "values",
    [
        np.arange(24, dtype=">i4").reshape(2, 3, 4),
        np.zeros((0, 5), np.float32),
        np.float64(3),
        np.array(["a", "čž", ""]),
        np.arange(6, dtype=np.float16).reshape(3, 2),
    ],
)
def test_arrays_are_read_as_numpy_reads_them(values, order, tmp_path):
    values = np.asarray(values, order=order)
    np.save(tmp_path / "a.npy", values)
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", a=values, b=np.int8(1))
        stored = read_arrays(tmp_path / "a.npz")
        assert set(stored) == {"a", "b"}
        assert set(read_arrays((tmp_path / "a.npz").read_bytes(), ["b"])) == {"b"}
    for read in (stored["a"], read_array(tmp_path / "a.npy"), map_array(tmp_path / "a.npy")):
        assert (read.dtype, read.shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(read, values)


# --- models, checkpoints, images, parquet ---


@pytest.mark.parametrize("location", ["a\0b", "a" * 5000, "../a", ""])
def test_numbers_kept_elsewhere_are_refused_by_name(location, tmp_path):
    model = onnx.load_from_string(hostile.onnx_files()[0])
    tensor = next(item for item in model.graph.initializer if item.name == "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", location
    onnx.save(model, tmp_path / "model.onnx")
    with pytest.raises(RecipeError, match="'w'") as refused:
        lint(tmp_path / "model.onnx")
    assert len(refused.value.message) < 600


CYCLIC: dict[str, object] = {}
CYCLIC["model"] = CYCLIC


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (CYCLIC, "no state dict"),
        ({1: torch.zeros(2)}, "names a weight by 1"),
        ({"w": torch.zeros(1, dtype=torch.float16).expand(10**6, 10**6)}, "smaller than the weights"),
        ({"w": torch.zeros(3, 3).to(torch.float8_e4m3fn)}, "float8_e4m3fn"),
        ({"w": torch.zeros(3, 3, device="meta")}, "on meta"),
        ({"w": torch.zeros(3, dtype=torch.complex64)}, "complex64"),
    ],
)
def test_checkpoint_without_plain_weights_is_refused_by_name(content, problem, tmp_path):
    torch.save(content, tmp_path / "weights.pth")
    with pytest.raises(RecipeError, match=problem):
        read_state(tmp_path / "weights.pth", "teacher.weights")


@pytest.mark.parametrize(
    ("kind", "start"),
    [
        ("AVIF", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1"),
        ("DDS", b"DDS |\0\0\0"),
        ("BLP", b"BLP2\1\0\0\0"),
        ("PSD", b"8BPS\0\1"),
        ("ICO", b"\0\0\1\0\1\0"),
    ],
)
def test_image_of_another_format_is_named(kind, start, tmp_path):
    for content in (start + bytes(64), tmp_path / "a.jpg"):
        (tmp_path / "a.jpg").write_bytes(start + bytes(64))
        with pytest.raises(BrokenImage, match=f"{kind} is not supported"):
            decode_image(content, "a.jpg")


def test_gif_is_supported_and_its_damage_is_named():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "GIF")
    assert decode_image(buffer.getvalue(), "a.gif").size == (4, 4)
    with pytest.raises(BrokenImage):
        decode_image(buffer.getvalue()[:20], "a.gif")


COLUMNS = {
    "images as text": {"img": ["a"], "label": [0]},
    "images without bytes": {"img": [{"path": "a"}], "label": [0]},
    "labels as text": {"img": [{"bytes": b"a"}], "label": ["0"]},
    "labels as lists": {"img": [{"bytes": b"a"}], "label": [[0]]},
    "rows without a label": {"img": [{"bytes": b"a"}, {"bytes": b"a"}], "label": [0, None]},
}


@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
def test_parquet_of_another_form_is_refused(columns, tmp_path):
    from calkd_edge.data.cifar_parquet import read_part

    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(CalkdError, match="a.parquet"):
        read_part([tmp_path / "a.parquet"], label_column="label", classes=("a", "b"))


def test_parquet_with_deep_metadata_has_no_class_names(tmp_path):
    from calkd_edge.data.cifar_parquet import read_part

    table = pa.table({"img": [{"bytes": b"a"}], "label": [0]})
    table = table.replace_schema_metadata({"huggingface": "[" * 100_000})
    pq.write_table(table, tmp_path / "a.parquet")
    part = read_part([tmp_path / "a.parquet"], label_column="label", classes=("a", "b"))
    assert part.classes == ("a", "b")
