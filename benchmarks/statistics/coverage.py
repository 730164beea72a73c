"""Do the intervals hold what they promise? Seeded simulations of the bounds that gates use.

1. The upper bound of ECE in twelve regimes: how often it lies above the population's ECE of the same bins.
2. Every gate at its limit: how often it passes a model whose true figure is exactly the limit, nominally in 5
   of 100 samples.

3. The bounds of latency percentiles, each at 99 %, on series of 5,000 runs: independent ones, ones that
   resemble their neighbours, ones of a machine that changes between two clocks. Apart; half a minute. With
   but 20 slow spells in a series they hold less often than they say: so few cannot tell how long spells are.

A regime is a population of logits of C classes, made too sharp or left as they are: the chance to be right is
known for each image, so the population's ECE is known as well. Draws are samples of it. Writes its result
beside itself; some ten minutes.

    python benchmarks/statistics/coverage.py
    python benchmarks/statistics/coverage.py --percentiles
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy import optimize, signal, special, stats

from calkd_edge import metrics
from calkd_edge.metrics import intervals

DRAWS = 2000
POPULATION = 100_000
WANTED_COVERAGE = 0.94
MOST_FALSE_PASSES = 0.06
SIZES = (200, 300, 1000, 3000, 10_000)


@dataclass(frozen=True)
class Regime:
    """A classifier and how many images of its population a sample holds."""

    classes: int
    images: int
    spread: float
    sharp: float


REGIMES = (
    Regime(2, 500, 3.0, 1.0),
    Regime(2, 5000, 3.0, 1.5),
    Regime(2, 20_000, 3.0, 1.0),
    Regime(10, 500, 2.5, 1.3),
    Regime(10, 1000, 2.5, 1.0),
    Regime(10, 5000, 2.5, 2.0),
    Regime(10, 20_000, 2.5, 0.6),
    Regime(100, 1000, 4.0, 1.2),
    Regime(100, 5000, 4.0, 1.0),
    Regime(100, 20_000, 4.0, 1.6),
    Regime(1000, 2000, 5.0, 1.0),
    Regime(1000, 20_000, 5.0, 1.15),
)


def population(regime: Regime) -> tuple[np.ndarray, np.ndarray]:
    """[POPULATION] confidences, and the chance that each is right."""
    generator = np.random.default_rng([regime.classes, round(100 * regime.sharp)])
    confidence, chance = [], []
    for _ in range(0, POPULATION, 10_000):
        logits = generator.standard_normal((10_000, regime.classes)) * regime.spread
        truth = special.softmax(logits, axis=1)
        stated = special.softmax(logits * regime.sharp, axis=1)
        best = stated.argmax(axis=1)
        confidence.append(stated[np.arange(10_000), best])
        chance.append(truth[np.arange(10_000), best])
    return np.concatenate(confidence), np.concatenate(chance)


def coverage_of(regime: Regime) -> dict[str, Any]:
    """How often ECE's bounds hold the population's ECE."""
    confidence, chance = population(regime)
    place = metrics.equal_width_bins(confidence, 15)
    true = float(np.abs(np.bincount(place, confidence - chance, 15)).sum() / POPULATION)
    generator = np.random.default_rng([7, regime.classes, regime.images])
    above = below = 0
    for draw in range(DRAWS):
        rows = generator.integers(0, POPULATION, regime.images)
        hit = generator.random(regime.images) < chance[rows]
        found = metrics.ece_with_bounds(confidence[rows], hit, seed=draw)
        above += found.high >= true
        below += found.low <= true
    return {
        "classes": regime.classes,
        "images": regime.images,
        "accuracy": round(float(chance.mean()), 4),
        "population_ece": round(true, 5),
        "upper_covers": _share(above),
        "lower_covers": _share(below),
    }


def _share(count: int) -> dict[str, float]:
    """A share of DRAWS with its 99 % Clopper-Pearson interval."""
    bounds = stats.binomtest(count, DRAWS).proportion_ci(0.99, "exact")
    return {"value": count / DRAWS, "low": round(bounds.low, 5), "high": round(bounds.high, 5)}


Passes = Callable[[np.random.Generator, int], bool]


def top1_at(limit: float, n: int) -> float:
    """Exactly how often a gate top1 >= limit passes a model whose top-1 is the limit."""
    passing = [k for k in range(n + 1) if intervals.clopper_pearson(k, n).low >= limit]
    return float(stats.binom.sf(passing[0] - 1, n, limit)) if passing else 0.0


def drop_at(limit: float, disagreements: float) -> Passes:
    """A gate top1_drop <= limit on a model that drops by it and disagrees on a share of the images."""
    worse, better = (disagreements + limit) / 2, (disagreements - limit) / 2

    def passes(generator: np.random.Generator, n: int) -> bool:
        b, c, _ = generator.multinomial(n, [worse, better, 1 - disagreements])
        return intervals.tango(int(b), int(c), n).high <= limit

    return passes


def coverage_shift_at(limit: float, disagreements: float) -> Passes:
    """A gate coverage_shift within +-limit on a model that shifts by it."""
    more, less = (disagreements + limit) / 2, (disagreements - limit) / 2

    def passes(generator: np.random.Generator, n: int) -> bool:
        b, c, _ = generator.multinomial(n, [more, less, 1 - disagreements])
        found = intervals.tango(int(b), int(c), n)
        return found.low >= -limit and found.high <= limit

    return passes


def precision_shift_at(limit: float) -> Passes:
    """A gate precision_shift within +-limit on a model whose precision falls by it on the same images."""

    def passes(generator: np.random.Generator, n: int) -> bool:
        ease = generator.random(n)
        taken = (ease < 0.7, ease + 0.02 * generator.standard_normal(n) < 0.7)
        luck = generator.random(n)
        found = intervals.share_shift(taken, (luck < 0.92, luck < 0.92 - limit))
        return found is not None and found.low >= -limit and found.high <= limit

    return passes


def mean_rise_at(limit: float, skew: float) -> Passes:
    """A gate nll_rise <= limit, on differences that are skewed to the side that matters, or away from it."""

    def passes(generator: np.random.Generator, n: int) -> bool:
        drawn = generator.gamma(1 / skew**2, abs(skew), n)
        values = limit + 0.3 * np.sign(skew) * (drawn - abs(skew) / skew**2)
        (found,) = intervals.mean_bounds(values, seed=int(generator.integers(1 << 30)))
        return found.high <= limit

    return passes


def ece_at(sharp: float) -> Passes:
    """A gate ece <= limit on a model whose population's ECE is the limit."""
    confidence, chance = population(Regime(10, 0, 2.5, sharp))
    place = metrics.equal_width_bins(confidence, 15)
    limit = float(np.abs(np.bincount(place, confidence - chance, 15)).sum() / POPULATION)

    def passes(generator: np.random.Generator, n: int) -> bool:
        rows = generator.integers(0, POPULATION, n)
        hit = generator.random(n) < chance[rows]
        found = metrics.ece_with_bounds(confidence[rows], hit, seed=int(generator.integers(1 << 30)))
        return found.high <= limit

    return passes


