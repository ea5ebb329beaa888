"""Rows of figures on the terminal, whole at any width, and durations in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.table import Table

NAME_WIDTH = 12
"""Columns that a name gets at least; a longer one is folded."""
_GAP = 2
"""Columns between two columns of figures, at most."""
_BREAKS = {" (": "\n(", ": ": ":\n", " / ": "\n/ "}
"""Where a cell goes on in a second line if the table is too wide."""


@dataclass(frozen=True)
class FigureRows:
    """Names with their figures: one table; on a narrow terminal cells of two lines, then several tables, then paragraphs."""

    title: str
    name_heading: str
    headings: Sequence[str]
    rows: Mapping[str, Sequence[str]]
    least: Sequence[str] = ()
    """Headings that are left out, the first first, while the table does not fit."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        tables = list(self._tables(options.max_width))
        for figures in tables:
            yield figures._table()
        if tables:
            return
        if self.title:
            yield Text(self.title, style="italic")
        for name, texts in self.rows.items():
            yield Text(name, style="bold", overflow="fold")
            for heading, text in zip(self.headings, texts, strict=True):
                yield Text(f"  {heading}: {text}", overflow="fold")

    def _tables(self, width: int) -> Iterator[FigureRows]:
        """The table, in parts that fit; nothing if a column alone does not."""
        kept = list(self.headings)
        for heading in (*self.least, ""):
            if self._of(kept)._width <= width:
                yield self._of(kept)
                return
            kept = [other for other in kept if other != heading]
        wide, narrow = self._of(kept)._parts(width), self._of(kept)._narrow._parts(width)
        tables = narrow if not wide or 0 < len(narrow) < len(wide) else wide
        yield from (table if number == 0 else table._untitled for number, table in enumerate(tables))

    def _parts(self, width: int) -> list[FigureRows]:
        """Tables that fit and have as many columns as they can; none if a column alone does not fit."""
        parts: list[list[str]] = [[]]
        for heading in self.headings:
            if parts[-1] and self._of([*parts[-1], heading])._width > width:
                parts.append([])
            parts[-1].append(heading)
        tables = [self._of(part) for part in parts]
        return tables if all(table._width <= width for table in tables) else []

    def _of(self, headings: Sequence[str]) -> FigureRows:
        """These columns alone."""
        chosen = [heading in headings for heading in self.headings]
        rows = {
            name: [text for text, is_kept in zip(texts, chosen, strict=True) if is_kept] for name, texts in self.rows.items()
        }
        return FigureRows(self.title, self.name_heading, list(headings), rows)

    @cached_property
    def _narrow(self) -> FigureRows:
        return FigureRows(
            self.title, self.name_heading, self.headings, {name: list(map(_broken, texts)) for name, texts in self.rows.items()}
        )

    @property
    def _untitled(self) -> FigureRows:
        return FigureRows("", self.name_heading, self.headings, self.rows)

    @property
    def _width(self) -> int:
        columns = zip(*self.rows.values(), strict=True) if self.rows else [()] * len(self.headings)
        widths = [_longest((heading, *column)) for heading, column in zip(self.headings, columns, strict=True)]
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
            table.add_row(Text(name), *map(Text, figures))
        return table


def _broken(text: str) -> str:
    for where, in_two_lines in _BREAKS.items():
        text = text.replace(where, in_two_lines, 1)
    return text


def _longest(texts: Sequence[str]) -> int:
    return max(len(line) for text in texts for line in text.split("\n"))


def number_of(number: int, noun: str) -> str:
    """A count with its noun: 1 cell, 2,000 cells."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def duration(seconds: float | None) -> str:
    """Whole seconds in words; "?" if unknown."""
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


def print_sentence(console: Console, sentence: str) -> None:
    """Print a sentence, on a terminal without breaking words; commands (four spaces) and long paths stay whole, for copying."""
    for line in sentence.split("\n"):
        is_copied = line.startswith("    ") or max(map(len, line.split()), default=0) > console.width
        if is_copied or not console.is_terminal:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            print_hanging(console, "  " if line.startswith("  ") else "", line.strip())


def print_hanging(console: Console, head: str, text: str, *, style: str = "") -> None:
    """Print a text after its head; on a terminal its further lines begin below the text, elsewhere it is one line."""
    from rich.table import Table
    from rich.text import Text

    if not (head and console.is_terminal):
        console.print(Text.assemble((head, style), text), soft_wrap=not console.is_terminal)
        return
    beside = Table.grid()
    beside.add_column(no_wrap=True)
    beside.add_column(overflow="fold")
    beside.add_row(Text(head, style), Text(text))
    console.print(beside)


def print_check(console: Console, status: str, text: str, fix: str) -> None:
    """Print the result of one check (ok | warn | fail), and below it how to fix it."""
    style = {"ok": "green", "warn": "yellow", "fail": "red"}[status]
    print_hanging(console, f"{status:<5}", text, style=style)
    if fix:
        print_hanging(console, "       fix: ", fix)
