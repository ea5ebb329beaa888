"""Defaults of the experiment file that more than one package needs."""

from __future__ import annotations

from collections.abc import Mapping

HORIZONS: tuple[int, ...] = (1, 5, 20)
"""Sessions after which a decision's outcome is measured."""

SOFT_LIMIT_S = 1500.0
"""Service time after which a cell ends as `timeout`."""

HARD_LIMIT_S = 1800.0
"""Service time after which a cell's process is killed."""

UNREACHABLE_AFTER_S = 600.0
"""Time without any completed answer after which a server counts as gone."""

FORMER_NAMES: Mapping[str, str] = {
    "similarity": "same_rating",
    "similarity_of_all": "same_rating_of_all",
    "cost_per_usable": "cost",
    "min_similarity": "min_same_rating",
}
"""Former name of a metric or gate -> its name today; read in run folders, refused in experiment files."""
