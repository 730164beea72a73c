"""What the int8 file for CPUs answers on x86 without VNNI, with and without exact products.

Exact products are ONNX Runtime's option `session.x64quantprecision`.

QEMU's user mode emulates a processor without VNNI (`qemu-x86_64-static -cpu Haswell`: AVX2, no AVX-512): its
answers are those of ONNX Runtime's AVX2 kernels, its times mean nothing. This machine's processor answers the
same images, for comparison.

    PYTHONPATH=benchmarks/distillation python benchmarks/quantization/without_vnni.py \\
      --release DIR --store DIR
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from study import folder_of

from calkd_edge.data.prepared import Prepared
from calkd_edge.metrics.per_image import kl_per_image, top1

RESULT = Path(__file__).with_suffix(".json")
FILE = "student.int8.cpu.onnx"
EMULATOR = ("qemu-x86_64-static", "-cpu", "Haswell")
KINDS = {"exact products": "1", "the default": "0"}


def answers(model: Path, images: np.ndarray, exact: str) -> np.ndarray:
    """[N, C] logits of a file, image by image, with or without exact products."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    options.add_session_config_entry("session.x64quantprecision", exact)
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    taken = session.get_inputs()[0]
    values = images if taken.type == "tensor(uint8)" else images.astype(np.float32)
    names = [output.name for output in session.get_outputs()]
    logits = names.index("logits")
    rows = [session.run(None, {taken.name: values[k : k + 1]})[logits] for k in range(len(values))]
    return np.concatenate(rows)


def emulated(model: Path, images: Path, exact: str, folder: Path) -> np.ndarray:
    """The same on the emulated processor."""
    out = folder / f"logits-{exact}.npy"
    command = [*EMULATOR, sys.executable, __file__, "--answer", str(model), str(images), exact, str(out)]
    subprocess.run(command, check=True)
    return np.asarray(np.load(out))


def row(model: Path, images: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """What a file answers, against the same file on this processor."""
    here = answers(model, images, "1")
    rows: dict[str, Any] = {"here": {"top1": float((top1(here) == labels).mean())}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        np.save(folder / "images.npy", images)
        for kind, exact in KINDS.items():
            there = emulated(model, folder / "images.npy", exact, folder)
            rows[kind] = {
                "top1": float((top1(there) == labels).mean()),
                "agreement": float((top1(there) == top1(here)).mean()),
                "kl": float(kl_per_image(there, here).mean()),
                "largest_difference": float(np.abs(there - here).max()),
            }
    return rows


def main() -> None:
    """The int8 file of a release, or one answer where the emulator starts this script."""
    if sys.argv[1:2] == ["--answer"]:
        model, images, exact, out = sys.argv[2:]
        np.save(out, answers(Path(model), np.load(images), exact))
        return
    parser = argparse.ArgumentParser()
    parser.add_argument("--release", type=Path, required=True, help="the folder of a finished run")
    parser.add_argument("--store", type=Path, required=True, help="of that run")
    parser.add_argument("--images", type=int, default=100)
    options = parser.parse_args()
    report = json.loads((options.release / "report.json").read_text(encoding="utf-8"))
    prepared = Prepared.open(folder_of(options.store, report, "prepare"))
    rows = prepared.indices("test")[: options.images]
    told: dict[str, Any] = json.loads(RESULT.read_text(encoding="utf-8")) if RESULT.is_file() else {}
    told[f"{report['name']}: {report['recipe']['student']['name']}"] = {
        "images": len(rows),
        "onnxruntime": onnxruntime.__version__,
        **row(options.release / "models" / FILE, prepared.images[rows], prepared.labels[rows]),
    }
    RESULT.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
