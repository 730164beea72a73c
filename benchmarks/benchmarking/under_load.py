"""Verdicts on int8 on a busy machine, against those of quiet runs of the same files.

Runs `calkd-edge benchmark RUN` (profile quick) beside two busy loops, then alone, and counts the verdicts. A
verdict under load that the quiet runs contradict would be a fault. Writes its result beside itself.

    python benchmarks/benchmarking/under_load.py RUN [LOADED [QUIET]]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

BUSY = [sys.executable, "-c", "while True: pass"]
LOOPS = 2


def benchmark(run: Path, folder: Path) -> dict[str, Any]:
    """One quick benchmark of fp32 and int8, as its JSON."""
    program = str(Path(sys.executable).with_name("calkd-edge"))
    line = [
        program,
        "benchmark",
        str(run),
        "--precision",
        "fp32",
        "--precision",
        "int8",
        "--out",
        str(folder),
    ]
    subprocess.run(line, capture_output=True, check=True)
    result: dict[str, Any] = json.loads((folder / "benchmark.json").read_text())
    return result


def summary(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Verdicts, ratios and the cores that others used."""
    verdicts = [result["worth"][0] for result in results]
    return {
        "benchmarks": len(results),
        "verdicts": dict(Counter(item["worth"] for item in verdicts)),
        "reasons": dict(Counter(item["reason"].split(";")[0].split(",")[0][:60] for item in verdicts)),
        "ratios": [round(item["ratio"]["value"], 3) for item in verdicts],
        "others_cores": [round(result["others_cores"], 2) for result in results],
        "seconds": [round(result["seconds"]["whole"], 1) for result in results],
    }


def processor() -> str:
    """The name of this machine's processor."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def main() -> None:
    """Measure under load, then alone; print and write both."""
    run = Path(sys.argv[1])
    loaded, quiet = (
        int(sys.argv[index]) if len(sys.argv) > index else default for index, default in ((2, 40), (3, 10))
    )
    target = Path(__file__).with_suffix(".json")
    with tempfile.TemporaryDirectory() as folder:
        loops = [subprocess.Popen(BUSY) for _ in range(LOOPS)]
        try:
            under_load = [benchmark(run, Path(folder)) for _ in range(loaded)]
        finally:
            for loop in loops:
                loop.kill()
        alone = [benchmark(run, Path(folder)) for _ in range(quiet)]
    result = {
        "processor": processor(),
        "busy_loops": LOOPS,
        "loaded": summary(under_load),
        "quiet": summary(alone),
    }
    target.write_text(json.dumps(result, indent=1) + "\n")
    print(target.read_text())


if __name__ == "__main__":
    main()
