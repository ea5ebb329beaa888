"""What a run found: every endpoint per arm with its interval, each arm against the baseline, and the verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reports import endpoints, placebos, similarity
from reports.answer import best, caveats, changes, judge, takeaways, wording
from reports.answer.best import BestOfMany
from reports.answer.found import Comparison, Findings, Row
from reports.answer.headline import Headline
from reports.estimate import Estimate, unknown
from reports.facts import Facts
from reports.measure import Measured, Test
from reports.registry import Metric
from reports.trust import cutoffs
from reports.verdict import Verdict

if TYPE_CHECKING:
    from reports.load import Run


def find(run: Run, facts: Facts | None = None) -> Findings:
    """All numbers of a run; verdicts and takeaways only when it is finished. Raises ValueError on an unknown endpoint."""
    found = _Finder(run, facts or Facts(run)).findings()
    if found.is_interim:
        return replace(found, caveats=caveats.caveats(found, run))
    return replace(
        found,
        takeaways=takeaways.takeaways(found),
        changes=changes.changes(found),
        caveats=caveats.caveats(found, run),
    )


class _Finder:
    """The way from a run to its findings."""

    def __init__(self, run: Run, facts: Facts) -> None:
        self.run, self.facts = run, facts
        self.metrics = endpoints.every(run.horizons)
        self.headline = Headline(self.facts)
        self._tests: dict[str, dict[str, Test | None]] = {}
        self._check_declared()

    def findings(self) -> Findings:
        rows = tuple(self._row(metric) for metric in self.metrics)
        return Findings(
            run_id=self.run.run_id,
            baseline=self.facts.baseline,
            arms=self.facts.arms,
            rules=self.facts.rules,
            is_interim=self.run.is_interim,
            cases=len(self.facts.dates),
            dates=self.facts.dates.nunique(),
            rows=rows if self.run.is_interim else self._judged(rows),
            similarities=similarity.similarities(self.facts),
            cutoffs=self.headline.cutoffs,
            strata={arm: Counter(strata) for arm, strata in self.headline.strata.items()},
            best=self._best(),
            placebos=tuple(
                one for horizon in self.run.horizons for one in placebos.placebos(self.facts, self.headline, horizon)
            ),
        )

    def _best(self) -> BestOfMany | None:
        """By the middle horizon; an unfinished run has no best."""
        horizons = sorted(self.run.horizons)
        return None if self.run.is_interim else best.best_of_many(self.facts, self.headline, horizons[len(horizons) // 2])

    def _check_declared(self) -> None:
        known = [metric.name for metric in self.metrics if metric.better]
        for name in self.run.declared.margins:
            if name not in known:
                raise ValueError(f"unknown endpoint {name!r} in compare.endpoints; known: {', '.join(known)}")

    def _row(self, metric: Metric) -> Row:
        measured = Measured(self.facts, metric)
        others = [arm for arm in self.facts.arms if arm != self.facts.baseline]
        tests = {arm: self._test(measured, arm) for arm in others if self.facts.baseline}
        self._tests[metric.name] = tests
        return Row(
            metric=metric,
            is_declared=metric.name in self.run.declared.margins,
            margin=self.run.declared.margins.get(metric.name),
            values={arm: measured.value(arm, self._cases(metric, arm)) for arm in self.facts.arms},
            comparisons={arm: self._comparison(metric, arm, test) for arm, test in tests.items()},
            by_stratum=self._by_stratum(measured) if metric.is_outcome else {},
        )

    def _test(self, measured: Measured, arm: str) -> Test | None:
        baseline = str(self.facts.baseline)
        return measured.test(arm, baseline, self._cases(measured.metric, arm, baseline))

    def _cases(self, metric: Metric, *arms: str) -> Any:
        """Mask of the cases that the endpoint may use; None is all of them."""
        return None if metric.horizon is None else self.headline.cases(metric.horizon, *arms)

    def _by_stratum(self, measured: Measured) -> dict[str, dict[str, Estimate]]:
        horizon = measured.metric.horizon or 0
        return {
            arm: {
                stratum: measured.value(arm, self.headline.of_stratum(horizon, arm, stratum))
                for stratum in cutoffs.STRATA
                if (strata == stratum).any()
            }
            for arm, strata in self.headline.strata.items()
        }

    def _comparison(self, metric: Metric, arm: str, test: Test | None) -> Comparison:
        baseline = str(self.facts.baseline)
        if test is None:
            return Comparison(arm, baseline, metric.scale, unknown(), None, note=self._reason(metric, arm))
        note = self._windows(metric, test) if metric.is_outcome else ""
        return Comparison(arm, baseline, test.scale, test.estimate, None, note=note)

    def _windows(self, metric: Metric, test: Test) -> str:
        return (
            f"{test.estimate.dates} non-overlapping windows of {metric.horizon} sessions, "
            f"from {self.facts.dates.nunique()} dates; {test.estimate.cases} of {len(self.facts.dates)} cases"
        )

    def _reason(self, metric: Metric, arm: str) -> str:
        """Why there is nothing to compare."""
        baseline = str(self.facts.baseline)
        if not len(self.facts.dates):
            return "no whole case has ended yet"
        if metric.is_outcome:
            return self.headline.why_none(metric.horizon or 0, arm, baseline)
        if metric.group == "similarity" and not _has_repeats(self.facts, baseline):
            return f"{baseline} has no repeats, so how often it agrees with itself is not known"
        if metric.group == "money":
            return "the cost is unknown in one of the two"
        return "no case has a known value in both"

    def _judged(self, rows: tuple[Row, ...]) -> tuple[Row, ...]:
        """The rows with their verdicts, arm by arm."""
        given = {arm: self._verdicts(rows, arm) for arm in self.facts.arms if arm != self.facts.baseline}
        return tuple(_with_verdicts(row, given) if row.is_declared else row for row in rows)

    def _verdicts(self, rows: tuple[Row, ...], arm: str) -> dict[str, Verdict]:
        declared = [row for row in rows if row.is_declared and arm in row.comparisons]
        questions = {
            row.metric.name: judge.Question(
                row.metric, row.margin, self._tests[row.metric.name][arm], row.comparisons[arm].note
            )
            for row in declared
        }
        return judge.verdicts(questions, self._usd_per_case(arm))

    def _usd_per_case(self, arm: str) -> float | None:
        """What a further case costs this arm and the baseline together."""
        cells = self.facts.cells[self.facts.cells["arm"].isin([arm, self.facts.baseline])]
        if cells["cost_usd"].isna().any() or not len(cells):
            return None
        return float(cells["cost_usd"].sum() / cells["case_id"].nunique())


def _with_verdicts(row: Row, given: Mapping[str, Mapping[str, Verdict]]) -> Row:
    compared = {
        arm: _with_verdict(row.metric, comparison, given[arm].get(row.metric.name))
        for arm, comparison in row.comparisons.items()
    }
    return replace(row, comparisons=compared)


def _with_verdict(metric: Metric, comparison: Comparison, given: Verdict | None) -> Comparison:
    if given is None:
        return comparison
    return replace(comparison, verdict=given, words=wording.verdict(metric, comparison.scale, given))


def _has_repeats(facts: Facts, arm: str) -> bool:
    return bool((facts.counts(arm).sum(axis=1) > 1).any())
