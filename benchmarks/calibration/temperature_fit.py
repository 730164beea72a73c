"""The temperature of a million rows of a thousand logits: ours from disk, against torch's LBFGS in memory.

Logits are float16 in a .npy file (2 GB). Ours maps the file. torch's LBFGS, with strong Wolfe line search,
minimises cross-entropy in log(1/T) over the same logits as float32 in memory, as users of it do, and stops
where the gradient is below the tolerance that ours keeps. Both run in a process of their own, turn by turn;
a process' peak is of anonymous memory, so that pages of the mapped file, which the system may drop at any
time, do not count. Writes its result beside itself.

    python benchmarks/calibration/temperature_fit.py --folder DIR_WITH_2_GB
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from calkd_edge.metrics.inverse_temperature import best_inverse_temperature

ROWS, CLASSES, TEMPERATURE = 1_000_000, 1000, 1.7
ROUNDS = 3
TOLERANCE = 1e-7
"""Of the gradient in log(1/T): an error of about as much in log(T), ours' own."""

CHUNK = 10_000


def write_logits(folder: Path, rows: int) -> None:
    """logits.npy and labels.npy, drawn so that the best temperature is about TEMPERATURE."""
    logits = np.lib.format.open_memmap(folder / "logits.npy", "w+", np.float16, (rows, CLASSES))
    labels = np.empty(rows, dtype=np.int64)
    generator = np.random.default_rng(0)
    for start in range(0, rows, CHUNK):
        size = min(CHUNK, rows - start)
        z = generator.standard_normal((size, CLASSES), dtype=np.float32)
        z *= 2.5
        # A Gumbel to each logit makes the largest a draw from their softmax.
        with np.errstate(divide="ignore"):  # a draw of zero makes its class the label
            noise = -np.log(generator.standard_exponential((size, CLASSES), dtype=np.float32))
        labels[start : start + size] = (z + noise).argmax(axis=1)
        logits[start : start + size] = z * TEMPERATURE
    logits.flush()
    np.save(folder / "labels.npy", labels)


def ours(folder: Path) -> dict[str, float]:
    """One fit of the mapped file."""
    logits, labels = np.load(folder / "logits.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    begun = time.perf_counter()
    found = best_inverse_temperature(logits, labels)
    return {
        "seconds": time.perf_counter() - begun,
        "temperature": 1 / found.beta,
        "nll": found.nll_after,
        "passes": found.passes,
    }


def lbfgs(folder: Path) -> dict[str, float]:
    """One fit of the file, read into float32 beforehand; the reading is not timed."""
    import torch  # noqa: PLC0415  # its memory is not ours' to carry

    half = np.load(folder / "logits.npy", mmap_mode="r")
    logits = torch.empty(half.shape, dtype=torch.float32)
    for start in range(0, len(half), CHUNK):
        logits[start : start + CHUNK] = torch.from_numpy(half[start : start + CHUNK].copy()).float()
    labels = torch.from_numpy(np.load(folder / "labels.npy"))
    log_beta = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [log_beta],
        max_iter=100,
        tolerance_grad=TOLERANCE,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )
    passes = 0

    def closure() -> torch.Tensor:
        nonlocal passes
        passes += 1
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits * log_beta.exp(), labels)
        loss.backward()
        return loss

    begun = time.perf_counter()
    optimizer.step(closure)
    return {
        "seconds": time.perf_counter() - begun,
        "temperature": float((-log_beta).exp().detach()),
        "passes": passes,
    }


def with_peak(fit: str, folder: Path) -> dict[str, float]:
    """A fit in a process of its own, and the most anonymous memory it was seen to hold."""
    command = [sys.executable, __file__, "--folder", str(folder), "--fit", fit]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            try:
                status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
            except OSError:
                return
            lines = [line for line in status.splitlines() if line.startswith("RssAnon")]
            peak = max(peak, *(int(line.split()[1]) for line in lines), 0)

    watcher = threading.Thread(target=watch)
    watcher.start()
    out, _ = process.communicate()
    done.set()
    watcher.join()
    if process.returncode:
        raise SystemExit(f"{fit} ended with {process.returncode}")
    return {**json.loads(out), "peak_mib": round(peak / 1024)}


def main() -> None:
    """Three rounds of both, then the result."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--fit", choices=("ours", "lbfgs"))
    options = parser.parse_args()
    if options.fit:
        print(json.dumps((ours if options.fit == "ours" else lbfgs)(options.folder)))
        return
    if not (options.folder / "labels.npy").is_file():
        write_logits(options.folder, options.rows)
    found = {"ours": [], "lbfgs": []}
    for _ in range(ROUNDS):
        for fit, runs in found.items():
            runs.append(with_peak(fit, options.folder))
            print(fit, runs[-1], flush=True)
    seconds = {fit: statistics.median(run["seconds"] for run in runs) for fit, runs in found.items()}
    result = {
        "rows": options.rows,
        "classes": CLASSES,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "times_as_fast": round(seconds["lbfgs"] / seconds["ours"], 2),
        "runs": found,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(f"ours is {result['times_as_fast']} times as fast")


if __name__ == "__main__":
    main()