GATES: dict[str, tuple[Callable[..., Passes], tuple[float, ...], int]] = {
    "top1_drop <= 1 point, 3 % disagree": (drop_at, (0.01, 0.03), 1),
    "top1_drop <= 1 point, 10 % disagree": (drop_at, (0.01, 0.10), 1),
    "top1_drop <= 3 points, 6 % disagree": (drop_at, (0.03, 0.06), 1),
    "coverage_shift within 1 point, 2 % disagree": (coverage_shift_at, (0.01, 0.02), 1),
    "coverage_shift within 1 point, 5 % disagree": (coverage_shift_at, (0.01, 0.05), 1),
    "precision_shift within 2 points": (precision_shift_at, (0.02,), 1),
    "nll_rise <= .03, long tail of losses": (mean_rise_at, (0.03, 1.5), intervals.FEWEST_IMAGES_FOR_A_MEAN),
    "nll_rise <= .03, long tail of gains": (mean_rise_at, (0.03, -1.5), intervals.FEWEST_IMAGES_FOR_A_MEAN),
    "brier_rise <= .01, nearly symmetric": (mean_rise_at, (0.01, 0.3), intervals.FEWEST_IMAGES_FOR_A_MEAN),
    "ece <= its own, sharp by 1.3": (ece_at, (1.3,), intervals.FEWEST_IMAGES_FOR_ECE),
    "ece <= its own, sharp by 2": (ece_at, (2.0,), intervals.FEWEST_IMAGES_FOR_ECE),
}
"""By name: what passes, its numbers, and the fewest images with which the gate decides at all."""


