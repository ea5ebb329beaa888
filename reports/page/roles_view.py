"""Data of the section on roles: both kinds of evidence per role, the recommendation, and the worst invented figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.answer import table
from reports.format import known, percent_text, seconds_text, unknown, usd_text
from reports.grounding import of_run as grounding_of_run
from reports.grounding.origins import GROUNDED, INVENTED
from reports.page import html
from reports.roles import hybrid, judges, likeness, replays, swaps
from reports.stats.estimate import Estimate

if TYPE_CHECKING:
    from reports.load import Run
    from reports.money.breakdown import Total
    from reports.roles.hybrid import Hybrid, RoleAdvice
    from reports.roles.judges import JudgedReplay
    from reports.roles.likeness import Likeness
    from reports.roles.replays import ReplayResult
    from reports.run_roles import RunRoles

WORST = 8
"""Invented figures listed per arm."""
_WORDS = {"move": "Move", "keep": "Keep", "open": "Undecided", "unmeasured": "Not measured"}
_MINUS = "\u2212"
_WRITERS: dict[str, Callable[[float], str]] = {
    "usd": usd_text,
    "s": seconds_text,
    "share": percent_text,
    "words": lambda count: f"{count:,.0f}",
}
_NOTHING = {"usd": 0.0, "s": 0.0005, "share": 0.0005, "words": 0.5}
"""Changes below this are shown as zero, without a sign."""
_TONES = {"move": "good", "keep": "bad", "open": "open", "unmeasured": "open"}
SHADES = 5
"""Depths of colour of a loss or a gain."""


@dataclass(frozen=True)
class Invention:
    """One figure that is not in the inputs."""

    case_id: str
    place: str
    figure: str
    label: str
    source: str
    reaches: bool
    sentence: str


@dataclass(frozen=True)
class ArmGrounding:
    """One arm's figures, counted."""

    arm: str
    slot: int
    cells: int
    counts: dict[str, int]
    """Label -> figures."""
    by_role: tuple[tuple[str, float, int], ...]
    """(role, share of grounded figures, figures)."""
    worst: tuple[Invention, ...]

    @property
    def figures(self) -> int:
        return sum(self.counts.values())

    def share(self, label: str) -> float | None:
        return self.counts.get(label, 0) / self.figures if self.figures else None


@dataclass(frozen=True)
class HeatCell:
    """One figure of the heat map."""

    shade: str
    """CSS class: loss1 to loss5, gain1 to gain5, or na."""
    text: str
    note: str = ""
    title: str = ""


@dataclass(frozen=True)
class HeatRow:
    """One role, in the order of the flow."""

    role: str
    opens_stage: bool
    cells: tuple[HeatCell, ...]
    """Stance (or same rating), grounding, dollars, seconds."""
    word: str
    tone: str
    because: str


