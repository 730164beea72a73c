"""Losses on features without layers: each against its formula in numpy, scipy and sklearn."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_cases import ROWS, STAGES, build, drawn_step, features_of, with_features
from scipy import special, stats
from scipy.spatial import distance
from sklearn import preprocessing
from sklearn.metrics import pairwise
from torch.nn import functional as F

from calkd_edge.losses.at import at_loss
from calkd_edge.losses.cat_kd import cat_loss
from calkd_edge.losses.features import averaged_cells, equal_cells, same_size
from calkd_edge.losses.nst import nst_loss
from calkd_edge.losses.pkt import pkt_loss
from calkd_edge.losses.reviewkd import hcl_loss
from calkd_edge.losses.rkd import rkd_loss
from calkd_edge.losses.sp import sp_loss

RKD = {"distance_weight": 25.0, "angle_weight": 50.0}


def maps(seed=0, sizes=(4, 4), channels=(6, 10)):
    shapes = {
        "student": (channels[0], sizes[0], sizes[0]),
        "teacher": (channels[1], sizes[1], sizes[1]),
    }
    result = features_of(shapes, ROWS, seed)
    return result["student"], result["teacher"]


def vectors(seed=0, rows=ROWS):
    result = features_of({"student": (12,), "teacher": (9,)}, rows, seed)
    return result["student"], result["teacher"]


def blocks(feature, size):
    """Maps averaged to size x size, where that divides them."""
    rows, channels, height, _ = feature.shape
    step = height // size
    return np.asarray(feature).reshape(rows, channels, size, step, size, step).mean((3, 5))


@pytest.mark.parametrize("power", [1.0, 2.0, 3.0])
@pytest.mark.parametrize("sizes", [(4, 4), (8, 4), (4, 8)])
def test_at_compares_normalized_attention_at_the_smaller_size(power, sizes):
    student, teacher = maps(sizes=sizes)
    attention = [
        preprocessing.normalize((np.abs(blocks(x, 4)) ** power).sum(axis=1).reshape(ROWS, -1))
        for x in (student, teacher)
    ]
    expected = ((attention[0] - attention[1]) ** 2).mean()
    assert at_loss(student, teacher, power).item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kernel", ["linear", "polynomial", "gaussian"])
def test_nst_is_the_mean_discrepancy_of_the_channels(kernel):
    student, teacher = maps()
    total = 0.0
    for s, t in zip(student.numpy(), teacher.numpy(), strict=True):
        x, y = preprocessing.normalize(s.reshape(6, -1)), preprocessing.normalize(t.reshape(10, -1))
        width = distance.cdist(x, y, "sqeuclidean").mean()
        measure = {
            "linear": pairwise.linear_kernel,
            "polynomial": lambda a, b: pairwise.polynomial_kernel(a, b, degree=2, gamma=1, coef0=0),
            "gaussian": lambda a, b, width=width: pairwise.rbf_kernel(a, b, gamma=1 / (2 * width)),
        }[kernel]
        total += measure(x, x).mean() + measure(y, y).mean() - 2 * measure(x, y).mean()
    assert nst_loss(student, teacher, kernel).item() == pytest.approx(total / ROWS, rel=1e-7)


def test_pkt_is_the_divergence_of_the_neighbourhoods():
    student, teacher = vectors()
    likeness = [(pairwise.cosine_similarity(x.numpy()) + 1) / 2 for x in (student, teacher)]
    ours, theirs = (x / x.sum(axis=1, keepdims=True) for x in likeness)
    expected = stats.entropy(theirs, ours, axis=1).sum() / ROWS**2
    assert pkt_loss(student, teacher).item() == pytest.approx(expected, abs=1e-7)


def test_sp_is_the_squared_difference_of_normalized_products():
    student, teacher = maps()
    products = [
        preprocessing.normalize(pairwise.linear_kernel(x.flatten(1).numpy())) for x in (student, teacher)
    ]
    expected = np.linalg.norm(products[1] - products[0], "fro") ** 2 / ROWS**2
    assert sp_loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)


def test_rkd_is_the_huber_loss_of_distances_and_angles():
    student, teacher = vectors()
    relative = [distance.squareform(distance.pdist(x.numpy())) for x in (student, teacher)]
    relative = [x / x[x > 0].mean() for x in relative]
    distances = special.huber(1, relative[0] - relative[1]).mean()

    def cosine(x, corner, first, second):
        a, b = x[first] - x[corner], x[second] - x[corner]
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        return 0.0 if lengths == 0 else a @ b / lengths

    positions = [(i, j, k) for i in range(ROWS) for j in range(ROWS) for k in range(ROWS)]
    gaps = [cosine(student.numpy(), *index) - cosine(teacher.numpy(), *index) for index in positions]
    expected = 25 * distances + 50 * special.huber(1, np.array(gaps)).mean()
    assert rkd_loss(student, teacher, **RKD).item() == pytest.approx(expected, rel=1e-7)


@pytest.mark.parametrize("size", [(4, 4), (2, 4), (1, 1), (8, 8)])
def test_mean_over_equal_cells_is_adaptive_pooling(size):
    maps = torch.randn(3, 5, 8, 8, dtype=torch.float64, requires_grad=True)
    ours, theirs = equal_cells(maps, size), F.adaptive_avg_pool2d(maps, size)
    torch.testing.assert_close(ours, theirs)
    weights = torch.randn_like(ours)
    torch.testing.assert_close(*(torch.autograd.grad(result, maps, weights)[0] for result in (ours, theirs)))


def test_maps_of_one_size_are_compared_as_they_are():
    large, small = torch.randn(2, 3, 8, 8), torch.randn(2, 3, 4, 4)
    assert same_size(small, small)[0] is small
    assert torch.equal(averaged_cells(large, (3, 5)), F.adaptive_avg_pool2d(large, (3, 5)))
    pooled, kept = same_size(large, small)
    assert kept is small
    assert torch.equal(pooled, F.adaptive_avg_pool2d(large, 4))


def test_hcl_weights_the_maps_and_their_averages():
    student, teacher = maps(channels=(6, 6), sizes=(8, 8))
    errors = [((np.asarray(student) - np.asarray(teacher)) ** 2).mean()]
    errors += [((blocks(student, size) - blocks(teacher, size)) ** 2).mean() for size in (4, 2, 1)]
    expected = np.average(errors, weights=[1, 1 / 2, 1 / 4, 1 / 8])
    assert hcl_loss(student, teacher).item() == pytest.approx(expected, rel=1e-9)
    small = [torch.tensor(blocks(x, 2)) for x in (student, teacher)]
    expected = np.average([errors[2], errors[3]], weights=[1, 1 / 2])
    assert hcl_loss(*small).item() == pytest.approx(expected, rel=1e-9)


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
    student, teacher = draw()
    plain = formula(student, teacher).item()
    assert formula(1000 * student, teacher).item() == pytest.approx(plain, rel=1e-7)
    assert formula(student, 0.01 * teacher).item() == pytest.approx(plain, rel=1e-7)


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
    student, teacher = draw()
    order = torch.tensor([3, 1, 4, 0, 2])
    assert formula(student[order], teacher[order]).item() == pytest.approx(
        formula(student, teacher).item(), rel=1e-9
    )


@pytest.mark.parametrize("name", ["at", "nst", "vid"])
def test_stages_are_summed(name):
    step = drawn_step()
    complete = build(name, STAGES).double()(step).item()
    if name == "vid":  # its layers are drawn in the order of the stages
        early = build(name, {"student": ["early"], "teacher": ["early"]}).double()
        late = build(name, STAGES).double()
        late.means, late.free_variances = late.means[1:], late.free_variances[1:]
        late.student_taps, late.teacher_taps = ("late",), ("late",)
        parts = early(step).item(), late(step).item()
    else:
        parts = [build(name, {"student": [tap], "teacher": [tap]})(step).item() for tap in ("early", "late")]
    assert complete == pytest.approx(sum(parts), rel=1e-9)


def test_a_map_counts_by_its_average_where_vectors_are_compared():
    step = drawn_step()
    student, teacher = step.student.features["late"], step.teacher.features["late"]
    flat = with_features(step, {"embedding": student.mean((2, 3))}, {"embedding": teacher.mean((2, 3))})
    for name in ("pkt", "rkd"):
        result = build(name, {"student": "late", "teacher": "late"})(step)
        assert result.item() == pytest.approx(
            build(name, {"student": "embedding", "teacher": "embedding"})(flat).item(), rel=1e-9
        )
