"""Sections A0 to A3, A5 and A7: does the GPU compute what the CPU computes?

On a CPU, one thread is compared with two: other sums of the same numbers.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import platform
import shutil
import sys
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from student import Enough, after, train
from torch.utils._python_dispatch import TorchDispatchMode
from world import VIEWS, World

import calkd_edge
from calkd_edge.data import AUGMENTATIONS, MIXINGS
from calkd_edge.losses import LOSSES
from calkd_edge.losses.base import Outputs, Step
from calkd_edge.training.accelerator import fabric_for
from calkd_edge.training.cuda import cuda_facts, full_float32

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "support"))

OPTIONAL = ("ai_edge_litert", "openvino", "tensorrt", "timm", "pyarrow", "mlflow", "wandb", "tensorboard")
READS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::is_nonzero")
INTEGER_ONLY = ("none", "crop_pad", "resized_crop")


def facts(world: World) -> dict[str, Any]:
    """A0: the machine, and whether every module of the project can be imported."""
    failed = {}
    for module in pkgutil.walk_packages(calkd_edge.__path__, "calkd_edge."):
        if module.name.endswith("__main__"):
            continue
        try:
            importlib.import_module(module.name)
        except ImportError as error:
            if not any(name in str(error) for name in OPTIONAL):
                failed[module.name] = str(error)
    about = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "nccl": ".".join(map(str, torch.cuda.nccl.version())) if world.on_gpu else None,
        "cores": os.cpu_count(),
        "processor": processor(),
        "onnxruntime": [onnxruntime.__version__, *onnxruntime.get_available_providers()],
        **cuda_facts(world.device.type),
    }
    return {"passed": not failed, **about, "not_importable": failed}


def processor() -> str:
    """The processor's name."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if "model name" in line), "unknown")


