"""Charts over sessions: closes around a decision, and the value of following each arm."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.page.svg import scale, short, spread, ticks

if TYPE_CHECKING:
    import datetime as dt

    import pandas as pd

    from reports.load import Run

SESSIONS_BEFORE, SESSIONS_AFTER, ENOUGH_SESSIONS = 60, 21, 20


@dataclass(frozen=True)
class Frame:
    """The plotting area of a chart over sessions: x in per cent of its width and y in px, so that text keeps its size."""

    days: Sequence[dt.date]
    low: float
    high: float
    height: int

    def x(self, index: float) -> float:
        return 100 * index / max(len(self.days) - 1, 1)

    def y(self, value: float) -> float:
        return scale(self.low, self.high, self.height, 0)(value)

    def svg(self, back: Iterable[Markup], lines: Iterable[Markup], front: Iterable[Markup], label: str, kind: str) -> Markup:
        """The chart: lines are stretched to the width, what is behind and before them is not."""
        stretched = '<svg viewBox="0 0 100 {0}" width="100%" height="{0}" preserveAspectRatio="none">{1}</svg>'
        inner = Markup(stretched).format(self.height, Markup("").join(lines))
        chart = '<div class="plot days {}"><svg height="{}" role="img" aria-label="{}">{}{}{}</svg></div>'
        return Markup(chart).format(kind, self.height, label, Markup("").join(back), inner, Markup("").join(front))

    def path(self, values: Sequence[float], kind: str, start: int = 0) -> Markup:
        """A line through one value per session, from this session on."""
        return Markup('<path class="{}" d="{}"/>').format(kind, self._drawn(values, start))

    def band(self, low: Sequence[float], high: Sequence[float], kind: str) -> Markup:
        """The area between two lines."""
        back = " ".join(f"L{self._point(i, high[i])}" for i in reversed(range(len(high))))
        return Markup('<path class="{}" d="{} {}Z"/>').format(kind, self._drawn(low, 0), back)

    def rules(self, write: Callable[[float], str]) -> Iterator[Markup]:
        """Horizontal rules with their values, and the months."""
        for value in ticks(self.low, self.high):
            y = short(self.y(value))
            yield Markup(
                '<line class="rule" x2="100%" y1="{0}" y2="{0}"/><text x="-8" y="{1}" text-anchor="end">{2}</text>'
            ).format(y, short(self.y(value) + 4), write(value))
        shown = list(self._months())
        for number, index in enumerate(shown):
            x, words = self.x(index), self._month_label(index, shown[number - 1] if number else None)
            kind = "minor" if number % 2 else ""
            yield self.vertical(x, "rule") + self.text(x, self.height + 18, words, "middle" if index else "start", kind)

    def _month_label(self, index: int, before: int | None) -> str:
        """The day of the first session, then months; with the year where it is another than at the label before."""
        day = self.days[index]
        if before is None:
            return day_label(day)
        year = f" \u2019{day:%y}" if day.year != self.days[before].year else ""
        return f"{day:%b}{year}"

    def _months(self) -> Iterator[int]:
        """The first session, and the first of each month, with room between them."""
        last = 0
        yield 0
        for index in range(1, len(self.days)):
            is_new = (self.days[index].year, self.days[index].month) != (self.days[index - 1].year, self.days[index - 1].month)
            if is_new and self.x(index) - self.x(last) > (8 if last else 12) and self.x(index) < 97:
                last = index
                yield index

    def vertical(self, x: float, kind: str) -> Markup:
        return Markup('<line class="{0}" x1="{1:.2f}%" x2="{1:.2f}%" y2="{2}"/>').format(kind, x, self.height)

    def text(self, x: float, y: float, words: str, anchor: str, kind: str = "") -> Markup:
        return Markup('<text class="{}" x="{:.2f}%" y="{}" text-anchor="{}">{}</text>').format(kind, x, short(y), anchor, words)

    def tips(self, words: Iterable[str]) -> Iterator[Markup]:
        """One invisible strip per session that carries its values."""
        step = 100 / max(len(self.days) - 1, 1)
        strip = '<rect class="tip-strip" x="{:.2f}%" width="{:.2f}%" height="{}" data-tip="{}"/>'
        for index, tip in enumerate(words):
            yield Markup(strip).format(self.x(index) - step / 2, step, self.height, tip)

    def _drawn(self, values: Sequence[float], start: int) -> str:
        return " ".join(f"{'M' if i == start else 'L'}{self._point(i, values[i])}" for i in range(start, len(values)))

    def _point(self, index: int, value: float) -> str:
        return f"{self.x(index):.2f} {short(self.y(value))}"


def day_label(day: dt.date) -> str:
    return f"{day.day} {day:%b}"


def _framed(days: Sequence[dt.date], values: Sequence[float], height: int, above: float = 0.06) -> Frame:
    """A frame with room below and above the values, as a share of their range."""
    low, high = min(values), max(values)
    size = high - low or abs(high) * 0.15 or 0.15
    return Frame(days, low - size * 0.06, high + size * above, height)


def price_chart(run: Run, ticker: str, date: str, shown: Mapping[str, float]) -> Markup:
    """Closes from 60 sessions before the decision to a month after it; `shown` are the closes that the arms saw.

    Empty where fewer than two sessions before the decision are known.
    """
    closes = _closes(run, ticker, date, shown)
    before, after = closes[closes.index <= date].iloc[-SESSIONS_BEFORE:], closes[closes.index > date].iloc[:SESSIONS_AFTER]
    if len(before) < 2:
        return Markup("")
    days = [day.date() for day in (*before.index, *after.index)]
    values = [*before.tolist(), *after.tolist()]
    frame, decided = _framed(days, values, 160), len(before) - 1
    at = frame.x(decided)
    lines = [frame.path(values[: decided + 1], "price"), frame.path(values, "price later", decided)]
    front = [
        frame.vertical(at, "decision"),
        frame.text(at - 1 if at > 75 else at + 1, 10, "decision", "end" if at > 75 else "start", "label strong"),
        *frame.tips(f"{day_label(day)} {day.year}\n{value:,.2f}" for day, value in zip(days, values, strict=True)),
    ]
    label = f"Closes of {ticker} from {days[0]} to {days[-1]}; the last before the decision: {values[decided]:,.2f}"
    return frame.svg(frame.rules(lambda value: f"{value:,.6g}"), lines, front, label, "prices")


def _closes(run: Run, ticker: str, date: str, shown: Mapping[str, float]) -> pd.Series[Any]:
    """The daily table, where it begins early enough; else what the arms saw, and the daily table after it if both agree."""
    import pandas as pd

    later = run.closes.get(ticker, pd.Series(index=pd.DatetimeIndex([]), dtype=float))
    if (later.index <= date).sum() >= ENOUGH_SESSIONS or not shown:
        return later
    seen = pd.Series({pd.Timestamp(day): close for day, close in sorted(shown.items())})
    # Masked prices are rescaled, and splits rescale them too: such lines must not be joined.
    common = later.reindex(seen.index).dropna()
    is_one_scale = len(common) > 0 and abs(common.iloc[-1] / seen[common.index[-1]] - 1) < 0.005
    return pd.concat([seen, later[later.index > seen.index[-1]]]) if is_one_scale else seen


@dataclass(frozen=True)
class ValueLine:
    """The value of one dollar over the sessions."""

    name: str
    kind: str
    """CSS classes of the line and its label."""
    values: Sequence[float]
    is_main: bool = False


Luck = tuple[Sequence[float], Sequence[float]]
"""Lower and upper edge of what random trades end with, per session; both empty if there is none."""


def value_chart(days: Sequence[dt.date], lines: Sequence[ValueLine], luck: Luck) -> Markup:
    """Gains since the first session, with the band of random trades."""
    frame = _framed(days, [1.0, *luck[0], *luck[1], *(value for drawn in lines for value in drawn.values)], 340, above=0.18)
    curves = [frame.band(*luck, "luck")] if len(luck[0]) else []
    curves += [frame.path(drawn.values, f"line {drawn.kind}{' main' if drawn.is_main else ''}") for drawn in lines]
    heights = spread([frame.y(drawn.values[-1]) for drawn in lines], 15)
    over = max(max(heights, default=0.0) - frame.height - 8, 0.0)
    front = [_end_label(drawn, at - over) for drawn, at in zip(lines, heights, strict=True)]
    front += frame.tips(_tip(day, index, lines, luck) for index, day in enumerate(days))
    label = "Gain of one dollar that follows each arm: " + ", ".join(f"{d.name} {gain(d.values[-1])}" for d in lines)
    return frame.svg(frame.rules(_percent_tick), curves, front, label, "equity") + _legend(lines)


def _legend(lines: Sequence[ValueLine]) -> Markup:
    """The lines with their gains, for a phone, which has no room for labels at their ends."""
    entry = '<li class="{}"><svg viewBox="0 0 18 12" aria-hidden="true"><path class="line {}" d="M0 6h18"/></svg>{} {}</li>'
    entries = [Markup(entry).format(drawn.kind, drawn.kind, drawn.name, gain(drawn.values[-1])) for drawn in lines]
    return Markup('<ul class="legend curves">{}</ul>').format(Markup("").join(entries))


def _percent_tick(value: float) -> str:
    words = f"{round((value - 1) * 100, 1):+g} %".replace("-", "−")
    return "0 %" if words in ("+0 %", "−0 %") else words


def _end_label(drawn: ValueLine, y: float) -> Markup:
    name = drawn.name if len(drawn.name) <= 16 else drawn.name[:15] + "…"
    label = '<text class="label {}" x="100%" dx="8" y="{}">{} <tspan class="amount">{}</tspan></text>'
    return Markup(label).format(drawn.kind, short(y + 4), name, gain(drawn.values[-1]))


def gain(value: float) -> str:
    """A value of one dollar as a gain in per cent."""
    places = 1 if abs(value - 1) < 0.0995 else 0
    words = f"{(value - 1) * 100:+.{places}f} %".replace("-", "−")
    return words if float(words[1:-2]) else "0 %"


def _tip(day: dt.date, index: int, lines: Sequence[ValueLine], luck: Luck) -> str:
    ranked = sorted(lines, key=lambda drawn: -drawn.values[index])
    words = [f"{day_label(day)} {day.year}", *(f"{drawn.name} {gain(drawn.values[index])}" for drawn in ranked[:12])]
    if len(luck[0]):
        words.append(f"random trades {gain(luck[0][index])} to {gain(luck[1][index])} (95 %)")
    return "\n".join(words)
