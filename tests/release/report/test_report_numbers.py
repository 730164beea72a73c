"""Numbers as text: their width does not grow with the value."""

from __future__ import annotations

import pytest

from calkd_edge.release.report import numbers


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.28053, "0.281"), (-0.0001, "0.000"), (999_999.0, "999999.000"), (6.86e299, "6.86e+299")],
)
def test_a_loss_has_three_decimals_and_a_huge_one_an_exponent(value, text):
    assert numbers.nats(value) == text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.5, "bytes", "0.5 bytes"),
        (4_000_000, "bytes", "4,000,000 bytes"),
        (-0.0, "share", "0 %"),
        (-0.0, "nats", "0"),
        (0.013, "share", "1.3 %"),
    ],
)
def test_a_limit_is_written_as_its_author_wrote_it(value, unit, text):
    assert numbers.limit_in_unit(value, unit) == text
