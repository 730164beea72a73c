"""A device whose files change on their way: every change of replies, outputs and samples."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import hostile
import numpy as np
from directory_device import DirectoryDevice
from played_classifier import classifier_model

from calkd_edge.devices.session import Session
from calkd_edge.errors import CalkdError

IMAGES = 12
LOAD = {
    "min_runs": 20,
    "min_seconds": 0.01,
    "warmup_min_runs": 1,
    "warmup_min_seconds": 0.0,
    "warmup_max_seconds": 0.1,
    "warmup_window_seconds": 0.05,
}


class Recording(DirectoryDevice):
    """A device that keeps what the agent left."""

    kept: Path

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None]) -> int:
        """Run the command, and keep a copy of the session's folder."""
        status = super().run(argv, timeout_s=timeout_s, on_line=on_line)
        shutil.copytree(self.session, self.kept, dirs_exist_ok=True)
        return status


class Playing(DirectoryDevice):
    """A device that answers with kept files, one of which was changed."""

    def __init__(self, kept: Path, name: str, content: bytes) -> None:
        super().__init__("played", folder=kept.with_name("played"))
        self.kept, self.changed, self.content = kept, name, content

    def run(self, argv: Sequence[str], *, timeout_s: float, on_line: Callable[[str], None]) -> int:
        """Leave the kept files."""
        for path in self.kept.iterdir():
            if path.name.startswith(("reply", "outputs", "samples")):
                shutil.copyfile(path, self.session / path.name)
        (self.session / self.changed).write_bytes(self.content)
        return 0


@cache
def recorded(folder: Path) -> tuple[Path, Path]:
    """A model and images; and what a right agent leaves for `predict` and for `time`, in `kept-VERB`."""
    model, images = folder / "model.onnx", folder / "images.npy"
    model.write_bytes(classifier_model().SerializeToString())
    np.save(images, np.random.default_rng(7).integers(0, 256, (IMAGES, 3, 8, 8), dtype=np.uint8))
    for verb in ("predict", "time"):
        device = Recording("recording", folder=folder / "device")
        device.kept = folder / f"kept-{verb}"
        with Session(device) as session:
            _ask(session, verb, model, images)
    return model, images


def _ask(session: Session, verb: str, model: Path, images: Path) -> object:
    if verb == "time":
        return session.time(model, images, runtime="onnxruntime", options={}, load=LOAD)
    return session.predict(model, images, runtime="onnxruntime", options={})


def changed_reply(number: int, folder: Path) -> str:
    """Change a reply or an array, and see what the session makes of it."""
    model, images = recorded(folder)
    draw = random.Random(f"replies {number}")
    verb = draw.choice(("predict", "time"))
    kept = folder / f"kept-{verb}"
    name = draw.choice(
        sorted(path.name for path in kept.iterdir() if path.suffix in (".npz", ".npy")) + ["reply-1.json"]
    )
    content = (kept / name).read_bytes()
    changes = {".json": hostile.damaged_text, ".npz": hostile.damaged_zip, ".npy": _damaged_header}
    change = draw.choice((changes[Path(name).suffix], hostile.damaged))
    try:
        with Session(Playing(kept, name, change(content, draw))) as session:
            answer = _ask(session, verb, model, images)
    except CalkdError as refused:
        return "" if "played" in refused.message else f"the device is not named: {refused.message}"
    return _unsound(verb, answer)


def _damaged_header(content: bytes, draw: random.Random) -> bytes:
    return hostile.damaged(content[:128], draw) + content[128:]


def _unsound(verb: str, answer: object) -> str:
    """What is impossible in an answer that was taken."""
    if verb == "time":
        samples = answer.samples_ns  # type: ignore[attr-defined]  # by its verb
        sound = samples.ndim == 1 and samples.dtype == np.int64 and len(samples) and (samples > 0).all()
        return "" if sound else f"samples {samples.dtype} {samples.shape} were taken"
    outputs, _ = answer  # type: ignore[misc]  # by its verb
    for name, values in outputs.items():
        if values.ndim != 2 or len(values) != IMAGES or values.dtype.kind != "f":
            return f"{name} {values.dtype} {values.shape} was taken for {IMAGES} images"
    return ""
