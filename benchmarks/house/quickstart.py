"""The quickstart as users run it: seconds of its stages in a fresh store, the expected time, what it came to.

The machine should be quiet. Writes its result beside itself; FOLDER, where given, keeps the run.

    python benchmarks/house/quickstart.py [FOLDER]
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from startup import processor

KINDS = ("teacher", "distill", "soft-labels", "predict", "benchmark", "export", "quantize", "evaluate")


def kind_of(stage: str) -> str:
    """The kind of a stage, from its name; teacher and distill are trainings."""
    return next((kind for kind in KINDS if stage.startswith(kind)), "others")


def main() -> None:
    """Run, sum up, print and write."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(sys.argv[1] if len(sys.argv) > 1 else scratch)
        command = [sys.executable, "-m", "calkd_edge", "compress", "quickstart"]
        command += ["--store", str(folder / "store"), "--out", str(folder / "out")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        report = json.loads((folder / "out" / "report.json").read_text(encoding="utf-8"))
    expected = re.search(r"Expected time: about ([^;]+?) on this machine", done.stderr + done.stdout)
    seconds: Counter[str] = Counter()
    for line in report["plan"]:
        seconds[kind_of(line["stage"])] += line["seconds"]
    others = [line["seconds"] for line in report["plan"] if kind_of(line["stage"]) not in KINDS[:3]]
    result = {
        "processor": processor(),
        "expected": expected.group(1) if expected else None,
        "seconds_of_all_stages": round(seconds.total(), 1),
        "seconds": {kind: round(value, 1) for kind, value in seconds.most_common()},
        "mean_of_other_stages_s": round(sum(others) / len(others), 2),
        "verdict": report["verdict"],
        "top1": {
            f"{row['model']} {row['precision']}": row["quality"]["top1"]["value"]
            for row in report["measurements"]
            if row["calibrated"]
        },
    }
    print(json.dumps(result, indent=1))
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
