"""Losses on features without layers of their own: each against its formula in numpy, scipy and sklearn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_cases import ROWS, STAGES, build, drawn_step, features_of, with_features
from scipy import special, stats
from scipy.spatial import distance
from sklearn import preprocessing
from sklearn.metrics import pairwise

from calkd_edge.losses.at import at_loss
from calkd_edge.losses.cat_kd import cat_loss
from calkd_edge.losses.nst import nst_loss
from calkd_edge.losses.pkt import pkt_loss
from calkd_edge.losses.reviewkd import hcl_loss
from calkd_edge.losses.rkd import rkd_loss
from calkd_edge.losses.sp import sp_loss

RKD = {"distance_weight": 25.0, "angle_weight": 50.0}


def maps(seed=0, sizes=(4, 4), channels=(6, 10)):
    shapes = {"own": (channels[0], sizes[0], sizes[0]), "taught": (channels[1], sizes[1], sizes[1])}
    found = features_of(shapes, ROWS, seed)
    return found["own"], found["taught"]


def vectors(seed=0, rows=ROWS):
    found = features_of({"own": (12,), "taught": (9,)}, rows, seed)
    return found["own"], found["taught"]


def blocks(feature, size):
    """Maps averaged to size x size, where that divides them."""
    rows, channels, height, _ = feature.shape
    step = height // size
    return np.asarray(feature).reshape(rows, channels, size, step, size, step).mean((3, 5))


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("sizes", [(4, 4), (8, 4), (4, 8)])
def test_at_compares_normalized_attention_at_the_smaller_size(power, sizes):
    own, taught = maps(sizes=sizes)
    attention = [
        preprocessing.normalize((np.abs(blocks(x, 4)) ** power).sum(axis=1).reshape(ROWS, -1))
        for x in (own, taught)
    ]
    wanted = ((attention[0] - attention[1]) ** 2).mean()
    assert at_loss(own, taught, power).item() == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("kernel", ["linear", "polynomial", "gaussian"])
def test_nst_is_the_mean_discrepancy_of_the_channels(kernel):
    own, taught = maps()
    total = 0.0
    for s, t in zip(own.numpy(), taught.numpy(), strict=True):
        x, y = preprocessing.normalize(s.reshape(6, -1)), preprocessing.normalize(t.reshape(10, -1))
        width = distance.cdist(x, y, "sqeuclidean").mean()
        measure = {
            "linear": pairwise.linear_kernel,
            "polynomial": lambda a, b: pairwise.polynomial_kernel(a, b, degree=2, gamma=1, coef0=0),
            "gaussian": lambda a, b, width=width: pairwise.rbf_kernel(a, b, gamma=1 / (2 * width)),
        }[kernel]
        total += measure(x, x).mean() + measure(y, y).mean() - 2 * measure(x, y).mean()
    assert nst_loss(own, taught, kernel).item() == pytest.approx(total / ROWS, rel=1e-7)


def test_pkt_is_the_divergence_of_the_neighbourhoods():
    own, taught = vectors()
    likeness = [(pairwise.cosine_similarity(x.numpy()) + 1) / 2 for x in (own, taught)]
    ours, theirs = (x / x.sum(axis=1, keepdims=True) for x in likeness)
    wanted = stats.entropy(theirs, ours, axis=1).sum() / ROWS**2
    assert pkt_loss(own, taught).item() == pytest.approx(wanted, abs=1e-7)


def test_sp_is_the_squared_difference_of_normalized_products():
    own, taught = maps()
    products = [preprocessing.normalize(pairwise.linear_kernel(x.flatten(1).numpy())) for x in (own, taught)]
    wanted = np.linalg.norm(products[1] - products[0], "fro") ** 2 / ROWS**2
    assert sp_loss(own, taught).item() == pytest.approx(wanted, rel=1e-9)


def test_rkd_is_the_huber_loss_of_distances_and_angles():
    own, taught = vectors()
    relative = [distance.squareform(distance.pdist(x.numpy())) for x in (own, taught)]
    relative = [x / x[x > 0].mean() for x in relative]
    distances = special.huber(1, relative[0] - relative[1]).mean()

    def cosine(x, corner, first, second):
        a, b = x[first] - x[corner], x[second] - x[corner]
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        return 0.0 if lengths == 0 else a @ b / lengths

    places = [(i, j, k) for i in range(ROWS) for j in range(ROWS) for k in range(ROWS)]
    gaps = [cosine(own.numpy(), *place) - cosine(taught.numpy(), *place) for place in places]
    wanted = 25 * distances + 50 * special.huber(1, np.array(gaps)).mean()
    assert rkd_loss(own, taught, **RKD).item() == pytest.approx(wanted, rel=1e-7)


def test_hcl_weighs_the_maps_and_their_averages():
    own, taught = maps(channels=(6, 6), sizes=(8, 8))
    errors = [((np.asarray(own) - np.asarray(taught)) ** 2).mean()]
    errors += [((blocks(own, size) - blocks(taught, size)) ** 2).mean() for size in (4, 2, 1)]
    wanted = np.average(errors, weights=[1, 1 / 2, 1 / 4, 1 / 8])
    assert hcl_loss(own, taught).item() == pytest.approx(wanted, rel=1e-9)
    small = [torch.tensor(blocks(x, 2)) for x in (own, taught)]
    wanted = np.average([errors[2], errors[3]], weights=[1, 1 / 2])
    assert hcl_loss(*small).item() == pytest.approx(wanted, rel=1e-9)


PURE = {
    "at": (lambda s, t: at_loss(s, t, 2.0), maps),
    "nst polynomial": (lambda s, t: nst_loss(s, t, "polynomial"), maps),
    "nst linear": (lambda s, t: nst_loss(s, t, "linear"), maps),
    "nst gaussian": (lambda s, t: nst_loss(s, t, "gaussian"), maps),
    "pkt": (pkt_loss, vectors),
    "sp": (sp_loss, maps),
    "rkd": (lambda s, t: rkd_loss(s, t, **RKD), vectors),
    "cat_kd": (lambda s, t: cat_loss(s[:, :6].flatten(2), t[:, :6].flatten(2)), maps),
}


@pytest.mark.parametrize("name", PURE)
def test_scale_of_either_networks_features_changes_nothing(name):
    formula, draw = PURE[name]
    own, taught = draw()
    plain = formula(own, taught).item()
    assert formula(1000 * own, taught).item() == pytest.approx(plain, rel=1e-7)
    assert formula(own, 0.01 * taught).item() == pytest.approx(plain, rel=1e-7)


@pytest.mark.parametrize("name", [*PURE, "hcl"])
def test_features_that_equal_the_teachers_leave_nothing_to_learn(name):
    formula, draw = {**PURE, "hcl": (hcl_loss, maps)}[name]
    feature = draw()[1].requires_grad_()
    value = formula(feature, feature.detach())
    value.backward()
    assert abs(value.item()) < 1e-12
    assert feature.grad.abs().max() < 1e-8


@pytest.mark.parametrize("name", PURE)
def test_images_of_another_order_give_the_same(name):
    formula, draw = PURE[name]
    own, taught = draw()
    order = torch.tensor([3, 1, 4, 0, 2])
    assert formula(own[order], taught[order]).item() == pytest.approx(formula(own, taught).item(), rel=1e-9)


@pytest.mark.parametrize("name", ["at", "nst", "vid"])
def test_stages_are_summed(name):
    step = drawn_step()
    whole = build(name, STAGES).double()(step).item()
    if name == "vid":  # layers of its own, drawn in the order of the stages
        early = build(name, {"student": ["early"], "teacher": ["early"]}).double()
        late = build(name, STAGES).double()
        late.means, late.free_variances = late.means[1:], late.free_variances[1:]
        late.student_taps, late.teacher_taps = ("late",), ("late",)
        parts = early(step).item(), late(step).item()
    else:
        parts = [build(name, {"student": [tap], "teacher": [tap]})(step).item() for tap in ("early", "late")]
    assert whole == pytest.approx(sum(parts), rel=1e-9)


def test_a_map_counts_by_its_average_where_vectors_are_compared():
    step = drawn_step()
    own, taught = step.student.features["late"], step.teacher.features["late"]
    flat = with_features(step, {"embedding": own.mean((2, 3))}, {"embedding": taught.mean((2, 3))})
    for name in ("pkt", "rkd"):
        found = build(name, {"student": "late", "teacher": "late"})(step)
        assert found.item() == pytest.approx(
            build(name, {"student": "embedding", "teacher": "embedding"})(flat).item(), rel=1e-9
        )