_NUMBERS = {name: number for number, name in enumerate(GATES, start=3)}
"""Seeds of the gates."""

TOP1_LIMITS = (0.5, 0.7, 0.9, 0.97, 0.99)


def false_passes(name: str) -> dict[str, Any]:
    """How often one gate passes a model at its limit, by the number of images."""
    build, numbers, fewest = GATES[name]
    passes = build(*numbers)
    found = {}
    for size in SIZES:
        if size >= fewest:
            generator = np.random.default_rng([11, _NUMBERS[name], size])
            found[str(size)] = _share(sum(passes(generator, size) for _ in range(DRAWS)))
    return found


RUNS = 5000
SERIES_DRAWN = 5000
SHARES = (0.5, 0.9, 0.95, 0.99)
KEPT = 0.6
SLOW_SHARE, SLOWER = 0.2, 1.3
"""A machine is at its slow clock so much of the time, and takes so much longer there."""

Series = Callable[[np.random.Generator], np.ndarray]


def independent(generator: np.random.Generator) -> np.ndarray:
    """[RUNS] milliseconds that know nothing of each other."""
    return 1 + generator.gamma(2.0, 0.1, RUNS)


def neighbours(generator: np.random.Generator) -> np.ndarray:
    """[RUNS] whose logarithm keeps KEPT of what the last one was off."""
    drawn = generator.standard_normal(RUNS)
    drawn[0] /= np.sqrt(1 - KEPT**2)
    return np.exp(0.1 * signal.lfilter([1], [1, -KEPT], drawn))


def two_clocks(dwell: int, generator: np.random.Generator) -> np.ndarray:
    """[RUNS] at a fast and a slow clock, in spells of random length; slow ones have `dwell` runs or so."""
    leaves = np.array([SLOW_SHARE / (1 - SLOW_SHARE), 1.0]) / dwell
    state, states = int(generator.random() < SLOW_SHARE), np.empty(0, dtype=np.int64)
    while len(states) < RUNS:
        states = np.append(states, np.full(generator.geometric(leaves[state]), state))
        state = 1 - state
    return np.where(states[:RUNS], SLOWER, 1.0) * (1 + generator.gamma(2.0, 0.05, RUNS))


def _gamma_cdf(value: float, scale: float) -> float:
    return float(stats.gamma.cdf(value - 1, 2.0, scale=scale))


def _two_clocks_cdf(value: float) -> float:
    slow = SLOW_SHARE * _gamma_cdf(value / SLOWER, 0.05)
    return (1 - SLOW_SHARE) * _gamma_cdf(value, 0.05) + slow


def _true_quantile(cdf: Callable[[float], float], share: float) -> float:
    return float(optimize.brentq(lambda value: cdf(value) - share, 0.2, 5.0))


SERIES: dict[str, tuple[Series, Callable[[float], float], float]] = {
    "independent": (independent, lambda value: _gamma_cdf(value, 0.1), 0.985),
    f"AR(1) {KEPT}": (
        neighbours,
        lambda value: float(stats.norm.cdf(np.log(value) / 0.1 * np.sqrt(1 - KEPT**2))),
        0.98,
    ),
    "two clocks, 100 slow spells": (partial(two_clocks, 10), _two_clocks_cdf, 0.98),
    "two clocks, 20 slow spells": (partial(two_clocks, 50), _two_clocks_cdf, 0.98),
}
"""By name: how it is drawn, its distribution, and how often a bound at 99 % is to hold."""


