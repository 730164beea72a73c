"""What a quick benchmark costs beside timing and warm-up: here, and on a board behind sshd on loopback.

Each command is a process of its own, as typed; the first one of each place fills caches and is told apart.
The overhead is what benchmark.json tells: everything from the command line to the result but timing, warm-up,
rests and building. Writes its result beside itself; three minutes. The board needs openssh-server.

    python benchmarks/device/overhead.py RUN [--repeat 5] [--result FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from calkd_edge.agent import probe
from calkd_edge.devices.agent_zip import agent_zip

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))
import loopback_board  # noqa: E402  # found by the line above

RESULT = Path(__file__).with_suffix(".json")
LIMITS_S = {"local": 3.0, "board": 6.0}
LIMIT_BYTES = 40_000


def overhead_s(run: Path, device: str, out: Path, variables: dict[str, str]) -> float:
    """Of one command that times one precision."""
    words = ["benchmark", str(run), "--device", device, "--precision", "int8", "--out", str(out)]
    subprocess.run(
        [sys.executable, "-m", "calkd_edge", *words],
        env={**os.environ, **variables},
        check=True,
        capture_output=True,
    )
    told = json.loads((out / "benchmark.json").read_text(encoding="utf-8"))
    return float(told["seconds"]["overhead"])


def main() -> None:
    """Both places in turns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "board").mkdir()
        board = loopback_board.start(folder / "board")
        config = folder / "config/calkd-edge"
        config.mkdir(parents=True)
        (config / "devices.yaml").write_text(f"board: {{host: {board.host}}}\n", encoding="utf-8")
        variables = {
            "PATH": f"{board.client}:{os.environ['PATH']}",
            "XDG_CONFIG_HOME": str(folder / "config"),
        }
        taken: dict[str, list[float]] = {device: [] for device in LIMITS_S}
        try:
            for _ in range(1 + options.repeat):
                for device, found in taken.items():
                    found.append(overhead_s(options.run, device, folder / "out", variables))
        finally:
            board.stop()
    told: dict[str, Any] = {"cpu": probe.run({})["cpu"], "agent_zip_bytes": len(agent_zip())}
    told["held"] = len(agent_zip()) <= LIMIT_BYTES
    for device, found in taken.items():
        warm = found[1:]
        told[device] = {"first_s": round(found[0], 2), "warm_s": [round(one, 2) for one in warm]}
        told[device].update(median_s=round(float(np.median(warm)), 2), limit_s=LIMITS_S[device])
        told["held"] = bool(told["held"] and max(warm) <= LIMITS_S[device])
    options.result.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(told, indent=1))


if __name__ == "__main__":
    main()
