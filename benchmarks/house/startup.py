"""How long commands take to start, as ratios to `python -c "import torch"`.

Each command runs as users run it, in a process of its own; commands alternate, so that drift of the machine
falls on all of them. Writes its result beside itself.

    python benchmarks/house/startup.py [FOLDER]

FOLDER holds the store of an earlier quickstart; by default one is made first, in a temporary folder.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 5
COMMANDS = {
    "list losses": ["list", "losses"],
    "list models": ["list", "models"],
    "schema recipe": ["schema", "recipe"],
    "compress quickstart --dry-run": ["compress", "quickstart", "--dry-run"],
    "compress quickstart, all stages cached": ["compress", "quickstart"],
}


def seconds(command: list[str], folder: str) -> float:
    """Time of one process from its start to its end."""
    begun = time.perf_counter()
    subprocess.run(command, cwd=folder, capture_output=True, check=True)
    return time.perf_counter() - begun


def processor() -> str:
    """The name of this machine's processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def main() -> None:
    """Measure, print and write the ratios."""
    program = str(Path(sys.executable).with_name("calkd-edge"))
    torch = [sys.executable, "-c", "import torch"]
    with tempfile.TemporaryDirectory() as folder:
        folder = sys.argv[1] if len(sys.argv) > 1 else folder
        seconds([program, "compress", "quickstart"], folder)
        absolute: dict[str, list[float]] = {name: [] for name in ("import torch", *COMMANDS)}
        for _ in range(ROUNDS):
            absolute["import torch"].append(seconds(torch, folder))
            for name, command in COMMANDS.items():
                absolute[name].append(seconds([program, *command], folder))
    unit = statistics.median(absolute["import torch"])
    result = {
        "processor": processor(),
        "import_torch_s": round(unit, 3),
        "ratio": {name: round(statistics.median(absolute[name]) / unit, 2) for name in COMMANDS},
        "seconds": {name: [round(value, 3) for value in values] for name, values in absolute.items()},
    }
    text = json.dumps(result, indent=1) + "\n"
    Path(__file__).with_suffix(".json").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
