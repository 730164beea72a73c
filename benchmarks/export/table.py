"""What we export, net by net: nodes, the linter, NVIDIA's compiler for four generations of cards, parity.

Nets of random weights whose statistics were settled on images, as training leaves them; images are smooth
random colours. `parity` is the largest difference of a logit over the largest logit: of float32 in ONNX
Runtime to torch, of float16 to float32, and of int8 as executed to its own simulation.

    python benchmarks/export/table.py [--nets mobilenet_v2 ...] [--forms 32 224] [--cards SM86 ...]

A row that is there already is not made again. Needs the extra [trt-check].
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from calkd_edge.export.torch_export import export_onnx, reference_logits
from calkd_edge.models.image_model import ImageModel, ModelDescription, build
from calkd_edge.onnx_model.lint.compilation import compile_file
from calkd_edge.onnx_model.lint.linter import findings
from calkd_edge.quantization.cpu import derive_for_cpu
from calkd_edge.quantization.fp16 import fp16
from calkd_edge.quantization.int8 import int8
from calkd_edge.quantization.source import Images

NETS: dict[str, dict[str, Any]] = {
    "mobilenet_v2": {},
    "mobilenet_v3_small": {},
    "mobilenet_v3_large": {},
    "shufflenet_v1": {},
    "shufflenet_v2": {},
}
FORMS = (32, 224)
CARDS = ("SM80", "SM86", "SM89", "SM120")
RESULT = Path(__file__).with_suffix(".json")
IMAGES = 48


def pictures(count: int, size: int, seed: int) -> np.ndarray:
    """uint8 [count, 3, size, size]: smooth random colours and some noise."""
    generator = np.random.default_rng(seed)
    coarse = generator.uniform(0, 256, (count, 3, 4, 4)).repeat(size // 4, axis=2).repeat(size // 4, axis=3)
    return (coarse + generator.normal(0, 20, coarse.shape)).clip(0, 255).astype(np.uint8)


def settled(name: str, size: int) -> ImageModel:
    """A net with weights and statistics as training leaves them: none of them 0 or 1."""
    torch.manual_seed(0)
    description = ModelDescription(
        name=name,
        settings=NETS[name],
        classes=tuple(f"class {number}" for number in range(100)),
        image_shape=(3, size, size),
        mean=(0.50, 0.48, 0.45),
        std=(0.25, 0.24, 0.26),
        trained_on="random",
    )
    model = build(description)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.7, 1.3)
            nn.init.normal_(module.bias, 0, 0.2)
    model.train()
    with torch.no_grad():
        for seed in range(4):
            model(torch.from_numpy(pictures(32, size, seed)))
    return model.eval()


def logits(model: onnx.ModelProto, images: np.ndarray, *, simulate: bool = False) -> np.ndarray:
    """What ONNX Runtime says, with exact products on x86."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    if simulate:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    said: np.ndarray = session.run(["logits"], {session.get_inputs()[0].name: images})[0]
    return said


def apart(own: np.ndarray, reference: np.ndarray) -> float:
    """Largest difference over the largest logit."""
    return float(np.abs(own - reference).max() / np.abs(reference).max())


def rows(name: str, size: int, cards: tuple[str, ...]) -> list[dict[str, Any]]:
    """A row for each precision of one net."""
    net = settled(name, size)
    images, others = pictures(IMAGES, size, 11), pictures(IMAGES, size, 12)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_onnx(net, (3, size, size), path, opset=20, metadata={})
        exported = onnx.load(path)
    source = Images(lambda count: others[:count])
    files = {"fp32": exported, "fp16": fp16(exported, source), "int8": int8(exported, source)}
    in_float32 = logits(exported, images)
    derived = derive_for_cpu(files["int8"], source.training(512))
    parity = {
        "fp32": apart(in_float32, reference_logits(net, images)),
        "fp16": apart(logits(files["fp16"], images), in_float32),
        "int8": apart(logits(derived, images), logits(derived, images, simulate=True)),
    }
    return [
        {
            "net": name,
            "form": size,
            "precision": precision,
            "nodes": len(model.graph.node),
            "layers": sum(node.op_type in ("Conv", "Gemm") for node in model.graph.node),
            "bytes": model.ByteSize(),
            "lint": _lint(model),
            "parity": parity[precision],
            "cards": {card: _compiled(model, card) for card in cards},
        }
        for precision, model in files.items()
    ]


def _lint(model: onnx.ModelProto) -> dict[str, int]:
    found = [one.severity for one in findings(model)]
    return {severity: found.count(severity) for severity in ("error", "warning", "note")}


def _compiled(model: onnx.ModelProto, card: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        plan = compile_file(path, card)
    return {"errors": list(plan.errors), "kernels": plan.kernels, "weighted": plan.weighted}


def told(row: dict[str, Any]) -> str:
    """A row as a line of the table in the documentation."""
    kernels = {json.dumps(card["weighted"], sort_keys=True) for card in row["cards"].values()}
    types = "; ".join(
        ", ".join(f"{count} {kind}" for kind, count in sorted(json.loads(one).items())) for one in kernels
    )
    name, errors = f"{row['net']} {row['form']}", row["lint"]["error"]
    cells = (name, row["precision"], row["nodes"], errors, row["layers"], types, f"{row['parity']:.1e}")
    return "| " + " | ".join(map(str, cells)) + " |"


def main() -> None:
    """Make what is missing, write the result, print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--nets", nargs="+", default=list(NETS), choices=list(NETS))
    parser.add_argument("--forms", nargs="+", type=int, default=list(FORMS))
    parser.add_argument("--cards", nargs="+", default=list(CARDS))
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    known = json.loads(options.result.read_text(encoding="utf-8"))["rows"] if options.result.is_file() else []
    for name in options.nets:
        for size in options.forms:
            if any((row["net"], row["form"]) == (name, size) for row in known):
                continue
            known += rows(name, size, tuple(options.cards))
            facts = {"machine": platform.machine(), "onnxruntime": onnxruntime.__version__}
            content = {**facts, "torch": torch.__version__, "rows": known}
            options.result.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
            print("\n".join(told(row) for row in known[-3:]), flush=True)


if __name__ == "__main__":
    main()
