"""CUDA: settings under which a training repeats, where TF32 is used, and the facts that identify a GPU.

The student's products use TF32 (10 bits of mantissa); the teacher's never do, because its calibration is
fitted on logits in full float32. None of this has run on a GPU yet.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import torch

from calkd_edge.files.environment import set_cublas_workspace
from calkd_edge.records import Json

DRIVER_FILE = Path("/proc/driver/nvidia/version")

TF32 = {"student": True, "teacher": False}
"""Whose products in float32 may use TF32."""


def set_up_cuda() -> None:
    """Choose algorithms that repeat, never by timing, and TF32 for the student.

    An operation without such an algorithm runs all the same; torch warns of it by name, and the promise of
    equal weights does not hold for that training.
    """
    set_cublas_workspace()
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    torch.use_deterministic_algorithms(True, warn_only=True)
    deterministic = torch.utils.deterministic
    deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # nobody reads what it fills
    _set_tf32(convolutions=TF32["student"], products=TF32["student"])


def _set_tf32(*, convolutions: bool, products: bool) -> None:
    torch.backends.cudnn.allow_tf32 = convolutions
    torch.backends.cuda.matmul.allow_tf32 = products


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside the block, CUDA computes float32 as the teacher's calibration wants it."""
    before = {
        "convolutions": torch.backends.cudnn.allow_tf32,
        "products": torch.backends.cuda.matmul.allow_tf32,
    }
    _set_tf32(convolutions=TF32["teacher"], products=TF32["teacher"])
    try:
        yield
    finally:
        _set_tf32(**before)


def cuda_facts(accelerator: Literal["cpu", "cuda"]) -> dict[str, Json]:
    """What equal weights on a GPU depend on, for a manifest; nothing where training runs on the CPU."""
    if accelerator == "cpu":
        return {}
    gpus: list[Json] = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    text = DRIVER_FILE.read_text(encoding="utf-8", errors="replace") if DRIVER_FILE.is_file() else ""
    return {
        "cuda": {
            "gpus": gpus,
            "driver": driver_version(text),
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),  # type: ignore[no-untyped-call]  # torch's stub
            "tf32": dict(TF32),
            "deterministic": "where torch has such an algorithm",
        }
    }


def driver_version(text: str) -> str | None:
    """The version in the text of /proc/driver/nvidia/version; None if there is none."""
    match = re.search(r"^NVRM version:.*?\s(\d+(?:\.\d+)+)\s", text, re.MULTILINE)
    return None if match is None else match[1]