class RolesView:
    """Replays, swaps and grounding."""

    def __init__(self, run: Run, slots: dict[str, int]) -> None:
        self.run, self._slots = run, slots

    @cached_property
    def replays(self) -> list[ReplayResult]:
        return replays.replays(self.run)

    @cached_property
    def compared(self) -> list[ReplayResult]:
        """Replays with another model; those with the same model are the noise floor."""
        return [result for result in self.replays if not result.is_floor] or self.replays

    @cached_property
    def likenesses(self) -> list[Likeness]:
        """Whether each model that was asked the same prompts decides as the recorded one did."""
        return likeness.likenesses(self.run)

    @cached_property
    def judged(self) -> list[JudgedReplay]:
        """Replays whose answers judges compared."""
        return judges.judged_replays(self.run)

    @cached_property
    def hybrids(self) -> list[Hybrid]:
        return hybrid.hybrids(self.run, self.replays)

    def heat(self, made: Hybrid) -> list[HeatRow]:
        """One pair of models: what each role loses and saves when it moves."""
        stages = {role.name: role.stage for role in self.run.roles.roles}
        by_role = {advice.role: advice for advice in made.advices}
        rows, last = [], ""
        money = max((abs(_per_1000(advice)) for advice in made.advices if known(_per_1000(advice))), default=1.0) or 1.0
        for role in self.run.roles.in_order(by_role):
            advice, stage = by_role[role], stages.get(role, role)
            rows.append(
                HeatRow(
                    role,
                    bool(last) and stage != last,
                    (
                        _stance_cell(advice, made.margin),
                        _grounding_cell(advice, made.margin),
                        _usd_cell(advice, money),
                        _s_cell(advice),
                    ),
                    _WORDS[advice.verdict],
                    _TONES[advice.verdict],
                    advice.because,
                )
            )
            last = stage
        return rows

    def grounding_heat(self) -> list[tuple[str, list[HeatCell]]]:
        """Role -> share of grounded figures of each arm, in the order of the flow."""
        roles = dict.fromkeys(role for arm in self.grounding for role, _, _ in arm.by_role)
        return [(role, [_share_cell(arm, role) for arm in self.grounding]) for role in self.run.roles.in_order(roles)]

    @cached_property
    def has_swaps(self) -> bool:
        return swaps.swap_design(self.run) is not None

    @cached_property
    def grounding(self) -> list[ArmGrounding]:
        rows = grounding_of_run.figures(self.run)
        cells = self.run.cells.set_index("cell_id")
        rows = rows.assign(arm=rows["cell_id"].map(cells["arm"]), case_id=rows["cell_id"].map(cells["case_id"]))
        by_arm = [(arm, rows[rows["arm"] == arm]) for arm in self.run.arms]
        return [
            _arm_grounding(arm, self._slots.get(arm, 99), group, self.run.roles)
            for arm, group in by_arm
            if (group["label"] != "").any()
        ]

    @cached_property
    def sampled(self) -> int | None:
        """Number of cells that were checked for grounding, if not all."""
        checked = len(grounding_of_run.sampled_cells(self.run))
        models = int((self.run.cells["decision_status"] != "rule").sum())
        return checked if checked < models else None

    @property
    def is_there(self) -> bool:
        return bool(self.replays or self.has_swaps or self.grounding)

    @staticmethod
    def money(total: Total) -> Markup:
        """A sum with the number of unknown prices."""
        if total.value is None:
            return unknown("no price is known for these requests")
        rest = f", and {total.missing:,} of {total.of:,} requests without a known price" if total.missing else ""
        return Markup("{}{}").format(usd_text(total.value), rest)

    @staticmethod
    def figure(measured: Estimate | None, unit: str, *, signed: bool = False) -> Markup:
        """A figure with its interval; signed for a change. Intervals of shares are limited to 0 to 100 %."""
        if measured is None or not known(measured.value):
            return unknown("no pair of answers has a known value", "not measured")
        ends = (measured.low, measured.high) if signed or unit != "share" else (max(measured.low, 0.0), min(measured.high, 1.0))
        return html.with_interval([_text(value, unit, signed) for value in (measured.value, *ends)], measured)


def _text(value: float, unit: str, signed: bool) -> str:
    if not known(value):
        return "unknown"
    if not signed:
        return _WRITERS[unit](value)
    if abs(value) < _NOTHING[unit]:
        return _WRITERS[unit](0.0) if unit != "share" else "0.0 pp"
    size = f"{abs(value) * 100:.1f} pp" if unit == "share" else _WRITERS[unit](abs(value))
    return ("+" if value >= 0 else _MINUS) + size


def _points(value: float) -> str:
    return table.points(value)


def _change_cell(change: Estimate, margin: float, note: str, lacking: str) -> HeatCell:
    """A change of a share: the deeper the red, the larger the loss that its interval allows."""
    if not known(change.value):
        return HeatCell("na", lacking)
    low = change.low if known(change.low) else change.value
    loss = max(0.0, -low)
    shade = f"loss{min(SHADES, math.ceil(loss / margin * 2))}" if loss > 0.0005 and margin else "gain1"
    ends = f" [{_points(change.low)} to {_points(change.high)}]" if known(change.low) and known(change.high) else ""
    return HeatCell(shade, _points(change.value), note, f"{_points(change.value)} points{ends}")


def _stance_cell(advice: RoleAdvice, margin: float) -> HeatCell:
    if advice.effect is not None:
        return _change_cell(advice.effect.by_metric["same_rating"], margin, "", "not measured")
    role = advice.replay
    if role is None or role.aspect("valid") is None:
        return HeatCell("na", "no stance", title="this role argues or reports and takes no stance of its own")
    stance = role.stance
    if stance is None:
        return HeatCell("na", "not measured", title="the source was not asked the same prompts again on at least two dates")
    note = f"{stance.own.value * 100:.0f} / {stance.floor.value * 100:.0f}"
    return _change_cell(stance.apart, margin, note, "not measured")


