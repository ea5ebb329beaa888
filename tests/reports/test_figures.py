"""Numbers as they are written: with a unit, in the reader's digits, and `unknown` where they were not earned."""

from __future__ import annotations

import math

import pytest

from reports import format
from reports.answer import wording
from reports.page.charts import waterfall
from reports.page.scatter import Axis, ScatterPoint, scatter, usd_tick
from reports.page.templates import environment
from reports.stats.estimate import Estimate


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "$0.00"), (0.000012345, "$0.0000123"), (0.0456, "$0.0456"), (1.5, "$1.50"), (1234.5, "$1,234.50"), (-2, "-$2.00")],
)
def test_dollars_keep_three_digits_below_one(value: float, text: str) -> None:
    assert format.usd_text(value) == text


@pytest.mark.parametrize(
    ("value", "text"), [(0.0421, "42 ms"), (4.25, "4.2 s"), (95, "95 s"), (125, "2 min 5 s"), (7260, "2 h 1 min")]
)
def test_seconds_come_in_the_unit_of_a_reader(value: float, text: str) -> None:
    assert format.seconds_text(value).replace(format.THIN, " ") == text


def test_a_negative_number_of_the_page_has_a_true_minus_sign() -> None:
    figures = (format.usd(-2), format.number(-1.5), format.excess(-0.02), format.percent(-0.1))
    assert [figure.replace(format.THIN, " ") for figure in figures] == ["−$2.00", "−1.50", "−2.0 %", "−10 %"]
    assert format.excess(-0.00001).replace(format.THIN, " ") == "0.0 %"


def test_the_ends_of_an_interval_differ_in_print() -> None:
    narrow = Estimate(0.0169, 0.01688, 0.01694, 84, 28)
    assert wording.differences("usd", "ratio", narrow) == ["−98.310 %", "−98.312 %", "−98.306 %"]
    assert wording.differences("share", "difference", Estimate(0.0, 0.0, 0.0, 84, 28)) == ["0 pp", "0 pp", "0 pp"]


@pytest.mark.parametrize("nothing", [None, math.nan])
def test_what_was_not_earned_is_called_unknown_with_its_reason(nothing: float | None) -> None:
    assert "unknown" in format.usd(nothing, "no price")
    assert "no price" in format.usd(nothing, "no price")
    assert "0" not in format.usd(nothing)


@pytest.mark.parametrize("mistake", [None, 0.5])
def test_a_template_cannot_print_a_bare_number_or_nothing(mistake: float | None) -> None:
    with pytest.raises(TypeError, match="figure filter"):
        environment().from_string("{{ value }}").render(value=mistake)


def test_charts_hold_for_one_point_and_without_an_interval() -> None:
    assert "<svg" in scatter(
        [ScatterPoint("only", 0, 0.01, 0.5, None, None, "only: $0.01")], Axis("cost", usd_tick), None, None, "cost"
    )
    assert "<svg" in waterfall([])
