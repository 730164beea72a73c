"""One changed byte in anything that is reused is noticed before use, and nothing resumes on it."""

from __future__ import annotations

import json
from functools import partial

import numpy as np
import pytest
import torch
from chain_stages import Silent
from rot import flip, flips
from safetensors.torch import save_file
from tiny_run import command

from calkd_edge.engine.manifest import DIGEST, MANIFEST
from calkd_edge.engine.runner import Runner
from calkd_edge.engine.stage import Stage
from calkd_edge.engine.store import Store
from calkd_edge.errors import StoreError
from calkd_edge.files.bounded import parse_json
from calkd_edge.files.named_by_digest import intact, write_with_digest

FLIPS = 20


def write(job):
    """Write what stages write."""
    save_file({"weight": torch.arange(64.0)}, job.out / "weights.safetensors")
    np.savez(job.out / "test.npz", logits=np.arange(64.0))
    (job.out / "facts.json").write_text(json.dumps({"top1": 0.5}))


STAGE = Stage("write", f"{__name__}:write", 1, {})


@pytest.fixture
def published(tmp_path):
    return Runner(Store(tmp_path / "store"), Silent(), dict).run(STAGE).folder


def refused(folder):
    with pytest.raises(StoreError) as refusal:
        Runner(Store(folder.parents[2]), Silent(), dict).run(STAGE)
    assert refusal.value.exit_code == 6
    assert str(folder) in refusal.value.message
    return refusal.value.message


@pytest.mark.parametrize("name", ["weights.safetensors", "test.npz", "facts.json", MANIFEST, DIGEST])
def test_every_changed_byte_of_a_published_folder_is_noticed(published, name):
    store = published.parents[2]
    for position, bit in flips(published / name, FLIPS):
        assert refused(published), (position, bit)
    flip(published / name)
    assert command("store", "check", "--store", store).code == 3


@pytest.mark.parametrize(
    "content",
    [b"[]", b"null", b"7", b"{}", b"\xff\xfe", b"", b"[" * 100_000, b'{"a":' * 5_000, b"9" * 5_000],
    ids=["list", "null", "number", "empty object", "no text", "empty", "deep", "deep object", "long number"],
)
def test_manifest_that_is_something_else_is_damage(published, content):
    (published / MANIFEST).write_bytes(content)
    for digest in (published / DIGEST, None):
        assert MANIFEST in refused(published)
        done = command("store", "check", "--store", published.parents[2])
        # A manifest that is whole but for its schema may come from a newer version: the store is refused.
        assert done.code == (6 if content == b"{}" and digest is None else 3)
        (published / DIGEST).unlink(missing_ok=True)


def without_digest(published, change=lambda manifest: None):
    """As an earlier version wrote it, with a change."""
    manifest = json.loads((published / MANIFEST).read_text())
    del manifest["digest_in"]
    change(manifest)
    (published / MANIFEST).write_text(json.dumps(manifest))
    (published / DIGEST).unlink()


def test_folder_of_an_earlier_version_without_a_digest_is_read(published):
    without_digest(published)
    assert Runner(Store(published.parents[2]), Silent(), dict).run(STAGE).reused


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.pop("files"),
        lambda manifest: manifest.update(files=[]),
        lambda manifest: manifest["files"].update({"../x": {"bytes": 1, "sha256": "0" * 64}}),
        lambda manifest: manifest["files"]["test.npz"].pop("sha256"),
        lambda manifest: manifest["files"]["test.npz"].update(bytes=True),
        lambda manifest: manifest["files"].pop("test.npz"),
        lambda manifest: manifest.update(published_at="yesterday"),
        lambda manifest: manifest.update(seconds={}),
        lambda manifest: manifest.update(fingerprint="0" * 64),
    ],
)
def test_manifest_without_a_digest_is_checked_for_its_shape(published, change):
    without_digest(published, change)
    assert refused(published)


def test_surplus_file_and_lost_digest_are_noticed(published):
    (published / "new.txt").write_text("x")
    assert "new.txt is not in manifest.json" in refused(published)
    (published / "new.txt").unlink()
    (published / DIGEST).unlink()
    assert "manifest.sha256 is missing" in refused(published)


def test_damaged_format_is_refused(published):
    (published.parents[2] / "format").write_bytes(b"\xb1\n")
    done = command("store", "check", "--store", published.parents[2])
    assert done.code == 6
    assert "has format" in done.err


@pytest.mark.parametrize(
    ("name", "write_content"),
    [
        ("epoch-000001.ckpt", partial(torch.save, {"module": {"weight": torch.arange(64.0)}})),
        ("view-0-0-64.npz", lambda stream: np.savez(stream, logits=np.zeros(64))),
    ],
)
def test_every_changed_byte_of_what_work_resumes_from_is_noticed(tmp_path, name, write_content):
    path = write_with_digest(tmp_path / name, write_content)
    content = path.read_bytes()
    assert intact(tmp_path / name) == path
    for position, bit in flips(path, FLIPS):
        assert intact(tmp_path / name) is None, (position, bit)
        assert not path.exists()
    assert path.read_bytes() == content


def test_json_has_bounds():
    assert parse_json(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    for content in (b"[" * 101 + b"]" * 101, b"[" * 100_000 + b"]" * 100_000):
        with pytest.raises(ValueError, match="too deeply"):
            parse_json(content)
