"""Agreement on an ordered scale: weighted kappa, Gwet's AC1 and the Stuart-Maxwell test, from square tables of pairs."""

from __future__ import annotations

from typing import Any

import numpy as np


def joint(first: Any, second: Any) -> Any:
    """Tables of all pairs between two sets of repeats: shares of each category (cases x K) -> cases x K x K."""
    return np.einsum("ci,cj->cij", np.asarray(first, dtype=float), np.asarray(second, dtype=float))


def against_itself(counts: Any, repeats: Any) -> Any:
    """Tables of all pairs of different repeats: counts of each category (cases x K) -> cases x K x K; NaN below two repeats."""
    counts, size = np.asarray(counts, dtype=float), np.asarray(repeats, dtype=float)[:, None, None]
    pairs = np.einsum("ci,cj->cij", counts, counts) - np.einsum("ci,ij->cij", counts, np.eye(counts.shape[1]))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(size > 1, pairs / (size * (size - 1)), np.nan)


def weighted_kappa(table: Any) -> Any:
    """Cohen's kappa with quadratic weights over the last two axes; NaN if no disagreement is expected by chance."""
    table = np.asarray(table, dtype=float)
    size = table.shape[-1]
    weights = np.subtract.outer(np.arange(size), np.arange(size)) ** 2
    total = table.sum(axis=(-2, -1))
    by_chance = np.einsum("...i,...j->...ij", table.sum(axis=-1), table.sum(axis=-2))
    with np.errstate(divide="ignore", invalid="ignore"):
        seen = (weights * table).sum(axis=(-2, -1)) / total
        expected = (weights * by_chance).sum(axis=(-2, -1)) / total**2
        return np.where(expected > 0, 1 - seen / expected, np.nan)


def kappa(table: Any) -> float:
    """Unweighted Cohen's kappa of one table; NaN if all agreement is expected by chance."""
    shares = np.asarray(table, dtype=float)
    if not shares.sum():
        return float("nan")
    shares = shares / shares.sum()
    seen, by_chance = float(np.trace(shares)), float(shares.sum(axis=1) @ shares.sum(axis=0))
    return (seen - by_chance) / (1 - by_chance) if by_chance < 1 else float("nan")


def ac1(table: Any) -> Any:
    """Gwet's AC1 (2008): agreement beyond chance that does not collapse when one category dominates."""
    table = np.asarray(table, dtype=float)
    size = table.shape[-1]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = table / table.sum(axis=(-2, -1), keepdims=True)
        seen = np.trace(shares, axis1=-2, axis2=-1)
        mean_shares = (shares.sum(axis=-1) + shares.sum(axis=-2)) / 2
        by_chance = (mean_shares * (1 - mean_shares)).sum(axis=-1) / (size - 1)
        return (seen - by_chance) / (1 - by_chance)


def stuart_maxwell(table: Any) -> tuple[float, int, float]:
    """Test whether two raters use the (used) categories equally often: chi-square, degrees of freedom, p."""
    table = np.asarray(table, dtype=float)
    used = (table.sum(axis=0) + table.sum(axis=1)) > 0
    table = table[np.ix_(used, used)]
    shift = (table.sum(axis=1) - table.sum(axis=0))[:-1]
    if not len(shift) or not np.any(shift):
        return 0.0, max(len(shift), 0), 1.0
    # Here, because every experiment's names pass through this file and SciPy takes a tenth of a second to import.
    from scipy import special

    covariance = np.diag(table.sum(axis=1) + table.sum(axis=0)) - table - table.T
    chi2 = float(shift @ np.linalg.pinv(covariance[:-1, :-1]) @ shift)
    return chi2, len(shift), float(special.chdtrc(len(shift), chi2))
