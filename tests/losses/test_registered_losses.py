"""Registered losses with other settings than the defaults: each against its paper's formula in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from loss_cases import CLASSES, IMAGES, ROWS, build, context_of, drawn_step, features_of, with_features
from loss_formulas import by_hand
from scipy import special, stats
from scipy.spatial import distance
from torch import nn

from calkd_edge.losses import LOSSES
from calkd_edge.registry import settings_model

# Of each pair of stages another network has the larger map, and no two taps share a name but "late".
STUDENT = {"shallow": (6, 8, 8), "late": (4, 4, 4), "vector": (12,)}
TEACHER = {"early": (5, 4, 4), "late": (10, 8, 8), "embedding": (9,)}
CONTEXT = context_of(STUDENT, TEACHER)
EPOCH = 3.0
STAGES = {"student": ["shallow", "late"], "teacher": ["early", "late"]}
CROSSED = {"student": ["shallow", "late"], "teacher": ["late", "early"]}
REVIEWED = {"student": ["shallow", "late", "vector"], "teacher": ["early", "late", "embedding"]}
LATE = {"student": "late", "teacher": "late"}
BANKS = {"size": 5, "negatives": 64, "temperature": 0.2, "momentum": 0.8}
HEADS = {"student_classifier": "head", "teacher_classifier": "head"}

# Every case gives every setting of its loss.
CASES = {
    "cross_entropy": [{"label_smoothing": 0.3}],
    "kd": [{"temperature": 2.5, "standardize": False}, {"temperature": 2.5, "standardize": True}],
    "dkd": [
        {"alpha": 0.5, "beta": 3.0, "temperature": 2.0, "warmup_epochs": 12.0, "standardize": False},
        {"alpha": 2.0, "beta": 0.7, "temperature": 1.5, "warmup_epochs": 5.0, "standardize": True},
    ],
    "dist": [{"beta": 2.0, "gamma": 0.5, "temperature": 1.5}],
    "nkd": [{"gamma": 1.5, "temperature": 2.0}],
    "mlkd": [
        {"temperatures": [1.5, 3.5], "standardize": False, "masks": True},
        {"temperatures": [2.5], "standardize": True, "masks": False},
    ],
    "ctkd": [
        {"lowest_temperature": 2.0, "temperature_span": 5.0, "initial": -0.5, "curriculum_epochs": 20.0}
    ],
    "ttm": [{"power": 0.5}],
    "wttm": [{"power": 0.6}],
    "hint": [LATE, {"student": "shallow", "teacher": "early"}, {"student": "late", "teacher": "embedding"}],
    "at": [{**STAGES, "power": 3.0}],
    "nst": [{**STAGES, "kernel": kernel} for kernel in ("linear", "polynomial", "gaussian")],
    "pkt": [{"student": "late", "teacher": "embedding"}, {"student": "vector", "teacher": "early"}],
    "sp": [{"student": "shallow", "teacher": "late"}],
    "rkd": [{"student": "late", "teacher": "embedding", "distance_weight": 3.0, "angle_weight": 7.0}],
    "vid": [{**STAGES, "initial_variance": 2.5}],
    "ofd": [{**STAGES, "teacher_norms": ["norm_early", "norm_late"]}],
    "crd": [
        {"student": "late", "teacher": "embedding", **BANKS},
        {"student": "vector", "teacher": "early", **BANKS},
    ],
    "reviewkd": [
        {**REVIEWED, "warmup_epochs": 12.0, "channels": 3},
        {**CROSSED, "warmup_epochs": 4.0, "channels": 100},
    ],
    "cat_kd": [{**LATE, **HEADS, "resolution": 4}],
}


def built(name, settings):
    """The loss in float64; the weights and biases of its normalisations are drawn, not left at 1 and 0."""
    loss = build(name, settings, CONTEXT).double()
    for module in loss.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return loss


def unequal_step(seed=0):
    """A step of epoch EPOCH whose maps have other sizes in the student than in the teacher."""
    ours, theirs = features_of(STUDENT, ROWS, seed + 100), features_of(TEACHER, ROWS, seed + 200)
    return with_features(drawn_step(seed, scale=1.0, epoch=EPOCH), ours, theirs)


# What the formulae read, and the layers.


def pairs(step, student, teacher):
    """The two networks' features at each pair of taps."""
    taps = [[element] if isinstance(element, str) else element for element in (student, teacher)]
    return [
        (step.student.features[ours].numpy(), step.teacher.features[theirs].numpy())
        for ours, theirs in zip(*taps, strict=True)
    ]