def percentile_coverage() -> dict[str, Any]:
    """How often each bound of each percentile holds, of SERIES_DRAWN series and where it is printed."""
    found: dict[str, Any] = {}
    for number, (name, (draw, cdf, wanted)) in enumerate(SERIES.items()):
        generator = np.random.default_rng([13, number])
        true = [_true_quantile(cdf, share) for share in SHARES]
        above, below, carried = (np.zeros(len(SHARES), dtype=np.int64) for _ in range(3))
        for _ in range(SERIES_DRAWN):
            series = draw(generator)
            for place, share in enumerate(SHARES):
                bounds = intervals.quantile_bounds(series, share, level=0.99)
                if bounds.value is not None and bounds.low is not None and bounds.high is not None:
                    carried[place] += 1
                    above[place] += bounds.high >= true[place]
                    below[place] += bounds.low <= true[place]
        found[name] = {
            "wanted": wanted,
            "percentiles": {
                f"p{100 * share:.0f}": {
                    "true_ms": round(true[place], 5),
                    "printed": float(carried[place]) / SERIES_DRAWN,
                    "upper_covers": _share_of(above[place], carried[place]),
                    "lower_covers": _share_of(below[place], carried[place]),
                }
                for place, share in enumerate(SHARES)
            },
        }
    return found


def _share_of(count: int, draws: int) -> dict[str, float] | None:
    if not draws:
        return None
    bounds = stats.binomtest(int(count), int(draws)).proportion_ci(0.99, "exact")
    told = {"value": count / draws, "low": bounds.low, "high": bounds.high}
    return {name: round(float(value), 5) for name, value in told.items()}


def percentiles() -> None:
    """The third simulation, and whether it holds what was promised."""
    found = percentile_coverage()
    result = {"draws": SERIES_DRAWN, "runs": RUNS, "level": 0.99, "series": found}
    place = Path(__file__).with_name("percentiles.json")
    place.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for name, one in found.items():
        for percentile, told in one["percentiles"].items():
            both = [told[f"{side}_covers"]["value"] for side in ("upper", "lower") if told["printed"]]
            short = "" if min(both) >= one["wanted"] else f"  below {one['wanted']}"
            print(f"{name:28} {percentile}  printed {told['printed']:.3f}  upper, lower {both}{short}")


def main() -> None:
    """Both simulations, then whether they hold what was promised."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--percentiles", action="store_true", help="Only those of latency.")
    options = parser.parse_args()
    if options.percentiles:
        percentiles()
        return
    with ProcessPoolExecutor(options.processes) as pool:
        rows = list(pool.map(coverage_of, REGIMES))
        gates = dict(zip(GATES, pool.map(false_passes, GATES), strict=True))
    for limit in TOP1_LIMITS:
        found = {size: top1_at(limit, size) for size in SIZES}
        gates[f"top1 >= {limit:.0%}, exact"] = {
            str(size): {"value": round(share, 5), "low": round(share, 5), "high": round(share, 5)}
            for size, share in found.items()
        }
    short = [row for row in rows if row["upper_covers"]["high"] < WANTED_COVERAGE]
    loose = {
        f"{name}, {size} images": one["value"]
        for name, sizes in gates.items()
        for size, one in sizes.items()
        if one["value"] > MOST_FALSE_PASSES
    }
    result = {
        "draws": DRAWS,
        "regimes_wholly_below": {"wanted": WANTED_COVERAGE, "found": short},
        "gates_that_pass_too_often": {"most": MOST_FALSE_PASSES, "found": loose},
        "ece": rows,
        "gates": gates,
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(row["classes"], row["images"], row["population_ece"], row["upper_covers"], row["lower_covers"])
    for name, sizes in gates.items():
        print(name, {size: one["value"] for size, one in sizes.items()})
    print(f"{len(short)} regimes cover too little, {len(loose)} gates pass too often: {loose}")


if __name__ == "__main__":
    main()
