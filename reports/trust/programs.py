"""Attached programs: did all arms of a case read the same data, and what do the programs themselves decide?"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from domain import scales
from domain.ratings import ACTIONS

if TYPE_CHECKING:
    from reports.load import Run

_QUOTED_CHARS = 60
"""A prompt that contains the start of an earlier answer depends on a model, and is no input."""
_SHORTEST_QUOTE = 12


@dataclass(frozen=True)
class Difference:
    """Something that two arms of a case read differently."""

    case_id: str
    what: str
    """First prompt of a role, or a tool with its arguments."""
    arms: tuple[str, ...]
    """Arms by what they read: those of one group are joined by a comma."""

    @property
    def sentence(self) -> str:
        return f"{self.case_id}: {self.what} was not the same for {' and '.join(self.arms)}"


@dataclass(frozen=True)
class ProgramArm:
    """One arm of attached programs."""

    name: str
    cells: int
    calls: int
    named: int
    failed: int
    """Cases that cannot count: no call, a lost answer, an error of the program."""
    cut: int
    """Cases with a cut answer."""
    sources: Mapping[str, int]
    """Where decisions were read -> how many."""
    contradicted: int
    """Decisions that the program itself states as another rating."""
    not_sent: Mapping[str, int]
    """Parameter that the program asked for -> calls in which it was not sent."""


@dataclass(frozen=True)
class KeptFile:
    """A file that a program wrote in one case."""

    case: str
    """Case, arm and repeat, for people."""
    name: str
    href: str
    """Its address from the run folder."""


@dataclass(frozen=True)
class RunPrograms:
    """The attached programs of a run."""

    arms: tuple[ProgramArm, ...]
    compared_cases: int
    """Cases that at least two arms met."""
    differences: tuple[Difference, ...]
    failures: tuple[str, ...]
    foreign_roles: tuple[str, ...] = ()
    """Roles that are not named like a built-in one: no replay asks them again."""
    files: tuple[KeptFile, ...] = ()
    unmatched: tuple[str, ...] = ()
    """Sentences on patterns of `pipeline.keep` that matched no file."""

    @property
    def sentence(self) -> str:
        """How many cases had equal inputs."""
        differing = len({difference.case_id for difference in self.differences})
        if not self.compared_cases:
            return "No case was met by two arms: equal inputs were not measured."
        same = self.compared_cases - differing
        return f"{same} of {self.compared_cases} cases: all arms read the same data."


def of_run(run: Run) -> RunPrograms | None:
    """What the run recorded of attached programs; None if it has none."""
    cells = run.cells
    if "program" not in cells or not cells["program"].notna().any():
        return None
    rows = [row for row in cells.to_dict("records") if isinstance(row["program"], str)]
    columns = ["cell_id", "arm", "role", "response", "message_ids", "program", "not_sent", "started_at"]
    calls = run.table("calls", columns).sort_values("started_at").to_dict("records")
    texts = dict(zip(run.messages["message_id"], run.messages["text"], strict=True)) if len(run.messages) else {}
    by_cell: dict[str, list[Mapping[Any, Any]]] = defaultdict(list)
    for call in calls:
        by_cell[call["cell_id"]].append(call)
    inputs = {row["cell_id"]: dict(_inputs(by_cell[row["cell_id"]], texts)) for row in rows}
    met = defaultdict(set)
    for row in rows:
        if inputs[row["cell_id"]]:
            met[row["case_id"]].add(row["arm"])
    return RunPrograms(
        arms=tuple(
            _arm(name, [row for row in rows if row["arm"] == name], by_cell)
            for name in dict.fromkeys(row["arm"] for row in rows)
        ),
        compared_cases=sum(len(arms) > 1 for arms in met.values()),
        differences=tuple(_differences(rows, inputs)),
        foreign_roles=_foreign_roles(run, [call for row in rows for call in by_cell[row["cell_id"]]]),
        files=tuple(_files(rows)),
        unmatched=tuple(_unmatched(rows)),
        failures=tuple(f"{row['case_id']}, {row['arm']}: {row['error']}" for row in rows if row["status"] == "failed"),
    )


def _files(rows: Sequence[Mapping[Any, Any]]) -> Iterator[KeptFile]:
    """Links to kept files. A name comes from a program: only one that stays in its folder is linked."""
    for row in rows:
        case = f"{row['case_id']}, {row['arm']}, repeat {row['repeat']}"
        for name in _json(row["program"]).get("files", {}).get("kept", ()):
            if ".." not in str(name).split("/"):
                yield KeptFile(case, str(name), quote(f"files/{row['cell_id']}/{name}"))


def _unmatched(rows: Sequence[Mapping[Any, Any]]) -> Iterator[str]:
    """Patterns of files to keep that matched nothing, with what the program wrote instead."""
    looked = [files for row in rows if row["status"] == "ok" and (files := _json(row["program"]).get("files"))]
    for pattern in dict.fromkeys(pattern for files in looked for pattern in files.get("unmatched", ())):
        missed = [files for files in looked if pattern in files.get("unmatched", ())]
        others = list(dict.fromkeys(name for files in missed for name in files.get("others", ())))[:5]
        wrote = f"; it wrote {', '.join(others)}" if others else ""
        yield f"No file matched pipeline.keep {pattern} in {len(missed)} of {len(looked)} cases{wrote}."


def _foreign_roles(run: Run, calls: Sequence[Mapping[Any, Any]]) -> tuple[str, ...]:
    known = {role.name for role in run.roles.roles}
    return tuple(sorted({str(call["role"]) for call in calls} - known))


def _inputs(calls: Sequence[Mapping[Any, Any]], texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What a cell read -> its hash: first prompts that quote no earlier answer, and the result of each tool call."""
    answers: list[str] = []
    asked: set[str] = set()
    for call in calls:
        program = _json(call["program"])
        if not program:
            continue
        for result in program.get("results", ()):
            yield f"{result['tool']}({result['arguments']})", result["content"]
        prompt = "\n".join(str(texts.get(each) or "") for each in _listed(call["message_ids"]))
        if call["role"] not in asked and "results" not in program and not any(quote in prompt for quote in answers):
            yield f"the first prompt of {call['role']}", program.get("prompt", "")
        asked.add(call["role"])
        quote = str(call["response"] or "").strip()[:_QUOTED_CHARS]
        if len(quote) >= _SHORTEST_QUOTE:
            answers.append(quote)


