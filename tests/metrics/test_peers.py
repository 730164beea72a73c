"""Ours against other packages: where each is right we agree, and where it is wrong a test shows how.

pip install -e '.[dev,peers]' && pytest -m peers
"""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from scipy import special
from sklearn import metrics as sklearn_metrics
from sklearn.calibration import calibration_curve

from calkd_edge import metrics
from calkd_edge.calibration.affine import affine
from calkd_edge.metrics import per_image as scores
from calkd_edge.metrics.inverse_temperature import best_inverse_temperature

pytestmark = [pytest.mark.peers, pytest.mark.filterwarnings("ignore")]

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torchmetrics = pytest.importorskip("torchmetrics.functional.classification")
    netcal = pytest.importorskip("netcal.metrics")
    netcal_scaling = pytest.importorskip("netcal.scaling")
    probmetrics = pytest.importorskip("probmetrics.calibrators")
    plambda = pytest.importorskip("calibration")


def drawn(images: int = 3000, classes: int = 10, *, sharp: float = 2.2, seed: int = 0):
    """Logits `sharp` times too sharp, labels, their float64 probabilities, confidences and hits."""
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(images, classes)) * 2
    labels = (truth + generator.gumbel(size=truth.shape)).argmax(axis=1)
    logits = truth * sharp
    p = special.softmax(logits, axis=1)
    return logits, labels, p, p.max(axis=1), p.argmax(axis=1) == labels


# Where they are right.


def test_ece_of_scikit_learns_curve():
    _, _, _, confidence, hit = drawn()
    accuracy, mean = calibration_curve(hit, confidence, n_bins=15)
    counts = np.bincount(metrics.equal_width_bins(confidence, 15), minlength=15)
    expected = (np.abs(accuracy - mean) * counts[counts > 0]).sum() / len(hit)
    assert metrics.expected_calibration_error(confidence, hit) == pytest.approx(expected)


def test_ece_of_torchmetrics_where_no_confidence_lies_on_an_edge():
    _, labels, p, confidence, hit = drawn(sharp=1.0)
    for norm, ours in (
        ("l1", metrics.expected_calibration_error),
        ("l2", metrics.root_mean_squared_calibration_error),
        ("max", metrics.maximum_calibration_error),
    ):
        theirs = torchmetrics.multiclass_calibration_error(
            torch.from_numpy(p), torch.from_numpy(labels), num_classes=10, n_bins=15, norm=norm
        )
        assert ours(confidence, hit) == pytest.approx(float(theirs), abs=1e-6)


def test_ece_and_mce_of_netcal_in_float64():
    _, labels, p, confidence, hit = drawn()
    assert metrics.expected_calibration_error(confidence, hit) == pytest.approx(
        netcal.ECE(15).measure(p, labels), abs=1e-9
    )
    assert metrics.maximum_calibration_error(confidence, hit) == pytest.approx(
        netcal.MCE(15).measure(p, labels), abs=1e-9
    )


def test_ece_classwise_equal_mass_and_debiased_errors_of_p_lambda():
    _, labels, p, confidence, hit = drawn()
    assert metrics.expected_calibration_error(confidence, hit) == pytest.approx(
        plambda.get_ece(p, labels, num_bins=15), abs=1e-9
    )
    bins = plambda.get_equal_bins(list(confidence), num_bins=15)
    binned = plambda.bin(list(zip(confidence, hit.astype(float), strict=True)), bins)
    by_mass = metrics.expected_calibration_error(confidence, hit, scheme="mass")
    assert by_mass == pytest.approx(plambda.plugin_ce(binned, power=1), abs=1e-9)
    squared = max(plambda.utils.unbiased_square_ce(binned), 0.0)
    assert metrics.debiased_calibration_error(confidence, hit) == pytest.approx(squared**0.5, abs=1e-9)


def test_brier_log_loss_and_auroc_of_scikit_learn():
    logits, labels, p, confidence, hit = drawn()
    assert scores.brier_per_image(logits, labels).mean() == pytest.approx(
        sklearn_metrics.brier_score_loss(labels, p, scale_by_half=False, labels=range(10))
    )
    assert scores.nll_per_image(logits, labels).mean() == pytest.approx(
        sklearn_metrics.log_loss(labels, p, labels=range(10))
    )
    assert metrics.auroc_of_correctness(confidence, hit) == pytest.approx(
        sklearn_metrics.roc_auc_score(hit, confidence)
    )


