"""Shares of a machine's time: several requests at a time count once."""

from __future__ import annotations

import pytest

from reports.money.machine_time import shares


def test_a_request_alone_uses_its_whole_time() -> None:
    assert shares([(0.0, 10.0), (20.0, 25.0)]) == pytest.approx([10.0, 5.0])


def test_four_requests_at_once_share_the_time_of_the_machine() -> None:
    assert shares([(0.0, 10.0)] * 4) == pytest.approx([2.5] * 4)


def test_overlapping_requests_share_only_what_they_overlap() -> None:
    assert shares([(0.0, 10.0), (5.0, 20.0)]) == pytest.approx([7.5, 12.5])


def test_a_request_that_took_no_time_uses_none() -> None:
    assert shares([(3.0, 3.0), (0.0, 6.0)]) == pytest.approx([0.0, 6.0])
    assert shares([]) == []
