"""How progress is shown: a live table on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from harness.runs import answered_later
from harness.runs.progress import ArmProgress, Progress
from harness.terminal import FigureRows, duration, print_sentence

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from harness.runs.answer import AnswerText
    from harness.storage.folder import Folder
    from harness.storage.rows import Row
    from harness.web.live import LivePage


PLAIN_EVERY_S = 5.0
_HEADINGS = ("ended", "usable", "running", "failed", "timeout", "over budget", "calls", "tokens", "paid", "reused", "left")
_ALWAYS = frozenset({"ended", "usable", "failed", "calls", "tokens", "paid"})
"""The others are shown only if they are not all 0."""
_LEAST = ("tokens", "calls", "running")
"""Left out, the first first, where the table is wider than the terminal."""
_MOST_ARMS_IN_LINE = 6
_UNFINISHED = "not ended yet"


class Display:
    """Shows progress: a live table on a terminal, else a line every few seconds; and on the page of --open."""

    def __init__(self, console: Console, title: str, page: LivePage | None = None) -> None:
        self._console = console
        self._title = title
        self._web_page = page
        if page:
            page.show(title=title)
        self._printed_at = 0.0
        self._last = ""
        self._noted: set[str] = set()
        self._live = None if not console.is_terminal else _live(console)

    @contextlib.contextmanager
    def showing(self) -> Iterator[None]:
        if self._live is None:
            yield
            return
        with self._live:
            yield

    def show(self, progress: Progress, *, now: bool = False) -> None:
        self._show_on_web(progress, is_over=now)
        if self._live is not None:
            self._live.update(page(self._title, progress), refresh=now)
            return
        for note in progress.notes:
            if note not in self._noted:
                self._noted.add(note)
                self.say(note)
        if now or time.monotonic() - self._printed_at >= PLAIN_EVERY_S:
            self._print_new("\n".join([line_with_arms(progress), *answered_later.lines(progress.deferred)]))

    def say(self, sentence: str) -> None:
        """Print a line that stays."""
        print_sentence(self._console, sentence)
        if self._web_page:
            self._web_page.say(sentence)

    def answer(self, answer: AnswerText) -> None:
        for sentence in answer.sentences:
            self.say(sentence)
        self._console.print(answer.table())

    def has_report(self, folder: Folder) -> None:
        """The report is in this folder."""
        if self._web_page:
            self._web_page.has_report(folder.read_if_there)

    def _show_on_web(self, progress: Progress, *, is_over: bool) -> None:
        if self._web_page:
            arms = table(progress)
            self._web_page.show(
                state="Writing the report." if is_over else _state(progress),
                headings=list(arms.headings),
                rows={name: list(figures) for name, figures in arms.rows.items()},
                line=line(progress).partition(" | ")[2],
                share=progress.ended / max(progress.wanted, 1),
                later=answered_later.lines(progress.deferred),
                notes=list(progress.notes),
            )

    def summary(
        self,
        receipts: Sequence[Row],
        run_id: str,
        cells_by_arm: Mapping[str, int] | None = None,
        deferred: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """The ended cells per arm, of how many, and what they cost. `cells_by_arm`: default: as many as ended.

        `deferred`: what the runner last wrote of deferred calls."""
        wanted = Counter(str(receipt["arm"]) for receipt in receipts)
        progress = Progress.of({**wanted, **(cells_by_arm or {})}, receipts, run_id)
        progress.see_receipts()
        progress.see_deferred(deferred)
        self._console.print(table(progress, self._title))
        if progress.reused_api_usd != 0:
            paid, reused = money(progress.spent_usd), money(progress.reused_api_usd)
            self.say(f"API cost: {paid} paid in this run, {reused} reused from earlier runs")

    def _print_new(self, sentence: str) -> None:
        self._printed_at = time.monotonic()
        if sentence != self._last:
            self._last = sentence
            self.say(sentence)


def line(progress: Progress) -> str:
    """Progress in one line."""
    failed = f"{progress.failed:,} failed" if progress.failed else ""
    parts = [
        f"{progress.ended:,} of {progress.wanted:,} cells",
        f"{progress.running} running" if progress.ended < progress.wanted else "",
        failed,
        f"{progress.calls:,} calls",
        f"{sum(progress.tokens):,} tokens",
        f"API cost {api_cost(progress)}",
        _left(progress),
    ]
    return " | ".join(filter(None, parts))


def line_with_arms(progress: Progress) -> str:
    """The same, and how far each arm is unless they are many."""
    arms = ", ".join(f"{name} {arm.ended}/{arm.wanted}" for name, arm in progress.arms.items())
    return f"{line(progress)} | {arms}" if len(progress.arms) <= _MOST_ARMS_IN_LINE else line(progress)


def _left(progress: Progress) -> str:
    if progress.ended >= progress.wanted:
        return ""
    if progress.is_up_to_provider:
        return "time left is up to the provider"
    return "time left not known yet" if progress.left_s is None else f"{duration(progress.left_s)} left"


def table(progress: Progress, title: str = "") -> FigureRows:
    """Progress per arm."""
    columns = {name: _cells(arm) for name, arm in progress.arms.items()}
    headings = [heading for heading in _HEADINGS if heading in _ALWAYS or any(row[heading] != "0" for row in columns.values())]
    rows = {name: [row[heading] for heading in headings] for name, row in columns.items()}
    if unfinished := _of_unfinished(progress):
        rows[_UNFINISHED] = [unfinished.get(heading, "") for heading in headings]
    return FigureRows(title, "arm", headings, rows, _LEAST)


def _of_unfinished(progress: Progress) -> dict[str, str]:
    """heading -> what cells that wait for answers have used so far: the rows of arms count ended cells only."""
    calls = progress.calls - sum(arm.calls for arm in progress.arms.values())
    if not progress.deferred.get("cells") or calls <= 0:
        return {}
    tokens = sum(progress.tokens) - sum(arm.tokens for arm in progress.arms.values())
    texts = {"calls": f"{calls:,}", "tokens": f"{max(0, tokens):,}"}
    if progress.spent_usd is None or progress.reused_api_usd is None or any(arm.unpriced for arm in progress.arms.values()):
        return texts
    return texts | {"paid": money(max(0.0, progress.spent_usd - progress.paid_api_usd))}


def api_cost(progress: Progress) -> str:
    """What this run paid to hosted models, and what it reused of earlier runs."""
    reused_usd = progress.reused_api_usd
    return money(progress.spent_usd) + ("" if reused_usd == 0 else f" (+ {money(reused_usd)} reused)")


def money(usd: float | None) -> str:
    return "not known" if usd is None else f"${usd:,.4f}"


def _cells(arm: ArmProgress) -> dict[str, str]:
    """heading -> text."""
    counts = [arm.by_status[status] for status in ("failed", "timeout", "over_budget")]
    paid = "unknown" if arm.unpriced else money(arm.paid_usd)
    reused = money(arm.reused_usd) if arm.reused_usd else "0"
    texts = [
        f"{arm.ended}/{arm.wanted}",
        str(arm.usable),
        str(arm.running),
        *map(str, counts),
        f"{arm.calls:,}",
        f"{arm.tokens:,}",
        paid,
        reused,
        "0" if arm.ended >= arm.wanted else duration(arm.left_s),
    ]
    return dict(zip(_HEADINGS, texts, strict=True))


def _live(console: Console) -> Live:
    from rich.live import Live

    return Live(console=console, refresh_per_second=4, transient=True)


def page(title: str, progress: Progress, more: Sequence[str] = (), *, is_followed: bool = True) -> RenderableType:
    """Progress for a live display; what a low terminal cuts off is the end of the table. `more`: further lines."""
    from rich.console import Group
    from rich.text import Text

    later = answered_later.lines(progress.deferred, is_followed=is_followed)
    notes = [Text(note, style="yellow", overflow="ellipsis", no_wrap=True) for note in progress.notes]
    return Group(Text(title, style="italic"), *map(Text, (line(progress), *more, *later)), *notes, table(progress))


def _state(progress: Progress) -> str:
    if progress.is_up_to_provider:
        left = "how long it still takes is up to the provider"
        return f"Running: {progress.ended:,} of {progress.wanted:,} cells have ended; {left}."
    left = "how long it still takes is not known yet" if progress.left_s is None else f"about {duration(progress.left_s)} left"
    return f"Running: {progress.ended:,} of {progress.wanted:,} cells have ended, {left}."