@pytest.mark.parametrize("sharp", [0.1, 0.5, 1.0, 3.7])
def test_temperature_of_scikit_learn_and_probmetrics(sharp):
    logits, labels, p, *_ = drawn(sharp=sharp)
    ours = 1 / best_inverse_temperature(logits, labels).beta
    from sklearn.calibration import _TemperatureScaling  # from scikit-learn 1.8 on

    theirs = _TemperatureScaling().fit(logits, labels)
    assert ours == pytest.approx(1 / theirs.beta_, rel=1e-4)
    ts = probmetrics.get_calibrator("temp-scaling")
    ts.fit(p, labels)
    scaled = ts.predict_proba(p)
    np.testing.assert_allclose(scaled, special.softmax(logits / ours, axis=1), atol=1e-4)


def test_temperature_of_netcal_in_float64():
    logits, labels, p, *_ = drawn()
    theirs = netcal_scaling.TemperatureScaling()
    theirs.fit(p, labels)
    ours = 1 / best_inverse_temperature(logits, labels).beta
    np.testing.assert_allclose(theirs.transform(p), special.softmax(logits / ours, axis=1), atol=1e-4)


def test_structured_matrix_scaling_of_probmetrics():
    generator = np.random.default_rng(3)
    logits, labels, *_ = drawn(classes=6)
    logits = logits @ (np.eye(6) + 0.2 * generator.normal(size=(6, 6)))
    t = 1 / best_inverse_temperature(logits, labels).beta
    scaled = logits / t - (logits / t).mean(axis=1, keepdims=True)
    # Its own fit begins with a temperature mixed with uniform guessing; this is what it does then.
    reg = {"reg_intercept": 6 / 3000, "reg_diagonal": 6 / 3000, "reg_off_diagonal": 30 / 3000}
    fitted = probmetrics.get_calibrator("sms")._fit_bfgs(
        torch.tensor(scaled), torch.tensor(labels), num_classes=6, **reg
    )
    ours = affine(logits, labels, tuple(map(str, range(6)))).affine
    np.testing.assert_allclose(
        special.softmax(ours.apply(logits), axis=1),
        special.softmax(scaled @ fitted[:, :6].T + fitted[:, 6], axis=1),
        atol=1e-3,
    )


# Where they are wrong.


def test_torchmetrics_puts_a_confidence_of_one_into_a_bin_of_its_own():
    """Issue 3510 there: .525 in place of .475."""
    confidence, hit = np.array([0.95, 1.0]), np.array([True, False])
    theirs = torchmetrics.binary_calibration_error(
        torch.tensor(confidence), torch.tensor(hit.astype(int)), n_bins=15
    )
    assert float(theirs) == pytest.approx(0.525, abs=1e-6)
    assert metrics.expected_calibration_error(confidence, hit) == pytest.approx(0.475)


def test_torchmetrics_drifts_with_the_number_of_images():
    """float32 sums: a sure, calibrated model of a million images shows .13 % in place of .008 %."""
    generator = np.random.default_rng(0)
    confidence = generator.uniform(0.95, 0.999, size=1_000_000)
    hit = generator.random(1_000_000) < confidence
    theirs = float(
        torchmetrics.binary_calibration_error(
            torch.from_numpy(confidence).float(), torch.from_numpy(hit.astype(int)), n_bins=15
        )
    )
    ours = metrics.expected_calibration_error(confidence, hit)
    assert ours < 2 * metrics.noise_floor(confidence)
    assert theirs > 5 * ours


def test_torchmetrics_finds_no_error_at_all_in_half_precision():
    confidence = torch.full((200_000,), 0.9)
    labels = torch.zeros(200_000, dtype=torch.int64)
    theirs = float(torchmetrics.binary_calibration_error(confidence.half(), labels, n_bins=15))
    assert theirs == 0.0 or np.isnan(theirs)
    with pytest.raises(ValueError, match="float16"):
        metrics.expected_calibration_error(confidence.half().numpy(), labels.numpy() == 1)


