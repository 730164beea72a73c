"""Signatures read from source, without an import, are those of the imported callables."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from calkd_edge.pipeline.listing import REGISTRIES
from calkd_edge.registry import settings_model
from calkd_edge.registry.signature import signature_of

ENTRIES = [
    pytest.param(registry, name, id=f"{registry.kind}-{name}")
    for registry in REGISTRIES.values()
    for name in registry._entries
]


@pytest.mark.parametrize(("registry", "name"), ENTRIES)
def test_signature_from_source_is_that_of_the_callable(registry, name):
    read, loaded = signature_of(registry._entries[name]), registry.load(name)
    assert read is not None, "its settings name what only an import can tell"
    assert inspect.getdoc(read) == inspect.getdoc(loaded)
    assert settings_model(read).model_json_schema() == settings_model(loaded).model_json_schema()


def test_a_signature_that_needs_an_import_is_not_guessed(tmp_path, monkeypatch):
    (tmp_path / "unreadable.py").write_text(
        "import torch\nDEFAULT = torch.pi\ndef made(*, angle: float = DEFAULT): ...\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert signature_of("unreadable:made") is None


def test_describing_every_entry_loads_no_torch():
    code = (
        "import sys\n"
        "from calkd_edge.pipeline.listing import REGISTRIES\n"
        "for registry in REGISTRIES.values():\n"
        "    for name in registry._entries: registry.describe(name)\n"
        "print([name for name in ('torch', 'torchvision', 'onnx') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