def _grounding_cell(advice: RoleAdvice, margin: float) -> HeatCell:
    aspect = advice.replay.aspect("grounded") if advice.replay else None
    if aspect is not None and known(aspect.apart.value):
        paired = f"{aspect.target.value * 100:.0f} / {aspect.source.value * 100:.0f}" if not aspect.apart.missing else ""
        return _change_cell(aspect.apart, margin, paired, "not measured")
    effect = advice.effect.by_metric.get("grounding") if advice.effect else None
    return _change_cell(effect, margin, "", "no figures") if effect is not None else HeatCell("na", "no figures")


def _per_1000(advice: RoleAdvice) -> float:
    """Dollars saved per 1,000 decisions when the role moves; NaN if unknown."""
    aspect = advice.replay.aspect("cost_usd") if advice.replay else None
    if advice.effect is not None:
        return -advice.effect.by_metric["cost"].value * table.PER
    return -aspect.apart.value * advice.replay.turns * table.PER if aspect is not None and advice.replay else math.nan


def _usd_cell(advice: RoleAdvice, largest: float) -> HeatCell:
    saved = _per_1000(advice)
    if not known(saved):
        return HeatCell("na", "unknown")
    kind = "gain" if saved >= 0 else "loss"
    text = table.usd(abs(saved)).lstrip("$")
    return HeatCell(f"{kind}{max(1, math.ceil(abs(saved) / largest * SHADES))}", text if saved >= 0 else _MINUS + text)


def _s_cell(advice: RoleAdvice) -> HeatCell:
    aspect = advice.replay.aspect("seconds") if advice.replay else None
    if aspect is None or not known(aspect.apart.value) or advice.replay is None:
        return HeatCell("na", "not measured")
    saved = -aspect.apart.value * advice.replay.turns
    size = f"{abs(saved):.1f}"
    if size == "0.0":
        return HeatCell("gain1", "0.0")
    kind = "gain" if saved > 0 else "loss"
    return HeatCell(f"{kind}{min(SHADES, math.ceil(abs(saved) / 5))}", f"{'+' if saved > 0 else _MINUS}{size}")


def _share_cell(arm: ArmGrounding, role: str) -> HeatCell:
    for name, share, figures in arm.by_role:
        if name == role:
            lost = min(SHADES, math.ceil((1 - share) * 10))
            shade = f"loss{lost}" if lost else "gain1"
            return HeatCell(shade, percent_text(share), "", f"{percent_text(share)} of {figures:,} figures rest on the inputs")
    return HeatCell("na", "none")


def _arm_grounding(arm: str, slot: int, rows: Any, run_roles: RunRoles) -> ArmGrounding:
    figures = rows[rows["label"] != ""]
    roles = figures.assign(role=figures["place"].str.partition("/")[0], is_grounded=figures["label"].isin(GROUNDED))
    by_role = roles.groupby("role")["is_grounded"].agg(["mean", "size"])
    names = run_roles.in_order(by_role.index)
    shares = tuple((role, float(by_role["mean"][role]), int(by_role["size"][role])) for role in names)
    counts = {str(label): int(count) for label, count in figures["label"].value_counts().items()}
    return ArmGrounding(arm, slot, rows["cell_id"].nunique(), counts, shares, tuple(_worst_inventions(figures)))


def _worst_inventions(figures: Any) -> Sequence[Invention]:
    """Distinct invented figures: first those in the decision, then contradicted ones, then the most precise ones."""
    invented = figures[figures["label"].isin(INVENTED - {"inherited"})]
    digits = invented["figure"].str.count(r"\d")
    ranked = invented.assign(is_against=invented["label"] == "contradicted", digits=digits).sort_values(
        ["reaches", "is_against", "digits"], ascending=False, kind="stable"
    )
    first = ranked.drop_duplicates(["case_id", "place", "figure"]).head(WORST)
    names = ("case_id", "place", "figure", "label", "source", "reaches", "sentence")
    return [Invention(**{name: row[name] for name in names}) for row in first.to_dict("records")]