@contextmanager
def threads(count: int):
    """Inside the block, torch uses so many threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def both(world: World, compute: Callable[[torch.device], Any]) -> tuple[Any, Any]:
    """A result and its reference: GPU and CPU; without a GPU, two threads and one."""
    with threads(1):
        reference = compute(torch.device("cpu"))
    if world.on_gpu:
        with full_float32():
            return compute(world.device), reference
    with threads(2):
        return compute(world.device), reference


def pixels(world: World) -> dict[str, Any]:
    """A1: the share of pixels that differ, for each augmentation and mixing."""
    shares: dict[str, float] = {}
    side = 32
    images = torch.from_numpy(world.prepared(side).images[:64])
    for name in AUGMENTATIONS.names():
        chosen = AUGMENTATIONS.load(name)((3, side, side))
        view = chosen.draw(len(images), np.random.default_rng(3))
        first, second = both(world, lambda device, c=chosen, v=view: c.replay(images.to(device), v).cpu())
        shares[name] = float((first != second).float().mean())
    for name in MIXINGS.names():
        chosen = MIXINGS.load(name)()

        def mixed(device: torch.device, chosen: Any = chosen) -> torch.Tensor:
            return chosen.mix(images.to(device), np.random.default_rng(5))[0].cpu()

        first, second = both(world, mixed)
        shares[name] = float((first != second).float().mean())
    wrong = [name for name in INTEGER_ONLY if shares.get(name, 0.0)]
    return {"passed": not wrong, "shares": shares}


def losses(world: World) -> dict[str, Any]:
    """A2: each registered loss and its gradients in float32, relative to the larger of both."""
    from loss_cases import CASES, build, context_of, drawn_step, leaves  # noqa: PLC0415  # of tests/support

    worst: dict[str, float] = {}
    for name, arguments in CASES:

        def compute(device: torch.device, name: str = name, arguments: Any = arguments) -> list[torch.Tensor]:
            context = context_of()
            loss = build(name, arguments, context).to(device)
            for module in (context.student_module("head"), context.teacher_module("head")):
                module.to(device)
            step = _moved(drawn_step(seed=4, dtype=torch.float32), device)
            for leaf in leaves(step):
                leaf.requires_grad_()
            torch.manual_seed(2)
            value = loss(step)
            value.backward()
            gradients = [leaf.grad for leaf in leaves(step) if leaf.grad is not None]
            return [tensor.detach().cpu() for tensor in (value, *gradients)]

        first, second = both(world, compute)
        gap = max(relative(*pair) for pair in zip(first, second, strict=True))
        worst[name] = max(worst.get(name, 0.0), gap)
    left_out = sorted(set(LOSSES.names()) - worst.keys())
    largest = max(worst.values())
    return {
        "passed": largest <= 1e-4 and not left_out,
        "largest": largest,
        "by_loss": worst,
        "left_out": left_out,
    }


def _moved(step: Step, device: torch.device) -> Step:
    def outputs(given: Outputs) -> Outputs:
        features = {tap: value.detach().to(device) for tap, value in given.features.items()}
        return Outputs(given.logits.detach().to(device), features)

    indices = step.indices.to(device)
    return Step(outputs(step.student), outputs(step.teacher), step.labels.to(device), indices, step.epoch)


def relative(first: torch.Tensor, second: torch.Tensor) -> float:
    """The largest difference, as a fraction of the largest value."""
    scale = max(float(second.abs().max()), 1e-6)
    return float((first - second).abs().max()) / scale


def steps(world: World) -> dict[str, Any]:
    """A3: the losses of the first steps through fit, on both devices; on CPUs with one and two threads."""
    result: dict[str, Any] = {}
    passed = True
    for network in [name for name in ("N1", "N2") if name in world.size.networks]:
        for live in (False, True):

            def run(accelerator: str, count: int, network: str = network, live: bool = live) -> list[float]:
                fabric = fabric_for(accelerator)  # which allows TF32 on a GPU
                with threads(count), full_float32():
                    name = f"steps-{network}-{live}-{accelerator}-{count}"
                    return train(
                        world,
                        network,
                        live=live,
                        fabric=fabric,
                        name=name,
                        progress=after(world.size.steps),
                    ).losses

            reference, other_threads = run("cpu", 1), run("cpu", 2)
            yardstick = _gap(other_threads, reference)
            gaps = _gap(run("cuda", 1), reference) if world.on_gpu else yardstick
            allowed = max(10 * yardstick[-1], 1e-3) if world.on_gpu else 0.05
            passed &= gaps[0] <= 1e-5 and gaps[-1] <= allowed
            result[f"{network} {'live' if live else 'stored'}"] = {
                "first": gaps[0],
                "last": gaps[-1],
                "yardstick": yardstick[-1],
                "steps": len(gaps),
            }
    return {"passed": passed, **result}


def _gap(first: list[float], second: list[float]) -> list[float]:
    return [abs(one - other) for one, other in zip(first, second, strict=True)]


def soft(world: World) -> dict[str, Any]:
    """A5: the stage soft_labels on both devices, and cut and resumed."""
    reference = world.soft_labels(name="one", accelerator="cpu")
    with threads(1 if world.on_gpu else 2):
        other = world.soft_labels(name="other")
    first, second = (np.load(folder / "logits.npy").astype(np.float32) for folder in (reference, other))
    gap = float(np.abs(_softmax(first) - _softmax(second)).max())
    cut = world.folder / "cut"
    half = VIEWS * len(world.prepared().indices("train")) // 2

    def stop(done: int, total: int) -> None:
        if done > half:
            raise Enough

    try:
        world.soft_labels_job(cut, 32, world.accelerator, stop)()
    except Enough:
        shutil.rmtree(cut)  # as the runner empties it; the scratch folder stays
    with threads(1 if world.on_gpu else 2):
        world.soft_labels_job(cut, 32, world.accelerator)()
    same = (np.load(cut / "logits.npy") == np.load(other / "logits.npy")).all()
    return {"passed": gap <= 2e-4 and bool(same), "probability_gap": gap, "resumed_equal": bool(same)}


def _softmax(logits: np.ndarray) -> np.ndarray:
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def waits(world: World) -> dict[str, Any]:
    """A7: how often a step waits for the GPU, and where; on a CPU, reads of a number from a tensor.

    Told, not judged: no step should wait, but the uploads at the start of an epoch do.
    """
    result = {}
    for name, settings in {
        "stored": {"live": False},
        "live": {"live": True},
        "average": {"live": False, "ema_decay": 0.999},
    }.items():
        counted, places = (_cuda_waits if world.on_gpu else _reads)(world, settings)
        result[name] = {"per_step": counted, "places": places}
    return {"passed": True, "judged": False, **result}


def _cuda_waits(world: World, settings: dict[str, Any]) -> tuple[float, dict[str, int]]:
    first, last = 3, 3 + world.size.steps

    def progress(done: int, total: int) -> None:
        torch.cuda.set_sync_debug_mode("warn" if first <= done < last else "default")
        if done >= last:
            raise Enough

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(world, "N1", progress=progress, name="waits", **settings)
    of_waits = [item for item in caught if "synchroniz" in str(item.message)]
    places = Counter(f"{Path(item.filename).name}:{item.lineno}" for item in of_waits)
    return sum(places.values()) / world.size.steps, dict(places.most_common(8))


class _Reads(TorchDispatchMode):
    """Counts operations whose result Python waits for."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.steps = 0

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        """Count and pass on, from the second step."""
        if self.steps and function._schema.name in (
            "aten::_local_scalar_dense",
            "aten::nonzero",
            "aten::is_nonzero",
        ):
            self.calls[function._schema.name] += 1
        return function(*arguments, **(named or {}))


def _reads(world: World, settings: dict[str, Any]) -> tuple[float, dict[str, int]]:
    reads = _Reads()

    def progress(done: int, total: int) -> None:
        reads.steps = done
        after(world.size.steps)(done, total)

    with reads:
        train(world, "N1", progress=progress, name="waits", **settings)
    return sum(reads.calls.values()) / (world.size.steps - 1), dict(reads.calls)


SECTIONS = {"A0": facts, "A1": pixels, "A2": losses, "A3": steps, "A5": soft, "A7": waits}
