"""The Model Confidence Set: who cannot be told from the best (Hansen, Lunde and Nason 2011, range statistic)."""

from __future__ import annotations

from typing import Any

import numpy as np


def p_values(losses: Any, draws: int, seed: int) -> Any:
    """p per column of being as good as the best, from periods x columns of losses that are independent over periods.

    The worst of those left goes out, one after another; each p is at least that of those that went before."""
    apart = _differences(losses.mean(axis=0))
    drawn = _redrawn(losses, draws, seed) - apart
    spread = np.sqrt((drawn**2).mean(axis=0)) + np.eye(losses.shape[1])
    return _eliminated(apart / spread, drawn / spread)


def _differences(means: Any) -> Any:
    """Every mean minus every other: (..., i, j) is how much more i loses than j."""
    return means[..., :, None] - means[..., None, :]


def _redrawn(losses: Any, draws: int, seed: int) -> Any:
    """The same differences in bootstrap samples of the periods."""
    periods = len(losses)
    taken = np.random.default_rng(seed).multinomial(periods, np.full(periods, 1 / periods), size=draws)
    return _differences(taken @ losses / periods)


def _eliminated(apart: Any, drawn: Any) -> Any:
    found, left, highest = np.ones(len(apart)), list(range(len(apart))), 0.0
    while len(left) > 1:
        among = np.ix_(left, left)
        largest = apart[among].max()
        simulated = drawn[:, left][:, :, left].max(axis=(1, 2))
        highest = max(highest, float((simulated > largest).mean()))
        worst = left[int(np.unravel_index(apart[among].argmax(), apart[among].shape)[0])]
        found[worst] = highest
        left.remove(worst)
    return found
