"""The images on the page: the right ones, small, and the same each time."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from calkd_edge.metrics import per_image as scores
from calkd_edge.release.report.page import render_html
from calkd_edge.release.report.pictures import LARGEST, SHOWN, pictures

MOST_BYTES = 2_000_000


def striped(rows, side=28):
    images = np.zeros((len(rows), 3, side, 2 * side), dtype=np.uint8)
    images[:, 0, :, ::3] = (np.asarray(rows) % 251)[:, None, None]
    return images


def predictions_of(world, precision):
    return next(
        item.predictions
        for item in world
        if (item.measurement.model, item.measurement.precision, item.measurement.calibrated)
        == ("student", precision, True)
    )


def test_the_most_confident_wrong_answers_are_shown(world):
    errors = pictures(world, (), striped)[0]
    p = predictions_of(world, "fp32")
    wrong = scores.top1(p.logits) != p.labels
    highest = np.sort(scores.confidence(p.logits)[wrong])[::-1][:SHOWN]
    assert (errors.kind, errors.measurement) == ("confident_errors", "student fp32 on local")
    assert [one.confidence for one in errors.pictures] == pytest.approx(highest.tolist())
    assert all(one.answer != one.label == p.labels[one.index] for one in errors.pictures)


def test_the_images_on_which_int8_differs_most_from_fp32_are_shown(world):
    shown = pictures(world, (), striped)[1]
    a, b = (np.exp(scores.log_softmax(predictions_of(world, name).logits)) for name in ("int8", "fp32"))
    differences = np.sort(np.abs(a - b).max(axis=1))[::-1][:SHOWN]
    assert (shown.kind, shown.other) == ("disagreement", "student fp32 on local")
    assert [one.difference for one in shown.pictures] == pytest.approx(differences.tolist())


@pytest.mark.parametrize("side", [1, 16, 28, 224])
def test_copies_are_small_and_equal_runs_give_equal_bytes(world, side):
    def images(rows):
        return striped(rows, side)

    first, second = (pictures(world, (), images) for _ in range(2))
    assert first == second
    one = first[0].pictures[0]
    head, content = one.image.split(",")
    copy = Image.open(io.BytesIO(base64.b64decode(content)))
    assert max(copy.size) == min(2 * side, LARGEST)
    assert copy.format.lower() in head
    if head.startswith("data:image/png"):
        assert np.array_equal(np.asarray(copy).transpose(2, 0, 1), images([one.index])[0])


def test_nothing_wrong_and_nothing_different_shows_nothing(maker):
    p = maker.predictions(images=100)
    right = type(p)(p.logits, scores.top1(p.logits), p.indices)
    assert pictures([maker.evidence(right), maker.evidence(right, precision="int8")], (), striped) == ()
    assert pictures([], (), striped) == ()


def test_the_page_stays_small_with_images_that_do_not_compress_and_a_thousand_classes(full_report):
    assert [len(group.pictures) for group in full_report.pictures] == [SHOWN, SHOWN]
    many = []
    for m in full_report.measurements:
        classes = [m.quality.by_class[k % 10].model_copy(update={"label": k}) for k in range(1000)]
        many.append(
            m.model_copy(update={"quality": m.quality.model_copy(update={"by_class": tuple(classes)})})
        )
    page = render_html(full_report.model_copy(update={"measurements": tuple(many)}))
    assert "800 further ones are in report.json" in page
    assert len(page.encode()) < MOST_BYTES
