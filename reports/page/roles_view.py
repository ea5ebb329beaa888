"""Data of the section on roles: both kinds of evidence per role, the recommendation, and the worst invented figures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from reports.format import known, percent_text, seconds_text, unknown, usd_text
from reports.grounding import of_run as grounding_of_run
from reports.grounding.origins import GROUNDED, INVENTED
from reports.page import html
from reports.roles import hybrid, judges, likeness, replays, swaps
from reports.stats.estimate import Estimate
from reports.verdict import UNDECIDED

if TYPE_CHECKING:
    from reports.load import Run
    from reports.money.breakdown import Total
    from reports.roles.hybrid import Hybrid
    from reports.roles.judges import JudgedReplay
    from reports.roles.likeness import Likeness
    from reports.roles.replays import ReplayResult, RoleComparison
    from reports.run_roles import RunRoles

WORST = 8
"""Invented figures listed per arm."""
_WORDS = {"move": "may move", "keep": "keep", "open": UNDECIDED}
_MINUS = "\u2212"
_WRITERS: dict[str, Callable[[float], str]] = {
    "usd": usd_text,
    "s": seconds_text,
    "share": percent_text,
    "words": lambda count: f"{count:,.0f}",
}
_NOTHING = {"usd": 0.0, "s": 0.0005, "share": 0.0005, "words": 0.5}
"""Changes below this are shown as zero, without a sign."""
_TONES = {"move": "good", "keep": "bad", "open": "idle"}


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
    def pill(verdict: str) -> Markup:
        return Markup('<span class="pill {}">{}</span>').format(_TONES[verdict], _WORDS[verdict])

    @staticmethod
    def money(total: Total) -> Markup:
        """A sum with the number of unknown prices."""
        if total.value is None:
            return unknown("no price is known for these requests")
        rest = f", and {total.missing:,} of {total.of:,} requests without a known price" if total.missing else ""
        return Markup("{}{}").format(usd_text(total.value), rest)

    @classmethod
    def stance(cls, role: RoleComparison | None) -> Markup:
        """How often a role takes the same stance, if it takes one."""
        if role is not None and role.aspect("valid") is None:
            return unknown("this role argues and takes no stance", "no stance")
        return cls.figure(role.alike if role else None, "share")

    @staticmethod
    def figure(measured: Estimate | None, unit: str, *, signed: bool = False) -> Markup:
        """A figure with its interval; signed for a change. Intervals of shares are limited to 0 to 100 %."""
        if measured is None or not known(measured.value):
            return unknown("no pair of cells has a known value", "not measured")
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
