"""CIFAR from small archives and parquet files in the official forms, read by the real code."""

import dataclasses
import hashlib
import http.server
import io
import json
import pickle
import struct
import sys
import tarfile
import threading
import types

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from calkd_edge.data import cifar
from calkd_edge.data.cifar import Cifar10, Cifar100
from calkd_edge.data.cifar_classes import CIFAR10_CLASSES, CIFAR100_CLASSES
from calkd_edge.data.source import BrokenImage
from calkd_edge.errors import EnvironmentProblem, RecipeError

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(0, 256, (20, 3, 32, 32), np.uint8)
TEST = RNG.integers(0, 256, (8, 3, 32, 32), np.uint8)
TRAIN_LABELS, TEST_LABELS = np.arange(20) % 10, np.arange(8) % 10


def ignore(done, total):
    pass


# --- the official form: pickles as Python 2 wrote them ---


class Python2Pickler(pickle._Pickler):
    """Writes byte strings, arrays and dtypes with the opcodes and names of Python 2 and its numpy."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, value):
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    def save_text(self, value):
        self.save_bytes(value.encode())

    dispatch[bytes], dispatch[str] = save_bytes, save_text

    def reducer_override(self, value):
        if isinstance(value, np.dtype):
            return GLOBALS["dtype"], (value.str[1:], 0, 1), (3, "|", None, None, None, -1, -1, 0)
        if isinstance(value, np.ndarray):
            state = (1, value.shape, value.dtype, False, value.tobytes())
            return GLOBALS["_reconstruct"], (np.ndarray, (0,), b"b"), state
        return NotImplemented

    def save_global(self, value, name=None):
        module, name = {
            GLOBALS["dtype"]: ("numpy", "dtype"),
            GLOBALS["_reconstruct"]: ("numpy.core.multiarray", "_reconstruct"),
            np.ndarray: ("numpy", "ndarray"),
        }.get(value, (value.__module__, value.__name__))
        self.write(pickle.GLOBAL + f"{module}\n{name}\n".encode())
        self.memoize(value)

    dispatch[type] = dispatch[types.FunctionType] = save_global


def _dtype(*_arguments):
    raise AssertionError("only a name to pickle by")


GLOBALS = {"dtype": _dtype, "_reconstruct": np.empty(0).__reduce__()[0]}


def python2_pickle(content):
    stream = io.BytesIO()
    pickler = Python2Pickler(stream, protocol=2)
    pickler.dump(content)
    return stream.getvalue()


def write_archive(path, members):
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return hashlib.md5(path.read_bytes()).hexdigest()


def part(images, labels, key):
    return python2_pickle(
        {"data": images.reshape(len(images), -1), key: labels.tolist(), "filenames": ["x.png"]}
    )


def members_of_cifar100(test=None):
    names = python2_pickle({"fine_label_names": list(CIFAR100_CLASSES), "coarse_label_names": ["fish"]})
    return {
        "cifar-100-python/train": part(TRAIN, TRAIN_LABELS, "fine_labels"),
        "cifar-100-python/test": test or part(TEST, TEST_LABELS, "fine_labels"),
        "cifar-100-python/meta": names,
    }


def with_facts(kind, **facts):
    """The same data set for an archive with another checksum, or from another server."""
    return type(kind.__name__, (kind,), {"facts": dataclasses.replace(kind.facts, **facts)})


def open_source(dataset):
    return dataset.open(dataset.root, ignore)


def assert_holds_the_images(source):
    assert source.labels.tolist() == [*TRAIN_LABELS, *TEST_LABELS]
    assert source.official_test.tolist() == [False] * 20 + [True] * 8
    assert (np.stack([source.decode(i) for i in range(28)]) == np.concatenate([TRAIN, TEST])).all()
    assert source.name_of(19) == "train/19"
    assert source.name_of(20) == "test/0"


def test_the_official_cifar100_archive_is_read(tmp_path):
    md5 = write_archive(tmp_path / "cifar-100-python.tar.gz", members_of_cifar100())
    dataset = with_facts(Cifar100, md5=md5)(tmp_path)
    source = open_source(dataset)
    assert_holds_the_images(source)
    assert source.classes == CIFAR100_CLASSES
    assert dataset.identity() == f"cifar100:archive:md5:{md5}"


def test_the_official_cifar10_archive_is_read(tmp_path):
    batches = {
        f"cifar-10-batches-py/data_batch_{n + 1}": part(
            TRAIN[n * 4 : n * 4 + 4], TRAIN_LABELS[n * 4 : n * 4 + 4], "labels"
        )
        for n in range(5)
    }
    others = {
        "cifar-10-batches-py/test_batch": part(TEST, TEST_LABELS, "labels"),
        "cifar-10-batches-py/batches.meta": python2_pickle({"label_names": list(CIFAR10_CLASSES)}),
    }
    (tmp_path / "cifar10").mkdir()
    md5 = write_archive(tmp_path / "cifar10" / "cifar-10-python.tar.gz", {**batches, **others})
    source = open_source(with_facts(Cifar10, md5=md5)(tmp_path))
    assert_holds_the_images(source)
    assert source.classes == CIFAR10_CLASSES


class Evil:
    def __reduce__(self):
        return print, ("this code must never run",)


@pytest.mark.parametrize("content", [Evil(), {"data": Evil()}, {"data": [Evil()], "fine_labels": [0]}])
def test_a_pickle_that_would_run_code_is_refused(tmp_path, capsys, content):
    members = members_of_cifar100(test=pickle.dumps(content, protocol=2))
    md5 = write_archive(tmp_path / "cifar-100-python.tar.gz", members)
    with pytest.raises(EnvironmentProblem, match="print, which no data needs"):
        open_source(with_facts(Cifar100, md5=md5)(tmp_path))
    assert capsys.readouterr().out == ""


def test_an_archive_with_another_checksum_is_refused_before_it_is_read(tmp_path):
    write_archive(tmp_path / "cifar-100-python.tar.gz", members_of_cifar100())
    with pytest.raises(EnvironmentProblem, match="eb9058c3a382ffc7106e4002c42a8d85") as refused:
        open_source(Cifar100(tmp_path))
    assert "www.cs.toronto.edu" in refused.value.remedy


def test_an_archive_without_a_member_is_refused(tmp_path):
    members = members_of_cifar100()
    del members["cifar-100-python/meta"]
    md5 = write_archive(tmp_path / "cifar-100-python.tar.gz", members)
    with pytest.raises(EnvironmentProblem, match="meta"):
        open_source(with_facts(Cifar100, md5=md5)(tmp_path))


def test_the_archive_is_downloaded_into_an_empty_root(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    (tmp_path / "served").mkdir()
    md5 = write_archive(tmp_path / "served" / "cifar-100-python.tar.gz", members_of_cifar100())

    class Files(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(tmp_path / "served"))

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        here = with_facts(Cifar100, md5=md5, url=f"http://127.0.0.1:{server.server_port}")
        before = here(tmp_path / "root").identity()
        assert not (tmp_path / "root").exists()
        try:
            source = open_source(here(tmp_path / "root"))
        finally:
            server.shutdown()
            thread.join()
    assert_holds_the_images(source)
    assert here(tmp_path / "root").identity() == before


def test_without_network_both_remedies_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    nowhere = with_facts(Cifar100, url="http://127.0.0.1:9")
    with pytest.raises(EnvironmentProblem) as offline:
        open_source(nowhere(tmp_path))
    assert offline.value.exit_code == 6
    assert f"copy http://127.0.0.1:9/cifar-100-python.tar.gz into {tmp_path}" in offline.value.remedy
    assert "--set data.root=DIR" in offline.value.remedy


# --- the hub's parquet layout ---


def png(image):
    stream = io.BytesIO()
    Image.fromarray(image.transpose(1, 2, 0)).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(folder, *, column="fine_label", names=None, parts=("train", "test"), split_train=False):
    folder.mkdir(parents=True, exist_ok=True)
    for name, images, labels in (("train", TRAIN, TRAIN_LABELS), ("test", TEST, TEST_LABELS)):
        rows = [{"bytes": png(image), "path": None} for image in images]
        table = pa.table({"img": rows, column: labels, "other": [0] * len(rows)})
        if names:
            features = {column: {"names": list(names), "_type": "ClassLabel"}}
            table = table.replace_schema_metadata(
                {"huggingface": json.dumps({"info": {"features": features}})}
            )
        pieces = [table[:13], table[13:]] if name == "train" and split_train else [table]
        for number, piece in enumerate(pieces if name in parts else []):
            pq.write_table(piece, folder / f"{name}-{number:05d}-of-{len(pieces):05d}.parquet")


@pytest.mark.parametrize("folder", [".", "cifar100", "data", "cifar100/data"])
@pytest.mark.parametrize("split_train", [False, True])
def test_parquet_is_read_from_every_usual_folder(tmp_path, folder, split_train):
    write_parquet(tmp_path / folder, names=[f"c{i}" for i in range(10)], split_train=split_train)
    source = open_source(Cifar100(tmp_path))
    assert_holds_the_images(source)
    assert source.classes == tuple(f"c{i}" for i in range(10))


def test_parquet_of_cifar10_falls_back_to_the_known_names(tmp_path):
    write_parquet(tmp_path / "cifar10" / "plain_text", column="label")
    source = open_source(Cifar10(tmp_path))
    assert_holds_the_images(source)
    assert source.classes == CIFAR10_CLASSES


def test_the_identity_of_parquet_depends_on_content_not_on_path(tmp_path):
    write_parquet(tmp_path / "a")
    write_parquet(tmp_path / "b" / "data")
    write_parquet(tmp_path / "c", names=CIFAR100_CLASSES)
    here, there, other = (Cifar100(tmp_path / name).identity() for name in "abc")
    assert here == there
    assert here != other
    assert str(tmp_path) not in here


def test_the_archive_is_preferred_to_parquet(tmp_path):
    write_parquet(tmp_path)
    md5 = write_archive(tmp_path / "cifar-100-python.tar.gz", members_of_cifar100())
    dataset = with_facts(Cifar100, md5=md5)(tmp_path)
    assert "archive" in dataset.identity()
    assert "archive" in open_source(dataset).shape_note


def test_a_broken_image_in_parquet_is_named_when_it_is_decoded(tmp_path):
    write_parquet(tmp_path)
    rows = [{"bytes": b"nothing", "path": None}, {"bytes": png(TEST[1, :, :16]), "path": None}]
    pq.write_table(pa.table({"img": rows, "fine_label": [0, 1]}), tmp_path / "test-00000-of-00001.parquet")
    source = open_source(Cifar100(tmp_path))
    with pytest.raises(BrokenImage, match="test/0"):
        source.decode(20)
    with pytest.raises(BrokenImage, match=r"test/1.*\(32, 16\)"):
        source.decode(21)


def test_parquet_of_the_other_cifar_is_refused(tmp_path):
    write_parquet(tmp_path, column="fine_label")
    with pytest.raises(RecipeError, match="'label' are needed"):
        open_source(Cifar10(tmp_path))


def test_parquet_without_a_part_is_refused(tmp_path):
    write_parquet(tmp_path, parts=("train",))
    with pytest.raises(RecipeError, match="no test-"):
        Cifar100(tmp_path).identity()


@pytest.mark.parametrize("damage", ["cut", "labels"])
def test_damaged_parquet_is_refused(tmp_path, damage):
    write_parquet(tmp_path, names=CIFAR10_CLASSES[:5] if damage == "labels" else None)
    file = tmp_path / "train-00000-of-00001.parquet"
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(EnvironmentProblem, match="train-00000-of-00001"):
        open_source(Cifar100(tmp_path))


def test_without_pyarrow_the_extra_is_named_when_the_run_is_planned(tmp_path, monkeypatch):
    write_parquet(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.delitem(sys.modules, "calkd_edge.data.cifar_parquet", raising=False)
    for ask in (Cifar100(tmp_path).identity, lambda: open_source(Cifar100(tmp_path))):
        with pytest.raises(EnvironmentProblem) as missing:
            ask()
        assert "calkd-edge[parquet]" in missing.value.remedy
        assert missing.value.exit_code == 6


def test_the_default_root_is_the_environments_then_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CALKD_DATA", str(tmp_path))
    assert Cifar100(None).root == tmp_path
    monkeypatch.delenv("CALKD_DATA")
    monkeypatch.setenv("HOME", "/home/someone")
    assert str(Cifar100(None).root) == "/home/someone/.cache/calkd-edge/data"


def test_urls_and_checksums_are_those_of_the_authors():
    assert (
        f"{Cifar100.facts.url}/{Cifar100.facts.archive}"
        == "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
    )
    assert cifar.Cifar10.facts.md5 == "c58f30108f718f92721af3b95e74349a"
    assert list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    assert len(set(CIFAR100_CLASSES)) == 100
