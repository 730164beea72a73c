"""Saved predictions: what is read, by which name, and what is refused with how to write it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

from calkd_edge.errors import RecipeError
from calkd_edge.external_models.options import RepairOptions
from calkd_edge.external_models.predictions import read_predictions
from calkd_edge.external_models.repair import measure

LOGITS = np.random.default_rng(0).normal(size=(40, 3)) * 3
LABELS = np.arange(40) % 3


def saved(folder, **arrays):
    np.savez(folder / "told.npz", **arrays)
    return folder / "told.npz"


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_logits_of_an_npz_are_read_as_they_are(tmp_path, dtype):
    found = read_predictions(saved(tmp_path, logits=LOGITS.astype(dtype), labels=LABELS))
    np.testing.assert_array_equal(found.logits, LOGITS.astype(dtype).astype(found.logits.dtype))
    assert found.logits.dtype != np.float16
    assert found.classes == ("0", "1", "2")


def test_probabilities_are_read_by_way_of_their_logarithm(tmp_path):
    p = special.softmax(LOGITS, axis=1)
    found = read_predictions(saved(tmp_path, probabilities=p, labels=LABELS, classes=["a", "b", "c"]))
    np.testing.assert_allclose(special.softmax(found.logits, axis=1), p)
    assert found.classes == ("a", "b", "c")


def test_our_own_predictions_can_be_given(tiny):
    path = next(tiny.store.glob("objects/*/*/predictions.npz"))
    found = measure(read_predictions(path), RepairOptions(), source=path.name)
    assert found.before.images == found.images > 0


def csv(folder, text):
    (folder / "told.csv").write_text(text)
    return folder / "told.csv"


def test_a_csv_names_its_classes_and_may_name_labels_too(tmp_path):
    found = read_predictions(
        csv(tmp_path, ["image", "label"][1] + ",logit:cat,logit:dog\ncat,1.5,-2\n1,0.25,3\n")
    )
    np.testing.assert_array_equal(found.logits, [[1.5, -2], [0.25, 3]])
    assert found.labels.tolist() == [0, 1]
    assert found.classes == ("cat", "dog")


@pytest.mark.parametrize(
    ("labels", "positions"),
    [("012", [0, 1, 2]), ("123", [0, 1, 2]), ("331", [2, 2, 0])],
    ids=["positions", "names", "names, as 3 is no position"],
)
def test_labels_of_classes_that_are_named_by_numbers_are_all_names_or_all_positions(
    tmp_path, labels, positions
):
    lines = "".join(f"{label},-1,0,3\n" for label in labels)
    saved = read_predictions(csv(tmp_path, f"label,logit:1,logit:2,logit:3\n{lines}"))
    assert saved.labels.tolist() == positions


@pytest.mark.parametrize("labels", ["12", "03"], ids=["both readings fit", "neither fits all"])
def test_labels_that_could_be_names_and_positions_are_refused(tmp_path, labels):
    lines = "".join(f"{label},-1,0,3\n" for label in labels)
    with pytest.raises(RecipeError, match="name of one class and the position of another"):
        read_predictions(csv(tmp_path, f"label,logit:1,logit:2,logit:3\n{lines}"))


def test_whole_labels_may_be_stored_as_floats(tmp_path):
    np.savez(tmp_path / "told.npz", logits=LOGITS, labels=LABELS.astype(np.float32))
    assert read_predictions(tmp_path / "told.npz").labels.tolist() == LABELS.tolist()


def test_a_csv_of_probabilities(tmp_path):
    found = read_predictions(csv(tmp_path, "probability:a,label,probability:b\n0.25,b,0.75\n"))
    np.testing.assert_allclose(found.logits, np.log([[0.25, 0.75]]))
    assert found.labels.tolist() == [1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,cat,dog\n0,1,2\n", "the header is label,cat,dog"),
        ("label,logit:cat,probability:dog\n0,1,2\n", "the header is"),
        ("logit:cat,logit:dog\n1,2\n", "the header is"),
        ("", "it is empty"),
        ("label,logit:cat,logit:dog\n0,1,x\n", "line 2: 'x' in column logit:dog is not a number"),
        ("label,logit:cat,logit:dog\nbird,1,2\n", "line 2: the label 'bird' is none of the 2 classes"),
        ("label,logit:cat,logit:dog\n0,1,2\n1,3\n", "line 3 has 1 numbers for 2 classes"),
    ],
)
def test_a_csv_that_does_not_say_what_it_holds_is_refused_by_line(tmp_path, text, message):
    with pytest.raises(RecipeError, match=message):
        read_predictions(csv(tmp_path, text))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"scores": LOGITS, "labels": LABELS}, "contains scores, labels"),
        ({"logits": LOGITS}, "contains logits"),
        ({"probabilities": LOGITS, "labels": LABELS}, "not within 0..1"),
        ({"probabilities": np.eye(3)[[0, 0]], "labels": np.array([0, 1])}, "probability 0 for their label"),
        ({"logits": LOGITS, "labels": LABELS, "classes": ["a"]}, "names 1 classes for 3 columns"),
    ],
)
def test_an_npz_with_other_arrays_is_refused_with_what_it_holds(tmp_path, arrays, message):
    with pytest.raises(RecipeError, match=message) as refused:
        read_predictions(saved(tmp_path, **arrays))
    assert refused.value.remedy


def test_a_file_that_is_not_there_or_not_known_is_refused(tmp_path):
    with pytest.raises(RecipeError, match="there is no file"):
        read_predictions(tmp_path / "absent.npz")
    with pytest.raises(RecipeError, match=r"read from .npz and .csv"):
        read_predictions(tmp_path / "told.txt")
    (tmp_path / "broken.npz").write_bytes(b"not a zip")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_predictions(tmp_path / "broken.npz")


def test_pickled_arrays_are_not_opened(tmp_path):
    path = saved(tmp_path, logits=np.array([{"a": 1}], dtype=object), labels=LABELS[:1])
    with pytest.raises(RecipeError, match="cannot be read"):
        read_predictions(path)


def overconfident(images=4000, classes=10, seed=0):
    generator = np.random.default_rng(seed)
    truth = generator.normal(size=(images, classes)) * 2.5
    return truth * 2.2, (truth + generator.gumbel(size=truth.shape)).argmax(axis=1)


def test_measuring_judges_each_image_by_a_map_that_has_not_seen_it(tmp_path):
    logits, labels = overconfident(300)
    answers = read_predictions(saved(tmp_path, logits=logits, labels=labels))
    found = measure(answers, RepairOptions(method="affine", settings={"ridge": 1e-3}), source="told.npz")
    fitted_on_all = found.calibration.nll_after
    assert found.after.nll.value > fitted_on_all + 0.05
    assert found.folds == 5


def test_measuring_finds_the_temperature_and_says_what_it_bought(tmp_path):
    logits, labels = overconfident()
    answers = read_predictions(saved(tmp_path, logits=logits, labels=labels))
    found = measure(answers, RepairOptions(thresholds=(0.8,)), source="told.npz")
    assert found.calibration.temperature == pytest.approx(2.2, rel=0.06)
    assert found.before.ece.value > 0.1 > 0.02 > found.after.ece.value
    assert found.nll_change.high < 0
    assert found.top1_change.value == 0
    assert found.before.thresholds[0].precision.value < 0.8 < found.after.thresholds[0].precision.value
    assert any("no miscalibration is visible" in one for one in found.sentences)
    assert found == measure(answers, RepairOptions(thresholds=(0.8,)), source="told.npz")


def test_a_calibrated_file_is_told_so_and_a_map_that_is_not_enough_too(tmp_path):
    logits, labels = overconfident()
    fine = measure(
        read_predictions(saved(tmp_path, logits=logits / 2.2, labels=labels)),
        RepairOptions(),
        source="told.npz",
    )
    assert any("it was calibrated already" in one for one in fine.sentences)
    bent = logits + 6 * (np.arange(10) == 4)
    found = measure(
        read_predictions(saved(tmp_path, logits=bent, labels=labels)), RepairOptions(), source="told.npz"
    )
    assert any("this map is not enough" in one for one in found.sentences)
    by_vector = measure(
        read_predictions(saved(tmp_path, logits=bent, labels=labels)),
        RepairOptions("vector"),
        source="told.npz",
    )
    assert by_vector.after.ece.value < found.after.ece.value
    assert any("can change predictions" in one for one in by_vector.sentences)


def test_an_unknown_method_or_setting_is_refused_with_the_known_ones(tmp_path):
    answers = read_predictions(saved(tmp_path, logits=LOGITS, labels=LABELS))
    with pytest.raises(RecipeError, match="temprature"):
        measure(answers, RepairOptions("temprature"), source="told.npz")
    with pytest.raises(RecipeError, match="rigde"):
        measure(answers, RepairOptions("vector", {"rigde": 1.0}), source="told.npz")


def test_labels_that_are_no_classes_are_refused_by_the_name_of_the_file(tmp_path):
    answers = read_predictions(saved(tmp_path, logits=LOGITS, labels=LABELS + 1))
    with pytest.raises(RecipeError, match=r"told.npz: labels span 1..3"):
        measure(answers, RepairOptions(), source="told.npz")


def test_a_csv_as_spreadsheets_write_it_is_read(tmp_path):
    """A blank last line, semicolons, commas for points, rounded numbers, whole numbers as 1.0."""
    found = read_predictions(csv(tmp_path, "label;probability:a;probability:b\n1.0;0,2501;0,7494\n;;\n\n"))
    np.testing.assert_allclose(np.exp(found.logits).sum(axis=1), 1)
    assert found.labels.tolist() == [1]
    assert "divided by its sum" in found.caution


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"logits": np.full((12, 4), 0.25)}, "sums to 1: these are probabilities, not logits"),
        ({"logits": np.full((12, 4), 25.0)}, "sums to 100: these are per cents"),
        ({"probabilities": np.full((12, 4), 25.0)}, "sums to 100: these are per cents"),
        ({"logits": np.eye(4)[np.arange(12) % 4] * 5, "classes": list("abca")}, "the class 'a' twice"),
    ],
)
def test_values_that_contradict_their_name_are_refused(tmp_path, arrays, message):
    with pytest.raises(RecipeError, match=message):
        read_predictions(saved(tmp_path, labels=np.arange(12) % 4, **arrays))


def test_certain_and_right_predictions_get_the_true_reason(tmp_path):
    certain = np.eye(4)[np.arange(40) % 4]
    path = saved(tmp_path, probabilities=certain, labels=np.arange(40) % 4)
    found = measure(read_predictions(path), RepairOptions(), source="x")
    assert "have probability 0" in found.calibration.warnings[0]