def _differences(rows: Sequence[Mapping[Any, Any]], inputs: Mapping[str, Mapping[str, str]]) -> Iterator[Difference]:
    read: dict[tuple[str, str], dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        for what, content in inputs[row["cell_id"]].items():
            read[row["case_id"], what][content].append(row["arm"])
    for (case_id, what), by_content in read.items():
        if len(by_content) > 1 and len({arm for arms in by_content.values() for arm in arms}) > 1:
            yield Difference(case_id, what, tuple(", ".join(dict.fromkeys(arms)) for arms in by_content.values()))


def _arm(name: str, rows: Sequence[Mapping[Any, Any]], by_cell: Mapping[str, Sequence[Mapping[Any, Any]]]) -> ProgramArm:
    described = [_json(row["program"]) for row in rows]
    sources: dict[str, int] = defaultdict(int)
    not_sent: dict[str, int] = defaultdict(int)
    for row, program in zip(rows, described, strict=True):
        if isinstance(row["rating"], str):
            sources[str(program.get("source"))] += 1
        for call in by_cell.get(row["cell_id"], ()):
            for parameter in _json(call["not_sent"]):
                not_sent[parameter] += 1
    return ProgramArm(
        name=name,
        cells=len(rows),
        calls=sum(int(program.get("calls", 0)) for program in described),
        named=sum(int(program.get("named", 0)) for program in described),
        failed=sum(row["status"] == "failed" for row in rows),
        cut=sum(bool(program.get("cut")) for program in described),
        sources=dict(sources),
        contradicted=sum(_contradicts(row, program) for row, program in zip(rows, described, strict=True)),
        not_sent=dict(not_sent),
    )


def _contradicts(row: Mapping[Any, Any], program: Mapping[str, Any]) -> bool:
    """Whether the program's own word leads to another action than the decision that its calls prove."""
    stated = scales.rating_of(program.get("word"))
    return bool(stated and isinstance(row["rating"], str) and ACTIONS[stated] != ACTIONS[row["rating"]])


def _json(text: Any) -> dict[str, Any]:
    return dict(json.loads(text)) if isinstance(text, str) else {}


def _listed(values: Any) -> list[str]:
    return [] if values is None else [str(value) for value in values]
