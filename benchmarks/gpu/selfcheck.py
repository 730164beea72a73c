"""Does calkd-edge compute the right thing on this GPU, and how fast?

python benchmarks/gpu/selfcheck.py [--device cuda|cpu] [--only A1,B2] [--output RESULT.json]

One command of at most 350 s, without data and without a network; every section runs in a process of its own
with its own limit. A sections pass or fail and decide the exit code: 0 if all of them pass. B sections
measure. Each section prints a line of JSON; a table follows.

--device cpu runs it reduced: small networks, few steps, and one thread compared with two instead of the CPU
with the GPU. It shows that the check itself works, not that a GPU would pass: not yet run on a GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
FILES = {
    "agreement": ("A0", "A1", "A2", "A3", "A5", "A7"),
    "repeats": ("A4",),
    "ranks": ("A6",),
    "speed": ("B1",),
    "parts": ("B2", "B3", "B4"),
}
LIMITS_S = {
    "A0": 20,
    "A1": 15,
    "A2": 25,
    "A3": 35,
    "A4": 70,
    "A5": 25,
    "A6": 50,
    "A7": 15,
    "B1": 120,
    "B2": 25,
    "B3": 15,
    "B4": 10,
}
CPU_LIMIT_S = 120
HEAD = ("section", "device", "passed", "seconds", "judged")
TOTAL_S = 350


def module_of(section: str) -> str:
    """The file that has a section."""
    return next(name for name, sections in FILES.items() if section in sections)


def run_here(section: str, device: str) -> None:
    """Run one section in this process, and print its line."""
    sys.path[:0] = [str(HERE), str(ROOT)]
    from importlib import import_module  # noqa: PLC0415  # a section's own process loads torch

    import torch  # noqa: PLC0415  # as above

    world_module = import_module("world")
    size = world_module.COMPLETE if device == "cuda" else world_module.REDUCED
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        world = world_module.World(torch.device(device), size, Path(folder))
        result = import_module(module_of(section)).SECTIONS[section](world)
    line = {"section": section, "device": device, "seconds": round(time.perf_counter() - begun, 1), **result}
    print(json.dumps(line), flush=True)


def run_apart(section: str, device: str, limit_s: float) -> dict[str, Any]:
    """The line of a section that runs in another process; a failed one where it ends without a line."""
    # As the command line sets them before torch is loaded.
    environment = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "GOMP_SPINCOUNT": "3000", **os.environ}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, __file__, "--device", device, "--here", section]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit_s)
    except subprocess.TimeoutExpired:
        return {
            "section": section,
            "device": device,
            "passed": False,
            "failed": f"no end after {limit_s:.0f} s",
        }
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"section"')]
    if done.returncode or not lines:
        return _failed(section, device, done.stderr[-1500:])
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def _failed(section: str, device: str, reason: str) -> dict[str, Any]:
    return {"section": section, "device": device, "passed": False, "failed": reason}


def table(lines: list[dict[str, Any]]) -> str:
    """A row for each section: its verdict, its time, and its first figures."""
    words = {True: "passed", False: "FAILED", None: "measured"}
    rows = []
    for line in lines:
        verdict = words[line.get("passed")] if line.get("judged", True) else "told"
        figures = {
            key: line[key] for key in line if key not in ("section", "device", "passed", "seconds", "judged")
        }
        text = json.dumps(figures)
        rows.append(f"{line['section']}  {verdict:9} {line.get('seconds', '-'):>6}  {text[:140]}")
    return "\n".join(rows)


def main() -> int:
    """Run the chosen sections; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], allow_abbrev=False)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--only", default=",".join(LIMITS_S), help="sections, with commas between them")
    parser.add_argument("--output", type=Path, help="a file for the lines as one JSON document")
    parser.add_argument("--here", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.here:
        run_here(chosen.here, chosen.device)
        return 0
    sections = [name.strip() for name in chosen.only.split(",")]
    if unknown := sorted(set(sections) - LIMITS_S.keys()):
        parser.error(f"no such sections: {', '.join(unknown)}")
    deadline = time.monotonic() + TOTAL_S
    lines: list[dict[str, Any]] = []

    def run(section: str) -> dict[str, Any]:
        limit = LIMITS_S[section] if chosen.device == "cuda" else CPU_LIMIT_S
        line = run_apart(section, chosen.device, max(1.0, min(limit, deadline - time.monotonic())))
        print(json.dumps(line), flush=True)
        return line

    # A GPU is given to one section at a time; on a CPU nothing is timed that others could disturb.
    with ThreadPoolExecutor(1 if chosen.device == "cuda" else 2) as pool:
        lines = list(pool.map(run, sections))
    print(table(lines))
    if chosen.output is not None:
        facts = next((line for line in lines if line["section"] == "A0"), {})
        document = {
            "device": chosen.device,
            "processor": facts.get("processor"),
            "gpus": facts.get("cuda", {}).get("gpus", []),
            "sections": lines,
        }
        chosen.output.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(line["passed"] is not False for line in lines) else 1


if __name__ == "__main__":
    sys.exit(main())
