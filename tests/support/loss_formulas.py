"""Losses on logits by their papers' formulas in NumPy, independent of the package."""

from __future__ import annotations

import numpy as np
from scipy import special, stats


def kd_by_hand(student, teacher, t):
    p, q = special.softmax(teacher / t, axis=1), special.softmax(student / t, axis=1)
    return t**2 * stats.entropy(p, q, axis=1).mean()


def parts_by_hand(student, teacher, labels, t):
    """TCKD, NCKD and 1 - p_label of the teacher for each row, without t squared."""
    p, q = special.softmax(teacher / t, axis=1), special.softmax(student / t, axis=1)
    rows = np.arange(len(labels))
    binary = [np.stack([x[rows, labels], 1 - x[rows, labels]], axis=1) for x in (p, q)]
    rest = [np.stack([np.delete(row, label) for row, label in zip(x, labels, strict=True)]) for x in (p, q)]
    return stats.entropy(*binary, axis=1), stats.entropy(*rest, axis=1), 1 - p[rows, labels]


def dkd_by_hand(student, teacher, labels, alpha=1.0, beta=8.0, temperature=4.0, **_):
    target, others, _ = parts_by_hand(student, teacher, labels, temperature)
    return temperature**2 * (alpha * target + beta * others).mean()


def cross_entropy_by_hand(student, labels, label_smoothing=0.0):
    log_p = special.log_softmax(student, axis=1)
    expected = np.full_like(log_p, label_smoothing / log_p.shape[1])
    expected[np.arange(len(labels)), labels] += 1 - label_smoothing
    return -(expected * log_p).sum(axis=1).mean()


def dist_by_hand(student, teacher, beta=1.0, gamma=1.0, temperature=4.0):
    p, q = special.softmax(teacher / temperature, axis=1), special.softmax(student / temperature, axis=1)
    by_image = np.mean([stats.pearsonr(a, b).statistic for a, b in zip(p, q, strict=True)])
    by_class = np.mean([stats.pearsonr(a, b).statistic for a, b in zip(p.T, q.T, strict=True)])
    return temperature**2 * (beta * (1 - by_image) + gamma * (1 - by_class))


def nkd_by_hand(student, teacher, labels, gamma=3.5, temperature=3.0):
    total = 0.0
    for z, v, label in zip(student, teacher, labels, strict=True):
        total -= special.softmax(v)[label] * np.log(special.softmax(z)[label])
        others = special.softmax(np.delete(v, label) / temperature)
        ours = special.softmax(np.delete(z, label) / temperature)
        total -= gamma * temperature**2 * (others * np.log(ours)).sum()
    return total / len(labels)


def mlkd_by_hand(student, teacher, temperatures=(2, 3, 4, 5, 6), standardize=False, masks=True):
    p = special.softmax(teacher, axis=1)
    confident, frequent = p.max(axis=1), p.sum(axis=0)
    images = [c <= np.median(confident) or not masks for c in confident]
    classes = [c <= np.median(frequent) or not masks for c in frequent]
    total, (rows, width) = 0.0, student.shape
    for t in temperatures:
        z, v = [stats.zscore(x, axis=1, ddof=1) if standardize else x for x in (student, teacher)]
        divergence = stats.entropy(special.softmax(v / t, axis=1), special.softmax(z / t, axis=1), axis=1)
        total += t**2 * divergence[images].sum() / rows
        ours, theirs = special.softmax(student / t, axis=1), special.softmax(teacher / t, axis=1)
        for i in range(rows):
            pairs = [(theirs[i] @ theirs[j] - ours[i] @ ours[j]) ** 2 for j in range(rows) if images[j]]
            total += sum(pairs) / rows
        for i in range(width):
            for j in range(width):
                if classes[j]:
                    total += (theirs[:, i] @ theirs[:, j] - ours[:, i] @ ours[:, j]) ** 2 / width
    return total


def ttm_by_hand(student, teacher, power, *, weighted):
    powered, q = special.softmax(teacher, axis=1) ** power, special.softmax(student, axis=1)
    weights = powered.sum(axis=1) if weighted else np.ones(len(q))
    return (weights * stats.entropy(powered, q, axis=1)).mean()


def ctkd_by_hand(student, teacher, lowest_temperature=1.0, temperature_span=20.0, initial=1.0):
    return kd_by_hand(student, teacher, lowest_temperature + temperature_span * special.expit(initial))


def by_hand(name, settings, student, teacher, labels):
    if settings.get("standardize") and name in ("kd", "dkd"):
        student, teacher = stats.zscore(student, axis=1, ddof=1), stats.zscore(teacher, axis=1, ddof=1)
        settings = {key: value for key, value in settings.items() if key != "standardize"}
    return {
        "cross_entropy": lambda: cross_entropy_by_hand(student, labels, **settings),
        "kd": lambda: kd_by_hand(student, teacher, settings.get("temperature", 4.0)),
        "dkd": lambda: dkd_by_hand(student, teacher, labels, **settings),
        "dist": lambda: dist_by_hand(student, teacher, **settings),
        "nkd": lambda: nkd_by_hand(student, teacher, labels, **settings),
        "mlkd": lambda: mlkd_by_hand(student, teacher, **settings),
        "ctkd": lambda: ctkd_by_hand(student, teacher, **settings),
        "ttm": lambda: ttm_by_hand(student, teacher, settings.get("power", 0.1), weighted=False),
        "wttm": lambda: ttm_by_hand(student, teacher, settings.get("power", 0.2), weighted=True),
    }[name]()
