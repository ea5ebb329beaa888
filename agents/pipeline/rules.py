"""Rules on prices: arms without a model and without cost; every parameter is in the rationale."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.errors import PipelineError
from agents.pipeline.roles import final_role
from agents.types import Decision, Result

if TYPE_CHECKING:
    import pandas as pd

    from agents.inputs.snapshot import Snapshot

RuleDecision = tuple[str, str]
"""Rating and its reason."""


class _TooShort(Exception):
    """The snapshot has fewer sessions than the rule's window."""


def rule_names() -> tuple[str, ...]:
    return tuple(RULES)


def source_hash() -> str:
    return sha256(Path(__file__).read_bytes()).hexdigest()


def decide(rule: str, snapshot: Snapshot) -> Result:
    """The rule's decision, or a missing decision with its reason if there are too few sessions.

    Raises PipelineError for an unknown rule.
    """
    if rule not in RULES:
        raise PipelineError(f"unknown rule {rule!r}; known: {', '.join(RULES)}")
    try:
        rating, reason = RULES[rule](snapshot)
    except _TooShort as short:
        return Result(None, "missing", reports={final_role(): str(short)})
    decision = Decision(rating, rationale=f"Rule {rule}: {reason}")
    return Result(
        decision,
        "rule",
        reports={final_role(): f"Rating: {rating}\n{decision.rationale}"},
        stage_ratings={final_role(): rating},
    )


def always_hold(snapshot: Snapshot) -> RuleDecision:
    return "Hold", "always Hold, whatever the case (no parameter)."


def macd(snapshot: Snapshot, fast: int = 12, slow: int = 26, signal: int = 9) -> RuleDecision:
    """Buy while the MACD line is above its signal line, Sell while it is below."""
    close = _frame(snapshot, "macd", slow + signal - 1)["close"]
    line = _ema(close, fast) - _ema(close, slow)
    gap = float((line - _ema(line, signal)).iloc[-1])
    rating = _side(gap)
    return rating, (
        f"fast={fast}, slow={slow}, signal={signal} (sessions, EMA of closes); MACD {line.iloc[-1]:.4f} minus its signal is "
        f"{gap:+.4f}: {rating} (above 0 Buy, below 0 Sell, 0 Hold)."
    )


def kdj_rsi(
    snapshot: Snapshot,
    window: int = 9,
    smooth: int = 3,
    rsi: int = 14,
    low: float = 20,
    high: float = 80,
    rsi_low: float = 30,
    rsi_high: float = 70,
) -> RuleDecision:
    """Buy if KDJ and RSI both indicate oversold, Sell if both indicate overbought, else Hold."""
    frame = _frame(snapshot, "kdj_rsi", max(window + 2 * smooth, rsi + 1))
    j, strength = _kdj(frame, window, smooth), _rsi(frame["close"], rsi)
    oversold, overbought = j < low and strength < rsi_low, j > high and strength > rsi_high
    rating = "Buy" if oversold else "Sell" if overbought else "Hold"
    return rating, (
        f"KDJ window={window}, smoothing={smooth}, J below {low:g} or above {high:g}; RSI sessions={rsi}, below {rsi_low:g} "
        f"or above {rsi_high:g}; J {j:.1f} and RSI {strength:.1f}: {rating} (both low Buy, both high Sell, else Hold)."
    )


def zmr(snapshot: Snapshot, window: int = 20, threshold: float = 1.0) -> RuleDecision:
    """Mean reversion: Buy if the close is far below its mean, Sell if far above (z-score), else Hold."""
    close = _frame(snapshot, "zmr", window)["close"].tail(window)
    spread = float(close.std(ddof=0))
    z = (float(close.iloc[-1]) - float(close.mean())) / spread if spread > 0 else 0.0
    rating = "Buy" if z < -threshold else "Sell" if z > threshold else "Hold"
    return rating, (
        f"window={window} sessions, threshold={threshold:g} standard deviations (population); z of the close is {z:+.2f}: "
        f"{rating} (below -{threshold:g} Buy, above {threshold:g} Sell, else Hold)."
    )


def sma(snapshot: Snapshot, short: int = 10, long: int = 50) -> RuleDecision:
    """Buy while the short average is above the long one, Sell while it is below."""
    close = _frame(snapshot, "sma", long)["close"]
    near, far = float(close.tail(short).mean()), float(close.tail(long).mean())
    rating = _side(near - far)
    return rating, (
        f"short={short}, long={long} (sessions, plain averages of closes); {near:.4f} against {far:.4f}: {rating} "
        f"(short above long Buy, below Sell, equal Hold)."
    )


RULES: Mapping[str, Callable[[Any], RuleDecision]] = {
    "always_hold": always_hold,
    "macd": macd,
    "kdj_rsi": kdj_rsi,
    "zmr": zmr,
    "sma": sma,
}


def _frame(snapshot: Snapshot, rule: str, need: int) -> pd.DataFrame:
    """Bars in shares as of the last session. Raises _TooShort for fewer than `need` bars."""
    import pandas as pd

    from agents.inputs.prices import split_adjusted

    bars = split_adjusted(snapshot.prices, snapshot.splits)
    if len(bars) < need:
        raise _TooShort(f"Rule {rule}: needs {need} sessions, the snapshot has {len(bars)}; no decision.")
    return pd.DataFrame([bar[1:6] for bar in bars], columns=["open", "high", "low", "close", "volume"])


def _ema(values: pd.Series, span: int) -> pd.Series:
    return values.ewm(span=span, adjust=False).mean()


def _kdj(frame: pd.DataFrame, window: int, smooth: int) -> float:
    """J = 3K - 2D with K, D smoothed by 1/smooth from the raw stochastic value."""
    low, high = frame["low"].rolling(window).min(), frame["high"].rolling(window).max()
    raw = (100 * (frame["close"] - low) / (high - low)).where(high > low, 50.0)
    k = raw.dropna().ewm(alpha=1 / smooth, adjust=False).mean()
    d = k.ewm(alpha=1 / smooth, adjust=False).mean()
    return float(3 * k.iloc[-1] - 2 * d.iloc[-1])


def _rsi(close: pd.Series, sessions: int) -> float:
    """Wilder's RSI; 50 if prices did not change."""
    change = close.diff().dropna()
    up = float(change.clip(lower=0).ewm(alpha=1 / sessions, adjust=False).mean().iloc[-1])
    down = float(-change.clip(upper=0).ewm(alpha=1 / sessions, adjust=False).mean().iloc[-1])
    return 100 * up / (up + down) if up + down > 0 else 50.0


def _side(gap: float) -> str:
    return "Buy" if gap > 0 else "Sell" if gap < 0 else "Hold"