def unit(values, axis=-1):
    """At length 1 along the axis; zeros stay."""
    lengths = np.linalg.norm(values, axis=axis, keepdims=True)
    return values / np.where(lengths == 0, 1, lengths)


def averaged(maps, size):
    """Maps averaged to size x size, which divides them."""
    cell = maps.shape[2] // size
    return maps.reshape(*maps.shape[:2], size, cell, size, cell).mean((3, 5))


def at_smaller_size(first, second):
    size = min(first.shape[2], second.shape[2])
    return averaged(first, size), averaged(second, size)


def pooled(feature):
    return feature.mean((2, 3)) if feature.ndim == 4 else feature


def repeated(maps, size):
    """Maps brought to size x size by the nearest pixel up and to the left."""
    picked = np.arange(size) * maps.shape[2] // size
    return maps[:, :, picked][:, :, :, picked]


def linear(vectors, layer):
    return vectors @ layer.weight.detach().numpy().T + layer.bias.detach().numpy()


def convolved(maps, layer, kernel):
    """Maps after a convolution that keeps their size, whose kernel must be kernel x kernel."""
    weight = layer.weight.detach().numpy()
    assert weight.shape[2:] == (kernel, kernel)
    padded = np.pad(maps, [(0, 0), (0, 0), (kernel // 2,) * 2, (kernel // 2,) * 2])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel), axis=(2, 3))
    bias = 0.0 if layer.bias is None else layer.bias.detach().numpy()[:, None, None]
    return np.einsum("bihwyx,oiyx->bohw", windows, weight) + bias


def batch_normalized(maps, norm):
    """What a batch normalisation gives in training."""
    mean, variance = maps.mean((0, 2, 3), keepdims=True), maps.var((0, 2, 3), keepdims=True)
    weight, bias = (x.detach().numpy()[:, None, None] for x in (norm.weight, norm.bias))
    return (maps - mean) / np.sqrt(variance + norm.eps) * weight + bias


# The formulae: (loss, for the weights of its layers; step; every setting) -> the scalar.


def on_logits(name, step, settings):
    """The formula of test_logit_losses, with the warm-up."""
    student, teacher = step.student.logits.detach().numpy(), step.teacher.logits.numpy()
    known = {key: value for key, value in settings.items() if key != "curriculum_epochs"}
    share = min(1, EPOCH / settings.get("warmup_epochs", EPOCH))
    return share * by_hand(name, known, student, teacher, step.labels.numpy())


def hint(loss, step, *, student, teacher):
    ((ours, theirs),) = pairs(step, student, teacher)
    if ours.ndim == theirs.ndim == 4:
        ours, theirs = at_smaller_size(ours, theirs)
        ours = batch_normalized(convolved(ours, loss.projection[0], 1), loss.projection[1])
    else:
        ours, theirs = linear(pooled(ours), loss.projection), pooled(theirs)
    return ((ours - theirs) ** 2).mean()


def at(loss, step, *, student, teacher, power):
    total = 0.0
    for pair in pairs(step, student, teacher):
        strong = [(np.abs(x) ** power).mean(1).reshape(ROWS, -1) for x in at_smaller_size(*pair)]
        total += ((unit(strong[0]) - unit(strong[1])) ** 2).mean()
    return total


def nst(loss, step, *, student, teacher, kernel):
    total = 0.0
    for pair in pairs(step, student, teacher):
        for x, y in zip(*(unit(z.reshape(*z.shape[:2], -1)) for z in at_smaller_size(*pair)), strict=True):
            width = distance.cdist(x, y, "sqeuclidean").mean()
            like = {
                "linear": lambda a, b: a @ b.T,
                "polynomial": lambda a, b: (a @ b.T) ** 2,
                "gaussian": lambda a, b, w=width: np.exp(-distance.cdist(a, b, "sqeuclidean") / (2 * w)),
            }[kernel]
            total += (like(x, x).mean() + like(y, y).mean() - 2 * like(x, y).mean()) / ROWS
    return total


def pkt(loss, step, *, student, teacher):
    ((ours, theirs),) = pairs(step, student, teacher)
    q, p = ((1 - distance.cdist(pooled(x), pooled(x), "cosine") / 2) for x in (ours, theirs))
    return stats.entropy(p, q, axis=1).mean() / ROWS


def sp(loss, step, *, student, teacher):
    flat = (x.reshape(ROWS, -1) for x in pairs(step, student, teacher)[0])
    ours, theirs = (unit(x @ x.T) for x in flat)
    return ((theirs - ours) ** 2).sum() / ROWS**2


def rkd(loss, step, *, student, teacher, distance_weight, angle_weight):
    relations = []
    for vectors in map(pooled, pairs(step, student, teacher)[0]):
        apart = vectors[None] - vectors[:, None]
        lengths = np.linalg.norm(apart, axis=2)
        angles = np.einsum("ijd,ikd->ijk", unit(apart), unit(apart))
        relations.append((lengths / lengths[lengths > 0].mean(), angles))
    distances, angles = (special.huber(1, s - t).mean() for s, t in zip(*relations, strict=True))
    return distance_weight * distances + angle_weight * angles


def vid(loss, step, *, student, teacher, initial_variance):
    total = 0.0
    for pair, layers in zip(pairs(step, student, teacher), loss.means, strict=True):
        mean, theirs = at_smaller_size(*pair)
        for layer in layers[0:3:2]:
            mean = np.maximum(convolved(mean, layer, 1), 0)
        normal = stats.norm(convolved(mean, layers[4], 1), np.sqrt(initial_variance))
        total -= normal.logpdf(theirs).mean() + np.log(2 * np.pi) / 2
    return total


def ofd(loss, step, *, student, teacher, teacher_norms):
    total = 0.0
    for index, pair in enumerate(pairs(step, student, teacher)):
        norm, projection = CONTEXT.teacher_module(teacher_norms[index]), loss.projections[index]
        shift, scale = norm.bias.double().numpy(), norm.weight.double().abs().numpy()
        negative = stats.norm.cdf(-shift / scale)
        margin = shift - scale * stats.norm.pdf(shift / scale) / negative
        margin = np.where(negative > 1e-3, margin, -3 * scale)
        ours, theirs = at_smaller_size(*pair)
        ours = batch_normalized(convolved(ours, projection[0], 1), projection[1])
        target = np.maximum(theirs, margin[:, None, None])
        counts = (ours > target) | (target > 0)
        total += (counts * (ours - target) ** 2).sum() / ROWS / 2 ** (len(student) - 1 - index)
    return total


def hcl(ours, theirs):
    sizes = [ours.shape[2], *(size for size in (4, 2, 1) if size < ours.shape[2])]
    errors = [((averaged(ours, size) - averaged(theirs, size)) ** 2).mean() for size in sizes]
    return np.average(errors, weights=[1, 1 / 2, 1 / 4, 1 / 8][: len(sizes)])


def reviewkd(loss, step, *, student, teacher, warmup_epochs, channels):
    total, left, stages = 0.0, None, pairs(step, student, teacher)
    for pair, fusion in reversed(list(zip(stages, loss.fusions, strict=True))):
        ours, theirs = (x.reshape(*x.shape[:2], *(x.shape[2:] or (1, 1))) for x in pair)
        ours = batch_normalized(convolved(ours, fusion.reduce[0], 1), fusion.reduce[1])
        assert ours.shape[1] == min(channels, stages[-1][0].shape[1])
        if left is not None:
            left = repeated(left, ours.shape[2])
            shares = special.expit(convolved(np.concatenate([ours, left], axis=1), fusion.attention, 1))
            ours = ours * shares[:, :1] + left * shares[:, 1:]
        left = repeated(ours, theirs.shape[2])
        total += hcl(batch_normalized(convolved(left, fusion.expand[0], 3), fusion.expand[1]), theirs)
    return min(1, EPOCH / warmup_epochs) * total


def cat_kd(loss, step, *, student, teacher, student_classifier, teacher_classifier, resolution):
    modules = CONTEXT.student_module(student_classifier), CONTEXT.teacher_module(teacher_classifier)
    maps = []
    for feature, module in zip(pairs(step, student, teacher)[0], modules, strict=True):
        complete = np.einsum("kc,bchw->bkhw", module.weight.detach().double().numpy(), feature)
        maps.append(unit(averaged(complete, resolution).reshape(ROWS, CLASSES, -1)))
    return ((maps[0] - maps[1]) ** 2).mean()


ON_FEATURES = [hint, at, nst, pkt, sp, rkd, vid, ofd, reviewkd, cat_kd]
FORMULAE = {formula.__name__: formula for formula in ON_FEATURES}


@pytest.mark.parametrize(
    ("name", "settings"), [(name, settings) for name in CASES if name != "crd" for settings in CASES[name]]
)
def test_a_registered_loss_equals_its_formula_with_its_settings(name, settings):
    loss, step = built(name, settings), unequal_step()
    expected = FORMULAE[name](loss, step, **settings) if name in FORMULAE else on_logits(name, step, settings)
    # The code adds 1e-5 to vid's variances and 1e-7 or less to what others divide by, the papers nothing.
    assert loss(step).item() == pytest.approx(expected, rel=1e-5)


def test_ctkd_reverses_the_gradient_over_the_curriculum_epochs():
    (settings,) = CASES["ctkd"]
    nudge = 1e-5
    for epoch, strength in ((0.0, 0.0), (5.0, (1 - np.sqrt(0.5)) / 2), (10.0, 0.5), (20.0, 1.0), (30.0, 1.0)):
        loss, step = built("ctkd", settings), replace(unequal_step(), epoch=epoch)
        loss(step).backward()
        moved = [{**settings, "initial": settings["initial"] + change} for change in (nudge, -nudge)]
        up, down = (on_logits("ctkd", step, element) for element in moved)
        slope = (up - down) / (2 * nudge)
        assert loss.theta.grad.item() == pytest.approx(-strength * slope, rel=1e-5, abs=1e-12)


def nce(positive, negative, is_other, odds):
    """-log h(positive) - K mean log(1 - h(negative)) with h(p) = p / (p + odds), mean over the batch."""
    wrong = -np.log(odds / (negative + odds)) * is_other
    return (negative.shape[1] * wrong.sum(1) / is_other.sum(1) - np.log(positive / (positive + odds))).mean()


def embeddings(loss, step, settings):
    """The embeddings of student and teacher, projected and normalized to length 1."""
    ((ours, theirs),) = pairs(step, settings["student"], settings["teacher"])
    return unit(linear(pooled(ours), loss.project_student)), unit(
        linear(pooled(theirs), loss.project_teacher)
    )


@pytest.mark.parametrize("settings", CASES["crd"])
def test_crd_equals_its_formula_over_two_steps_with_its_settings(settings):
    loss, labels = built("crd", settings), np.arange(IMAGES) % 2
    banks, known, z = [loss.bank_student.numpy().copy(), loss.bank_teacher.numpy().copy()], labels * 0 - 1, []
    assert banks[0].shape == banks[1].shape == (IMAGES, settings["size"])
    for seed, rows in enumerate([[3, 1, 4, 8, 5], [9, 3, 6, 5, 7]]):
        step = replace(unequal_step(seed), labels=torch.tensor(labels[rows]), indices=torch.tensor(rows))
        vectors = embeddings(loss, step, settings)
        torch.manual_seed(seed)
        drawn = torch.randint(IMAGES, (settings["negatives"],)).numpy()
        same_class, same_image = known[drawn] == labels[rows][:, None], drawn == np.array(rows)[:, None]
        assert (same_class & ~same_image).any() == (seed == 1)
        expected = 0.0
        for side, bank in enumerate(reversed(banks)):
            ours = np.exp((vectors[side] * bank[rows]).sum(1) / settings["temperature"])
            others = np.exp(vectors[side] @ bank[drawn].T / settings["temperature"])
            z += [IMAGES * np.append(ours, others).mean()] if seed == 0 else []  # the first step's stays
            expected += nce(ours / z[side], others / z[side], ~same_class & ~same_image, len(drawn) / IMAGES)
        torch.manual_seed(seed)
        assert loss(step).item() == pytest.approx(expected, rel=1e-9)
        for bank, fresh in zip(banks, vectors, strict=True):
            bank[rows] = unit(settings["momentum"] * bank[rows] + (1 - settings["momentum"]) * fresh)
        known[rows] = labels[rows]
    np.testing.assert_allclose(loss.bank_student.numpy(), banks[0], rtol=1e-9)
    np.testing.assert_allclose(loss.bank_teacher.numpy(), banks[1], rtol=1e-9)
    np.testing.assert_array_equal(loss.known_labels.numpy(), known)


@pytest.mark.parametrize("name", list(LOSSES))
def test_every_setting_of_every_loss_is_varied_here(name):
    model = settings_model(LOSSES.load(name))
    for setting, field in model.model_fields.items():
        values = [getattr(model(**settings), setting) for settings in CASES.get(name, [])]
        assert any(value != field.default for value in values), f"no case changes {name}'s `{setting}`"
