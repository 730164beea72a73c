"""A real small bundle, sealed again after any change: whoever writes its files could write its sums too."""

from __future__ import annotations

import hashlib
import io
import json
import random
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tiny_run import RECIPE, command, written

MANIFEST, SUMS, PAGE = "manifest.json", "SHA256SUMS", "report.html"
Damage = Callable[[bytes, random.Random], bytes]


@cache
def real_bundle() -> bytes:
    """The bundle of a run of the tiny recipe, without the page, which nobody reads."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        recipe, out = written(home, RECIPE), home / "out"
        done = command("compress", "--recipe", recipe, "--store", home / "store", "--out", out)
        assert done.code == 0, done.err
        return small(out / "bundle.zip")


def small(bundle: Path) -> bytes:
    """A bundle without the content of its page."""
    return sealed({**members(bundle.read_bytes()), PAGE: b"<p>"})


def members(content: bytes) -> dict[str, bytes]:
    """The files of a zip."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sealed(content: dict[str, bytes]) -> bytes:
    """A bundle of these files, with a manifest and sums that fit them."""
    manifest = json.loads(content[MANIFEST])
    files = {name: data for name, data in content.items() if name not in (MANIFEST, SUMS)}
    sums = {name: hashlib.sha256(data).hexdigest() for name, data in files.items()}
    manifest["files"] = {name: {"sha256": sums[name], "bytes": len(data)} for name, data in files.items()}
    files[MANIFEST] = json.dumps(manifest).encode()
    sums[MANIFEST] = hashlib.sha256(files[MANIFEST]).hexdigest()
    files[SUMS] = "".join(f"{digest}  {name}\n" for name, digest in sums.items()).encode()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def sealed_again(content: bytes, draw: random.Random, damage: dict[str, Damage], words: list[bytes]) -> bytes:
    """The bundle with one file changed, removed or renamed, and all sums set right.

    Args:
        content: of the bundle.
        draw: of what is changed.
        damage: of a file, by how its name ends.
        words: for names.
    """
    files = members(content)
    # The report is chosen as often as all models: it decides what is read.
    read = [name for name in files if Path(name).suffix in damage and name not in (MANIFEST, SUMS, PAGE)]
    name = draw.choice([*read, "report.json"])
    old, kind = files[name], draw.randrange(12)
    if kind == 0:
        del files[name]
    elif kind == 1:
        files[draw.choice(words).decode("latin-1").strip("\0")[:100] or "x"] = files.pop(name)
    else:
        files[name] = damage[Path(name).suffix](old, draw)
        digests = [hashlib.sha256(data).hexdigest().encode() for data in (old, files[name])]
        for record in {MANIFEST, "report.json"} - {name}:
            files[record] = files[record].replace(*digests)
    return sealed(files)
