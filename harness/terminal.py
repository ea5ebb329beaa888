"""Rows of figures on the terminal, whole at any width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

NAME_WIDTH = 12
"""Columns that a name gets at least; a longer one is folded."""
_GAP = 2
"""Columns between two columns of figures, at most."""


@dataclass(frozen=True)
class FigureRows:
    """Names with their figures: a table, or a paragraph for each name on a terminal that is too narrow for it."""

    title: str
    name_heading: str
    headings: Sequence[str]
    rows: Mapping[str, Sequence[str]]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        if self._width <= options.max_width:
            yield self._table()
            return
        if self.title:
            yield Text(self.title, style="italic")
        for name, figures in self.rows.items():
            yield Text(name, style="bold", overflow="fold")
            for heading, figure in zip(self.headings, figures, strict=True):
                yield Text(f"  {heading}: {figure}", overflow="fold")

    @property
    def _width(self) -> int:
        columns = zip(*self.rows.values(), strict=True) if self.rows else [()] * len(self.headings)
        widths = [max(map(len, (heading, *column))) for heading, column in zip(self.headings, columns, strict=True)]
        name_width = min(NAME_WIDTH, max(map(len, (self.name_heading, *self.rows))))
        return name_width + _GAP + sum(width + _GAP for width in widths)

    def _table(self) -> Table:
        from rich import box
        from rich.table import Table
        from rich.text import Text

        table = Table(title=self.title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
        table.add_column(self.name_heading, overflow="fold", min_width=min(NAME_WIDTH, max(map(len, self.rows), default=0)))
        for heading in self.headings:
            table.add_column(heading, justify="right", no_wrap=True)
        for name, figures in self.rows.items():
            table.add_row(Text(name), *figures)
        return table
