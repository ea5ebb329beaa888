"""Quantiles with Woodruff's interval: that of the share below, with dates as clusters, read back on the values' scale."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import special

from reports.stats import means


def quantile(values: Any, dates: Any, q: float, level: float = 0.05) -> tuple[float, float, float]:
    """The q-quantile with its interval; dates say which values belong together."""
    values, dates = np.asarray(values, dtype=float), np.asarray(dates)
    if not len(values):
        return np.nan, np.nan, np.nan
    value = float(np.quantile(values, q))
    _, groups = np.unique(dates, return_inverse=True)
    share = means.ratio(np.bincount(groups, values <= value), np.bincount(groups))
    if not np.isfinite(share.se):
        return value, np.nan, np.nan
    reach = special.stdtrit(share.df, 1 - level / 2) * max(share.se, np.sqrt(q * (1 - q) / len(values)))
    low, high = np.quantile(values, np.clip([q - reach, q + reach], 0, 1))
    return value, float(low), float(high)
