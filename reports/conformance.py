"""The test vector of strategy figures, held against a real archive: buy twenty stocks, hold them, and count to the digit."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports import strategy

if TYPE_CHECKING:
    import pandas as pd

FIRST, LAST = "2025-03-03", "2025-06-30"
LEFT_OUT = "SPY"


@dataclass(frozen=True)
class Figure:
    """One figure of the vector."""

    name: str
    expected: float
    digits: int
    found: float

    @property
    def agrees(self) -> bool:
        return f"{self.found:.{self.digits}f}" == f"{self.expected:.{self.digits}f}"

    def __str__(self) -> str:
        word = "agrees" if self.agrees else "DIFFERS"
        return f"{word:8} {self.name:48} expected {self.expected:.{self.digits}f}  found {self.found:.{self.digits + 3}f}"


def check(archive: Path) -> list[Figure]:
    """The vector over the djia-2025 archive. Raises FileNotFoundError without its prices, ValueError on other bars."""
    opens, closes = (_prices(archive, column) for column in ("open", "close"))
    at_open, at_close = (_held(prices) for prices in (opens, closes))
    return [
        Figure("sessions", 83, 0, len(opens)),
        Figure("tickers", 20, 0, opens.shape[1]),
        Figure("open: return, %", 0.4082, 4, 100 * at_open.total_return),
        Figure("open: max drawdown, %", -15.2097, 4, 100 * at_open.max_drawdown),
        Figure("open: Sortino, StockBench's convention", 0.015490, 6, at_open.sortino_stockbench),
        Figure("open: Sharpe, empyrical's convention", 0.18035, 5, at_open.sharpe),
        Figure("close: return, %", 2.1968, 4, 100 * at_close.total_return),
        Figure("close: max drawdown, %", -12.8027, 4, 100 * at_close.max_drawdown),
        Figure("close: Sortino, StockBench's convention", 0.0334, 4, at_close.sortino_stockbench),
    ]


def _prices(archive: Path, column: str) -> pd.DataFrame:
    import pandas as pd

    file = archive / "prices.parquet"
    if not file.is_file():
        raise FileNotFoundError(f"{file}: not there; --archive names the folder of djia-2025 (prices.parquet and others)")
    bars = pd.read_parquet(file, columns=["ticker", "date", column])
    bars = bars[bars["ticker"] != LEFT_OUT].assign(date=pd.to_datetime(bars["date"]))
    wide: pd.DataFrame = bars.pivot_table(index="date", columns="ticker", values=column).loc[FIRST:LAST]
    if len(wide) < 2:
        raise ValueError(f"{file}: has no bars between {FIRST} and {LAST}; the vector belongs to djia-2025")
    return wide.ffill()


def _held(prices: Any) -> strategy.Strategy:
    import pandas as pd

    return strategy.measure(
        "held", strategy.value(prices.pct_change().fillna(0.0), pd.DataFrame(1.0, prices.index, prices.columns))
    )