def test_torchmetrics_takes_logits_between_zero_and_one_for_probabilities():
    generator = np.random.default_rng(0)
    logits = generator.uniform(0, 1, size=(500, 4))
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    theirs = float(
        torchmetrics.multiclass_calibration_error(
            torch.from_numpy(logits), torch.from_numpy(labels), num_classes=4, n_bins=15
        )
    )
    right = metrics.expected_calibration_error(scores.confidence(logits), scores.top1(logits) == labels)
    assert theirs > 3 * right


def test_netcals_temperature_does_nothing_in_float32():
    logits, labels, *_ = drawn(sharp=3.7)
    p = special.softmax(logits, axis=1).astype(np.float32)
    theirs = netcal_scaling.TemperatureScaling()
    theirs.fit(p, labels)
    np.testing.assert_allclose(theirs.transform(p), p, atol=1e-3)
    assert 1 / best_inverse_temperature(logits.astype(np.float32), labels).beta == pytest.approx(3.7, rel=0.1)


def test_netcal_misses_the_optimum_where_probabilities_have_lost_it():
    logits, labels, *_ = drawn(sharp=60)
    theirs = netcal_scaling.TemperatureScaling()
    p = special.softmax(logits, axis=1)
    theirs.fit(p, labels)
    ours = best_inverse_temperature(logits, labels)
    their_probabilities = np.clip(theirs.transform(p)[np.arange(len(labels)), labels], 1e-300, 1)
    assert -np.log(their_probabilities).mean() > ours.nll_after + 0.05


def test_scikit_learn_clips_a_loss_that_is_really_there():
    logits, labels = np.array([[0.0, -2000.0], [5.0, 0.0]]), np.array([1, 0])
    theirs = sklearn_metrics.log_loss(labels, special.softmax(logits, axis=1))
    assert theirs < 40
    assert scores.nll_per_image(logits, labels).mean() == pytest.approx(1000, rel=1e-3)


def test_p_lambdas_interval_takes_its_level_in_per_cent():
    _, labels, p, _, _ = drawn(400)
    np.random.seed(0)  # its bootstrap draws from numpy's global state
    low, middle, high = plambda.get_calibration_error_uncertainties(p, labels, p=1, alpha=0.1)
    narrow = plambda.get_calibration_error_uncertainties(p, labels, p=1, alpha=10)
    assert high - low > 1.25 * (narrow[2] - narrow[0])
    assert middle == pytest.approx(narrow[1], rel=0.2)


def test_probmetrics_drops_classes_without_images():
    """Its ece-15 renormalises over the classes that occur."""
    pytest.importorskip("pandas")
    from probmetrics.metrics import Metrics

    generator = np.random.default_rng(0)
    logits = generator.normal(size=(300, 500)) * 2
    labels = (logits + generator.gumbel(size=logits.shape)).argmax(axis=1)
    p = special.softmax(logits, axis=1)
    reduced = Metrics.from_names(["ece-15"])
    their_metrics = reduced.compute_all_from_labels_probs(torch.from_numpy(labels), torch.from_numpy(p))
    theirs = float(their_metrics["ece-15"])
    ours = metrics.expected_calibration_error(p.max(axis=1), p.argmax(axis=1) == labels)
    assert abs(theirs - ours) > 0.02


def copied_temperature(logits, labels) -> float:
    """T by torch's LBFGS with that rate and no line search, in float32, as users have it."""
    z, y = torch.from_numpy(logits).float(), torch.from_numpy(labels)
    t = torch.ones(1, requires_grad=True)
    with torch.no_grad():
        t *= 1.5
    optimizer = torch.optim.LBFGS([t], lr=0.01, max_iter=50)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(z / t, y)
        loss.backward()
        return loss

    optimizer.step(closure)
    return float(t)


@pytest.mark.parametrize("sharp", [0.5, 3.7])
def test_the_copied_loop_of_lbfgs_stops_before_it_arrives(sharp):
    logits, labels, *_ = drawn(5000, sharp=sharp)
    best = 1 / best_inverse_temperature(logits, labels).beta
    assert abs(np.log(abs(copied_temperature(logits, labels)) / best)) > 0.1
