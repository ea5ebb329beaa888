"""How progress is shown: a live table on a terminal, a plain line now and then elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.runs import answered_later
from harness.runs.progress import ArmProgress, Progress
from harness.terminal import FigureRows

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
"""The others are shown only if they are not all 0, so that the table fits 80 columns."""


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
        self._show_on_web(progress, "finishing" if now else "running")
        if self._live is not None:
            self._live.update(_page(self._title, progress), refresh=now)
            return
        for note in progress.notes:
            if note not in self._noted:
                self._noted.add(note)
                self.say(note)
        if now or time.monotonic() - self._printed_at >= PLAIN_EVERY_S:
            self._print_new("\n".join([line(progress), *answered_later.lines(progress.deferred)]))

    def say(self, sentence: str) -> None:
        """Print a line that stays."""
        self._console.print(sentence, markup=False, highlight=False, soft_wrap=True)
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

    def _show_on_web(self, progress: Progress, state: str) -> None:
        if self._web_page:
            arms = table(progress)
            line_without_arms, share = line(progress).rpartition(" | ")[0], progress.ended / max(progress.wanted, 1)
            self._web_page.show(
                state=state,
                headings=list(arms.headings),
                rows={name: list(figures) for name, figures in arms.rows.items()},
                line=line_without_arms,
                share=share,
                notes=list(progress.notes),
            )

    def summary(self, receipts: Sequence[Row], run_id: str, cells_by_arm: Mapping[str, int] | None = None) -> None:
        """The ended cells per arm, of how many, and what they cost. `cells_by_arm`: default: as many as ended."""
        wanted = Counter(str(receipt["arm"]) for receipt in receipts)
        progress = Progress.of({**wanted, **(cells_by_arm or {})}, receipts, run_id)
        progress.see_receipts()
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
    parts = [
        f"{progress.ended}/{progress.wanted} cells",
        f"{progress.running} running",
        f"{progress.failed} failed",
        f"{progress.calls} calls",
        f"{sum(progress.tokens):,} tokens",
        f"API cost {api_cost(progress)}",
        f"left {duration(progress.left_s)}",
    ]
    arms = ", ".join(f"{name} {arm.ended}/{arm.wanted}" for name, arm in progress.arms.items())
    return " | ".join(parts) + f" | {arms}"


def table(progress: Progress, title: str = "") -> FigureRows:
    """Progress per arm."""
    columns = {name: _cells(arm) for name, arm in progress.arms.items()}
    headings = [heading for heading in _HEADINGS if heading in _ALWAYS or any(row[heading] != "0" for row in columns.values())]
    return FigureRows(title, "arm", headings, {name: [row[heading] for heading in headings] for name, row in columns.items()})


def api_cost(progress: Progress) -> str:
    """What this run paid to hosted models, and what it reused of earlier runs."""
    reused_usd = progress.reused_api_usd
    return money(progress.spent_usd) + ("" if reused_usd == 0 else f" (+ {money(reused_usd)} reused)")


def money(usd: float | None) -> str:
    return "not known" if usd is None else f"${usd:,.4f}"


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}h {minutes:02d}m" if hours else f"{minutes}m {rest:02d}s" if minutes else f"{rest}s"


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


def _page(title: str, progress: Progress) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    later = [Text(sentence) for sentence in answered_later.lines(progress.deferred)]
    notes = [Text(note, style="yellow", overflow="ellipsis", no_wrap=True) for note in progress.notes]
    return Group(table(progress, title), Text(line(progress).rpartition(" | ")[0]), *later, *notes)
