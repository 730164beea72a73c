"""Losses with layers, statistics or banks: each against its formula in numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from loss_cases import (
    CONTEXT,
    IMAGES,
    ROWS,
    SETTINGS,
    build,
    context_of,
    drawn_step,
    settled,
)
from scipy import integrate, special, stats
from torch import nn

from calkd_edge.errors import RecipeError
from calkd_edge.losses.cat_kd import class_activation_maps
from calkd_edge.losses.crd import crd_loss
from calkd_edge.losses.ofd import margins, ofd_loss
from calkd_edge.losses.reviewkd import Fusion, hcl_loss
from calkd_edge.losses.vid import vid_loss


def numbers(module):
    return module.weight.detach().numpy()[:, :, 0, 0]


def normalized(maps, norm):
    """The output of a batch normalisation in evaluation mode."""
    mean, variance = norm.running_mean.numpy(), norm.running_var.numpy()
    weight, bias = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    shown = [x[None, :, None, None] for x in (mean, variance, weight, bias)]
    return (maps - shown[0]) / np.sqrt(shown[1] + norm.eps) * shown[2] + shown[3]


def test_hint_is_the_mean_squared_error_after_pooling_and_projection():
    loss = settled("hint", {"student": "early", "teacher": "late"})
    step = drawn_step()
    feature = step.student.features["early"].detach().numpy()
    pooled = feature.reshape(ROWS, 6, 4, 2, 4, 2).mean((3, 5))
    projected = normalized(
        np.einsum("oi,bihw->bohw", numbers(loss.projection[0]), pooled), loss.projection[1]
    )
    expected = ((projected - step.teacher.features["late"].numpy()) ** 2).mean()
    assert loss(step).item() == pytest.approx(expected, rel=1e-9)


def test_hint_between_a_map_and_a_vector_pools_the_map():
    loss, step = settled("hint", {"student": "late", "teacher": "embedding"}), drawn_step()
    weight, bias = (x.detach().numpy() for x in (loss.projection.weight, loss.projection.bias))
    feature = step.student.features["late"].detach().numpy().mean((2, 3))
    expected = ((feature @ weight.T + bias - step.teacher.features["embedding"].numpy()) ** 2).mean()
    assert loss(step).item() == pytest.approx(expected, rel=1e-9)


def test_vid_is_the_gaussian_log_likelihood_less_a_constant():
    generator = np.random.default_rng(1)
    mean, teacher = generator.normal(size=(2, ROWS, 6, 4, 4)) * 2
    free = generator.normal(size=6) * 3
    spread = np.sqrt(np.log1p(np.exp(free)) + 1e-5)[None, :, None, None]
    expected = -stats.norm.logpdf(teacher, mean, spread).mean() - 0.5 * np.log(2 * np.pi)
    result = vid_loss(*(torch.tensor(x) for x in (mean, teacher, free)))
    assert result.item() == pytest.approx(expected, rel=1e-9)


def test_vid_starts_at_the_initial_variance_and_predicts_the_mean_by_three_layers():
    loss = build("vid", {"student": ["late"], "teacher": ["early"], "initial_variance": 2.5}).double()
    step = drawn_step()
    assert torch.nn.functional.softplus(loss.free_variances[0]).detach().numpy() == pytest.approx(2.5)
    feature = step.student.features["late"].detach().numpy()
    for index in (0, 2, 4):
        feature = np.einsum("oi,bihw->bohw", numbers(loss.means[0][index]), feature)
        feature = np.maximum(feature, 0) if index < 4 else feature
    teacher = step.teacher.features["early"].numpy().reshape(ROWS, 5, 4, 2, 4, 2).mean((3, 5))
    expected = (((teacher - feature) ** 2) / 2.50001 + np.log(2.50001)).mean() / 2
    assert loss(step).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [0.3, -1.7, 4.0])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 0.8])
def test_margin_is_the_mean_of_the_negative_values(scale, shift):
    density = stats.norm(shift, abs(scale)).pdf
    far = shift - 40 * abs(scale)
    mass = integrate.quad(density, far, 0, points=[min(shift, 0)])[0]
    result = margins(torch.tensor([scale]), torch.tensor([shift])).item()
    if mass > 1e-3:
        expected = integrate.quad(lambda x: x * density(x), far, 0, points=[min(shift, 0)])[0] / mass
        assert result == pytest.approx(expected, rel=1e-5)
    else:
        assert result == pytest.approx(-3 * abs(scale), rel=1e-6)


def test_margins_of_channels_that_are_never_or_always_negative():
    result = margins(torch.tensor([1.0, 1e-3, 0.0]), torch.tensor([50.0, -20.0, -1.0]))
    assert result.numpy() == pytest.approx([-3.0, -20.0, -1.0], rel=1e-3)


def test_ofd_counts_only_what_the_relu_shows():
    generator = np.random.default_rng(3)
    student, teacher = generator.normal(size=(2, ROWS, 6, 4, 4))
    margin = -generator.uniform(0.1, 1, 6)
    total = 0.0
    for index in np.ndindex(student.shape):
        target = max(teacher[index], margin[index[1]])
        if student[index] > target or target > 0:
            total += (student[index] - target) ** 2
    result = ofd_loss(*(torch.tensor(x) for x in (student, teacher, margin)))
    assert result.item() == pytest.approx(total / ROWS, rel=1e-9)


def test_ofd_halves_each_shallower_stage_and_reads_the_teachers_norms():
    settings = SETTINGS["ofd"][0]
    step, loss = drawn_step(), settled("ofd", settings)
    parts = []
    for index, tap in enumerate(("early", "late")):
        norm = CONTEXT.teacher_module(f"norm_{tap}")
        projected = loss.projections[index](step.student.features[tap])
        margin = margins(norm.weight, norm.bias)
        parts.append(ofd_loss(projected, step.teacher.features[tap], margin).item())
    assert loss(step).item() == pytest.approx(parts[0] / 2 + parts[1], rel=1e-6)


def test_ofd_refuses_a_norm_with_other_channels():
    wrong = {**SETTINGS["ofd"][0], "teacher_norms": ["norm_early", "norm_early"]}
    with pytest.raises(RecipeError, match="'norm_early' is not a batch normalisation of 10 channels"):
        build("ofd", wrong)(drawn_step(dtype=torch.float32))
    with pytest.raises(RecipeError, match="names 2 taps, `teacher_norms` 1"):
        build("ofd", {**SETTINGS["ofd"][0], "teacher_norms": ["norm_early"]})


def test_crd_is_the_log_probability_of_distinguishing_pairs():
    generator = np.random.default_rng(5)
    positive, negative = generator.normal(size=ROWS), generator.normal(size=(ROWS, 30)) * 3
    is_other = generator.random((ROWS, 30)) > 0.2
    drawn, total = 30 / 1000, 0.0
    z = 700.0
    for row in range(ROWS):
        ours = np.exp(positive[row]) / z
        others = np.exp(negative[row]) / z
        total -= np.log(ours / (ours + drawn))
        total -= 30 * np.mean(np.log(drawn / (others + drawn))[is_other[row]])
    result = crd_loss(
        *(torch.tensor(x) for x in (positive, negative, is_other)),
        log_z=torch.tensor(np.log(z), dtype=torch.float64),
        odds=drawn,
    )
    assert result.item() == pytest.approx(total / ROWS, rel=1e-9)


def test_crd_takes_z_from_the_first_step_and_remembers_the_embeddings():
    loss = build("crd", SETTINGS["crd"][0]).double()
    step = drawn_step()
    banks = [bank.clone().numpy() for bank in (loss.bank_student, loss.bank_teacher)]
    embedded = [
        layer(features["embedding"]).detach().numpy()
        for layer, features in (
            (loss.project_student, step.student.features),
            (loss.project_teacher, step.teacher.features),
        )
    ]
    embedded = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in embedded]
    torch.manual_seed(6)
    drawn = torch.randint(IMAGES, (16,)).numpy()
    torch.manual_seed(6)
    value = loss(step).item()
    rows, total = step.indices.numpy(), 0.0
    for side, (vectors, bank) in enumerate(zip(embedded, reversed(banks), strict=True)):
        ours = (vectors * bank[rows]).sum(1) / 0.07
        others = vectors @ bank[drawn].T / 0.07
        z = IMAGES * np.exp(np.concatenate([ours, others.ravel()])).mean()
        assert loss.log_z[side].item() == pytest.approx(np.log(z), rel=1e-9)
        is_other = drawn[None, :] != rows[:, None]
        total += crd_loss(
            *(torch.tensor(x) for x in (ours, others, is_other)),
            log_z=torch.tensor(np.log(z), dtype=torch.float64),
            odds=16 / IMAGES,
        ).item()
    assert value == pytest.approx(total, rel=1e-9)
    for vectors, bank, now in zip(
        embedded, banks, (loss.bank_student.numpy(), loss.bank_teacher.numpy()), strict=True
    ):
        mixed = bank[rows] / 2 + vectors / 2
        np.testing.assert_allclose(now[rows], mixed / np.linalg.norm(mixed, axis=1, keepdims=True), rtol=1e-9)
        untouched = np.setdiff1d(np.arange(IMAGES), rows)
        np.testing.assert_array_equal(now[untouched], bank[untouched])
    np.testing.assert_array_equal(loss.known_labels.numpy()[rows], step.labels.numpy())
    assert (loss.known_labels.numpy()[untouched] == -1).all()


def test_crd_learns_nothing_from_being_evaluated():
    loss = settled("crd", SETTINGS["crd"][0])
    before = {name: value.clone() for name, value in loss.state_dict().items()}
    loss(drawn_step(seed=3))
    assert all(torch.equal(value, before[name]) for name, value in loss.state_dict().items())


def test_fusion_weights_the_stage_and_the_deeper_map():
    torch.manual_seed(2)
    fusion = Fusion(4, 3, 5, is_deepest=False).double().eval()
    stage, left = torch.randn(ROWS, 4, 4, 4).double(), torch.randn(ROWS, 3, 2, 2).double()
    result, passed = fusion(stage, left, (4, 4))
    ours = normalized(np.einsum("oi,bihw->bohw", numbers(fusion.reduce[0]), stage.numpy()), fusion.reduce[1])
    large = left.numpy().repeat(2, axis=2).repeat(2, axis=3)
    both = np.concatenate([ours, large], axis=1)
    bias = fusion.attention.bias.detach().numpy()[None, :, None, None]
    shares = special.expit(np.einsum("oi,bihw->bohw", numbers(fusion.attention), both) + bias)
    expected = ours * shares[:, :1] + large * shares[:, 1:]
    np.testing.assert_allclose(passed.detach().numpy(), expected, rtol=1e-9)
    assert result.shape == (ROWS, 5, 4, 4)


def test_reviewkd_goes_from_deep_to_shallow_and_rises_over_its_warm_up():
    settings = SETTINGS["reviewkd"][0]
    loss, step = settled("reviewkd", settings), drawn_step()
    ours, theirs = step.student.features, step.teacher.features
    deep, left = loss.fusions[2](ours["embedding"][:, :, None, None], None, (1, 1))
    middle, left = loss.fusions[1](ours["late"], left, (4, 4))
    shallow, _ = loss.fusions[0](ours["early"], left, (8, 8))
    expected = hcl_loss(deep, theirs["embedding"][:, :, None, None])
    expected = expected + hcl_loss(middle, theirs["late"]) + hcl_loss(shallow, theirs["early"])
    assert loss(step).item() == pytest.approx(expected.item(), rel=1e-12)
    slow = settled("reviewkd", {**settings, "warmup_epochs": 10.0})
    at = [slow(drawn_step(epoch=epoch)).item() for epoch in (0.0, 2.5, 10.0, 40.0)]
    np.testing.assert_allclose(np.array(at) / at[-1], [0, 0.25, 1, 1], rtol=1e-9)


def test_cat_kd_compares_the_maps_of_each_class():
    loss, step = build("cat_kd", SETTINGS["cat_kd"][0]).double(), drawn_step()
    maps = []
    for features, module in (
        (step.student.features, CONTEXT.student_module("head")),
        (step.teacher.features, CONTEXT.teacher_module("head")),
    ):
        weight = module.weight.detach().double().numpy()
        complete = np.einsum("kc,bchw->bkhw", weight, features["late"].detach().numpy())
        cells = complete.reshape(ROWS, 7, 2, 2, 2, 2).mean((3, 5)).reshape(ROWS, 7, 4)
        maps.append(cells / np.linalg.norm(cells, axis=2, keepdims=True))
    expected = ((maps[0] - maps[1]) ** 2).mean()
    assert loss(step).item() == pytest.approx(expected, rel=1e-6)


def test_class_activation_maps_average_to_the_logits_without_bias():
    feature, weight = torch.randn(ROWS, 4, 8, 8).double(), torch.randn(7, 4).double()
    logits = feature.mean((2, 3)) @ weight.T
    for cells in (1, 2, 4, 8):
        assert torch.allclose(class_activation_maps(feature, weight, cells).mean(2), logits)


def test_cat_kd_refuses_a_module_that_does_not_read_the_map():
    with pytest.raises(RecipeError, match="'head' does not read the 12 channels of 'wide'"):
        build(
            "cat_kd",
            {**SETTINGS["cat_kd"][0], "student": "wide"},
            context_of({"late": (4, 4, 4), "wide": (12, 4, 4)}),
        )


@pytest.mark.parametrize("name", ["ofd", "cat_kd"])
def test_a_loss_does_not_hold_the_networks_modules(name):
    loss = build(name, SETTINGS[name][0])
    mine = {id(parameter) for parameter in loss.parameters()}
    for module in ("head", "norm_early", "norm_late"):
        parameters = CONTEXT.teacher_module(module).parameters()
        assert not mine & {id(parameter) for parameter in parameters}
    if name == "cat_kd":
        assert not list(loss.state_dict())


def test_cat_kd_teaches_the_students_classifier_too():
    head = CONTEXT.student_module("head")
    assert isinstance(head, nn.Linear)
    build("cat_kd", SETTINGS["cat_kd"][0])(drawn_step(dtype=torch.float32)).backward()
    assert head.weight.grad.abs().max() > 0
    assert CONTEXT.teacher_module("head").weight.grad is None
    head.zero_grad(set_to_none=True)
