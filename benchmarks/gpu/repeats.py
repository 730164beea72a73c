"""Section A4: the same weights from the same seed, also after a kill.

python repeats.py DEVICE COMPLETE|REDUCED FOLDER NAME KIND

KIND is whole (train), or killed (SIGKILL itself in the second epoch). Started by the section itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from student import CRD, KD, digest, train
from world import COMPLETE, REDUCED, World

EPOCHS = 3
KINDS: dict[str, dict[str, Any]] = {
    "fp32, average": {"network": "N1", "live": False, "ema_decay": 0.9},
    "bf16": {"network": "N1", "live": False, "autocast": "bf16"},
    "fp16, scaler, clipping": {"network": "N1", "live": False, "autocast": "fp16", "clip_gradient_norm": 1.0},
    "dropout": {"network": "N1", "live": False, "dropout": 0.2},
    "crd, live teacher": {"network": "N1", "live": True, "losses": CRD},
}
LIMIT_S = 60


def chosen(world: World) -> dict[str, dict[str, Any]]:
    """The kinds that this device and size have."""
    if world.on_gpu:
        return KINDS
    return {name: KINDS[name] for name in ("dropout", "crd, live teacher")}


def with_dropout(world: World, dropout: float) -> World:
    """The same, with dropout before the student's classifier."""
    networks = {
        name: network.model_copy(update={"settings": {**network.settings, "dropout": dropout}})
        for name, network in world.size.networks.items()
    }
    return replace(world, size=replace(world.size, networks=networks)) if dropout else world


def trained(world: World, name: str, folder: str, *, killed: bool = False) -> str:
    """The digest of the final weights; with `killed`, the process ends itself in the second epoch."""
    settings = {"losses": KD, **KINDS[name]}
    small = with_dropout(world.reduced_to(min(world.size.images, 1024)), settings.pop("dropout", 0.0))
    begun = []

    def progress(done: int, total: int) -> None:
        begun.append(done)
        if killed and done > total // EPOCHS + 1:
            os.kill(os.getpid(), signal.SIGKILL)

    return digest(train(small, epochs=EPOCHS, name=folder, progress=progress, **settings).module.student)


def repeats(world: World) -> dict[str, Any]:
    """A4: two runs, and one that is killed after its first epoch and resumed, give the same weights."""
    names = list(chosen(world))
    size = "complete" if world.size is COMPLETE else "reduced"
    command = [sys.executable, __file__, world.device.type, size, str(world.folder)]
    world.prepared()
    world.teacher_folder()
    killed = [
        subprocess.Popen([*command, name, f"killed-{number}", "killed"], stdout=subprocess.DEVNULL)
        for number, name in enumerate(names)
    ]
    statuses = [process.wait(LIMIT_S) for process in killed]
    result, passed = {}, True
    for number, name in enumerate(names):
        first = trained(world, name, f"first-{number}")
        second = trained(world, name, f"second-{number}")
        was_cut = list((world.folder / f"killed-{number}").glob("epoch-000001.*"))
        resumed = trained(world, name, f"killed-{number}")
        equal = {"again": first == second, "resumed": first == resumed}
        passed &= all(equal.values()) and bool(was_cut) and statuses[number] == -signal.SIGKILL
        result[name] = {**equal, "sha256": first[:16], "killed": statuses[number] == -signal.SIGKILL}
    if world.on_gpu:
        result["cost_of_repeatable_algorithms"] = _cost(world)
    return {"passed": passed, "kinds": result}


def _cost(world: World) -> dict[str, float]:
    """Seconds of a training with algorithms that repeat, and with others."""

    def seconds(name: str) -> float:
        begun = time.perf_counter()
        trained(world, "fp32, average", name)
        world.synchronize()
        return time.perf_counter() - begun

    with_them = seconds("cost-with")
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    # fabric_for sets them again, so the training below gets a Fabric that exists already.
    from calkd_edge.training.accelerator import fabric_for  # noqa: PLC0415  # it sets them when called

    fabric = fabric_for(world.accelerator)
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.deterministic = False
    begun = time.perf_counter()
    small = world.reduced_to(min(world.size.images, 1024))
    train(small, epochs=EPOCHS, name="cost-without", fabric=fabric, losses=KD, **KINDS["fp32, average"])
    world.synchronize()
    return {"with_s": with_them, "without_s": time.perf_counter() - begun}


SECTIONS = {"A4": repeats}

if __name__ == "__main__":
    device, size_name, folder, kind, run, how = sys.argv[1:]
    here = World(torch.device(device), {"complete": COMPLETE, "reduced": REDUCED}[size_name], Path(folder))
    print(json.dumps(trained(here, kind, run, killed=how == "killed")))
