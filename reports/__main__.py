"""`python -m reports`: check the strategy figures against a published test vector over a real archive."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reports.returns import strategy

if TYPE_CHECKING:
    import pandas as pd

FIRST, LAST = "2025-03-03", "2025-06-30"
LEFT_OUT = "SPY"


@dataclass(frozen=True)
class CheckedFigure:
    """One figure of the test vector."""

    name: str
    expected: float
    digits: int
    computed: float

    @property
    def agrees(self) -> bool:
        return f"{self.computed:.{self.digits}f}" == f"{self.expected:.{self.digits}f}"

    def __str__(self) -> str:
        word = "agrees" if self.agrees else "DIFFERS"
        return f"{word:8} {self.name:48} expected {self.expected:.{self.digits}f}  found {self.computed:.{self.digits + 3}f}"


def check_figures(archive: Path) -> list[CheckedFigure]:
    """Check the vector over the djia-2025 archive. Raises FileNotFoundError without prices, ValueError without its sessions."""
    opens, closes = (_prices(archive, column) for column in ("open", "close"))
    at_open, at_close = (_buy_and_hold(prices) for prices in (opens, closes))
    return [
        CheckedFigure("sessions", 83, 0, len(opens)),
        CheckedFigure("tickers", 20, 0, opens.shape[1]),
        CheckedFigure("open: return, %", 0.4082, 4, 100 * at_open.total_return),
        CheckedFigure("open: max drawdown, %", -15.2097, 4, 100 * at_open.max_drawdown),
        CheckedFigure("open: Sortino, StockBench's convention", 0.015490, 6, at_open.sortino_stockbench),
        CheckedFigure("open: Sharpe, empyrical's convention", 0.18035, 5, at_open.sharpe),
        CheckedFigure("close: return, %", 2.1968, 4, 100 * at_close.total_return),
        CheckedFigure("close: max drawdown, %", -12.8027, 4, 100 * at_close.max_drawdown),
        CheckedFigure("close: Sortino, StockBench's convention", 0.0334, 4, at_close.sortino_stockbench),
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


def _buy_and_hold(prices: Any) -> strategy.Strategy:
    import pandas as pd

    return strategy.measure(
        "held", strategy.value(prices.pct_change().fillna(0.0), pd.DataFrame(1.0, prices.index, prices.columns))
    )


app = typer.Typer(no_args_is_help=True, add_completion=False, help="Numbers, verdicts and pages from result tables.")


@app.callback()
def _group() -> None:
    """Keep the sub-command's name, although there is only one."""


@app.command()
def conformance(archive: Annotated[Path, typer.Option(help="Folder of the djia-2025 archive.")]) -> None:
    """Compare the strategy figures with a published test vector, to the last digit; exit code 1 if one differs."""
    pass  # DROPPED

    try:
        figures = check_figures(archive)
    except (FileNotFoundError, ValueError) as trouble:
        typer.echo(str(trouble), err=True)
        raise typer.Exit(2) from None
    typer.echo("\n".join(map(str, figures)))
    raise typer.Exit(0 if all(figure.agrees for figure in figures) else 1)


if __name__ == "__main__":
    app()
