"""Data of the first screen: the two sentences, the table, the chart of cost and likeness, what to know and what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from markupsafe import Markup

from domain.ratings import SCORES
from reports import grid
from reports.answer import caveats, lineups, sentences, table
from reports.answer.sentences import Sentence
from reports.answer.table import PER, ArmLine, Figure
from reports.format import known, seconds_text, unknown
from reports.page import scatter
from reports.page.svg import short
from reports.verdict import MARGINS

if TYPE_CHECKING:
    from reports.answer.findings import Findings, MetricRow
    from reports.load import Run
    from reports.roles.hybrid import Hybrid
    from reports.roles.likeness import Likeness

MOST_APART = 3
"""Cases to open from the first screen."""
FOREST = (120, 16)
"""Width and height of the small drawing of a gap."""
REACH = 0.15
"""The drawing shows at least gaps of 15 points."""


@dataclass(frozen=True)
class ApartCase:
    """A case on which the arms differ."""

    case_id: str
    label: str
    words: str
    """Answers of the two arms that are furthest apart."""


@dataclass(frozen=True)
class Chart:
    """Cost, or time, against likeness."""

    what: str
    drawing: Markup
    """Empty if no arm can be drawn."""
    left_out: tuple[tuple[str, tuple[str, ...]], ...]
    """(reason, arms) that could not be drawn."""
    caption: str = ""
    """Explains the marks that are drawn, and no others."""


class AnswerView:
    """The findings, for the templates."""

    def __init__(self, run: Run, findings: Findings, slots: Mapping[str, int]) -> None:
        self.run, self.findings, self._slots = run, findings, slots

    @cached_property
    def columns(self) -> tuple[table.Column, ...]:
        return table.columns(self.findings.baseline)

    @cached_property
    def lines(self) -> tuple[ArmLine, ...]:
        return table.lines(self.run, self.findings)

    @cached_property
    def decisions(self) -> Markup | None:
        """The sentence on decisions; None for an unfinished run."""
        return None if self.findings.is_interim else _marked(sentences.decisions(self.findings))

    @cached_property
    def returns(self) -> Markup | None:
        is_compared = len(self.findings.arms) > 1 and not self.findings.is_interim
        return _marked(sentences.returns(self.findings)) if is_compared else None

    def takeaways(self, likenesses: Sequence[Likeness]) -> tuple[sentences.Takeaway, ...]:
        return sentences.takeaways(self.run, self.findings, [one.text for one in likenesses])

    def advice(self, hybrids: Sequence[Hybrid]) -> lineups.Advice:
        return lineups.Advice(self.run, self.findings, hybrids)

    @cached_property
    def caveats(self) -> tuple[caveats.Caveat, ...]:
        return caveats.caveats(self.run, self.findings)

    @cached_property
    def pipeline(self) -> str:
        """Whose pipeline was measured."""
        declared = self.run.experiment.get("pipeline")
        entry = declared.get("entry") if isinstance(declared, Mapping) else None
        if entry:
            return f"your own pipeline, {entry}"
        if (attached := self._attached) is not None:
            return attached
        roles = self.run.pipeline_calls["role"].nunique()
        words = f"the pipeline of this package, {roles} role{'s' if roles != 1 else ''} in the manner of TradingAgents"
        return words if roles else "rules without a model"

    @property
    def _attached(self) -> str | None:
        """The attached program, and in how many arms it decided; None if the run has none."""
        cells = self.run.cells
        if "program" not in cells or not cells["program"].notna().any():
            return None
        commands = [self.run.experiment, *self.run.experiment.get("arms", {}).values()]
        parts = [part for each in commands if isinstance(part := each.get("pipeline"), Mapping) and part.get("command")]
        if self.run.settings.is_metered:
            return "the programs that the proxy serves"
        words = " ".join(map(str, parts[0]["command"])) if parts else "by its calls"
        of_models = [arm for arm in self.findings.arms if arm not in self.findings.rules]
        attached = set(cells.loc[cells["program"].notna(), "arm"])
        share = "" if attached >= set(of_models) else f", in {len(attached)} of {len(of_models)} arms"
        return f"your own program, {words}{share}"

    @cached_property
    def floor(self) -> float | None:
        """How often the baseline repeats its own rating."""
        base = self.findings.baseline
        value = self.findings.row("same_rating").values[base].value if base else None
        return value if known(value) else None

    @cached_property
    def margins(self) -> dict[str, float]:
        """Metric of "good enough" -> its margin."""
        declared = {row.metric.name: row.margin for row in self.findings.rows}
        return {name: declared.get(name) or default for name, default in MARGINS.items()}

    @cached_property
    def apart(self) -> list[ApartCase]:
        """The cases on which an arm is furthest from the baseline, one per ticker where possible."""
        base = self.findings.baseline
        found = []
        for row in grid.rows(self.run):
            scores = {arm: _score(row.words(arm)) for arm in row.answers if arm not in self.findings.rules}
            mine = scores.pop(base or "", None)
            others = {arm: score for arm, score in scores.items() if score is not None}
            if mine is None or not others:
                continue
            arm = max(others, key=lambda name: abs(others[name] - mine))
            if others[arm] != mine:
                words = f"{base} {_rating(row.words(str(base)))}, {arm} {_rating(row.words(arm))}"
                found.append((abs(others[arm] - mine), row, words))
        found.sort(key=lambda one: -one[0])
        first = list({row.ticker: (row, words) for _, row, words in reversed(found)}.values())[::-1]
        rest = [(row, words) for _, row, words in found if (row, words) not in first]
        chosen = [*first, *rest][:MOST_APART]
        return [ApartCase(row.case_id, f"{row.ticker} {row.date.isoformat()}", words) for row, words in chosen]

    @staticmethod
    def cell(figure: Figure) -> Markup:
        """One cell: the figure in bold, its note under it, or why it is unknown."""
        if not figure.text:
            return unknown(figure.why)
        note = Markup("<small>{}</small>").format(figure.note) if figure.note else Markup("")
        basis = Markup('<small class="basis">{}</small>').format(figure.basis) if figure.basis else ""
        title = Markup(' title="{}"').format(figure.why) if figure.why else ""
        return Markup("<b{}>{}</b>{}{}").format(title, figure.text, note, basis)

    @staticmethod
    def key(figure: Figure) -> str:
        """What the cell is sorted by."""
        return "" if figure.key is None else f"{figure.key:.6g}"

    @cached_property
    def _reach(self) -> float:
        ends = [abs(end) for line in self.lines if line.gap and line.kind != "rule" for end in line.gap]
        return min(max(ends, default=REACH) * 1.08, 1.0) if max(ends, default=0) > REACH else REACH

    def forest(self, line: ArmLine) -> Markup:
        """The gap to the noise floor, with the interval of the verdict; the band is the margin. Empty if there are no gaps."""
        if not any(other.gap for other in self.lines) or (line.gap is None and line.kind != "baseline"):
            return Markup("")
        width, height = FOREST
        x_of = _scaled(self._reach, width)
        margin = min(self.margins["same_rating"], self._reach)
        parts = [
            Markup('<rect class="band" x="{}" width="{}" height="{}"/>').format(
                short(x_of(-margin)), short(x_of(margin) - x_of(-margin)), height
            ),
            Markup('<line class="zero" x1="{0}" x2="{0}" y1="0" y2="{1}"/>').format(short(x_of(0)), height),
        ]
        if line.gap is not None:
            value, low, high = (x_of(end) for end in line.gap)
            slot = self._slots.get(line.arm, 0) % 8
            drawn = Markup('<line class="whisker" x1="{}" x2="{}" y1="8" y2="8"/><circle cx="{}" cy="8" r="3.5"/>')
            parts.append(Markup('<g class="a{}">{}</g>').format(slot, drawn.format(short(low), short(high), short(value))))
        return Markup('<svg class="forest" viewBox="0 0 {} {}" aria-hidden="true">{}</svg>').format(
            width, height, Markup("").join(parts)
        )

    @cached_property
    def chart(self) -> Chart:
        by_cost = self._chart("cost", "cost", scatter.Axis(f"cost per {PER:,} decisions", scatter.usd_tick), PER)
        if by_cost.drawing:
            return by_cost
        by_time = self._chart("time", "service_p50", scatter.Axis("median time of a decision", seconds_text), 1)
        return by_time if by_time.drawing else by_cost

    def _chart(self, what: str, metric: str, axis: scatter.Axis, factor: float) -> Chart:
        values = self.findings.row(metric).values
        reasons: dict[str, list[str]] = {}
        points = []
        for line in self.lines:
            value = values[line.arm].value
            why = self._why_not(line, what, value)
            if why:
                reasons.setdefault(why, []).append(line.arm)
            else:
                points.append(self._point(line, value * factor, axis))
        left_out = tuple((why, tuple(arms)) for why, arms in reasons.items())
        if all(point.label == self.findings.baseline for point in points):
            return Chart(what, Markup(""), left_out)
        margin = self.margins["same_rating"] if self.floor is not None else None
        label = "; ".join(point.title for point in points)
        return Chart(what, scatter.scatter(points, axis, self.floor, margin, label), left_out, scatter.caption(points, margin))

    def _why_not(self, line: ArmLine, what: str, value: float) -> str:
        if line.kind == "rule":
            return "not drawn: a rule without a model"
        if not self.findings.counts[line.arm].ended:
            return "not drawn, since it decided no case"
        if not known(value):
            return f"not drawn, since the {what} is unknown"
        if value <= 0:
            return f"not drawn, since the {what} is zero and the scale is logarithmic"
        if line.same.key is None:
            return "not drawn, since the same rating was not measured"
        return ""

    def _point(self, line: ArmLine, x: float, axis: scatter.Axis) -> scatter.ScatterPoint:
        floor = self.floor
        low, high = (None, None) if line.gap is None or floor is None else (floor + line.gap[1], floor + line.gap[2])
        cost = axis.tick(x) if "time" in axis.title else table.usd(x)
        cases = self._row.comparisons[line.arm].estimate.cases if line.arm in self._row.comparisons else 0
        behind = f", {cases:,} cases" if line.gap else ""
        gap = f", gap {line.same.note} points{behind}" if line.gap else ""
        title = f"{line.arm}: {cost}, same rating {line.same.text}{gap}. {line.word.text}" + (
            f": {line.word.note}" if line.word.note else ""
        )
        return scatter.ScatterPoint(line.arm, self._slots.get(line.arm, 0), x, line.same.key or 0.0, low, high, title)

    @property
    def _row(self) -> MetricRow:
        return self.findings.row("same_rating")

    @staticmethod
    def notes(row: MetricRow) -> list[tuple[str, list[str]]]:
        """(note, arms with it), without notes that the verdict already contains."""
        arms_by_note: dict[str, list[str]] = {}
        for comparison in row.comparisons.values():
            if comparison.note and not (comparison.verdict and comparison.verdict.reason == comparison.note):
                arms_by_note.setdefault(comparison.note, []).append(comparison.arm)
        return list(arms_by_note.items())


def _marked(sentence: Sentence) -> Markup:
    parts = [Markup("<b>{}</b>").format(text) if strong else Markup("{}").format(text) for text, strong in sentence.parts]
    return Markup("").join(parts)


def _score(words: Sequence[str]) -> float | None:
    """Mean score of an arm's usable answers to a case."""
    scores = [SCORES[word] for word in words if word in SCORES]
    return sum(scores) / len(scores) if scores else None


def _rating(words: Sequence[str]) -> str:
    """The most frequent usable answer."""
    return Counter(word for word in words if word in SCORES).most_common(1)[0][0]


def _scaled(reach: float, width: int) -> Callable[[float], float]:
    pad = 5
    return lambda value: pad + (min(max(value, -reach), reach) + reach) / (2 * reach) * (width - 2 * pad)
