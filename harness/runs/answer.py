"""The answer of a run on the terminal: two sentences and one table, as on the first screen of the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from harness.terminal import FigureRows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from harness.storage.folder import Folder
    from reports.answer.gates import Gate
    from reports.page.page import Page

FILE = "answer.json"
GATES = "gates.json"


@dataclass(frozen=True)
class AnswerText:
    """Plain text, kept in the run folder: computing it takes seconds."""

    sentences: Sequence[str]
    """On decisions, then on returns; none for an unfinished run."""
    headings: Sequence[str]
    rows: Mapping[str, Sequence[str]]
    """arm -> figures."""

    @classmethod
    def of(cls, page: Page) -> AnswerText | None:
        """None if the page has nothing to compare yet."""
        from reports.answer import sentences, table

        findings = page.findings
        if findings is None:
            return None
        head, *rows = table.text_rows(table.lines(page.run, findings))
        said = [] if findings.is_interim else [f"Decisions: {sentences.decisions(findings).text}"]
        if said and len(findings.arms) > 1:
            said.append(f"Returns: {sentences.returns(findings).text}")
        return cls(said, head[1:], {arm: figures for arm, *figures in rows})

    @classmethod
    def read(cls, folder: Folder) -> AnswerText | None:
        raw = folder.read_if_there(FILE)
        return cls(**json.loads(raw)) if raw else None

    def write(self, folder: Folder) -> None:
        folder.write(FILE, json.dumps(asdict(self), indent=2).encode())

    def table(self) -> FigureRows:
        return FigureRows("", "arm", self.headings, self.rows)


def keep_gates(folder: Folder, gates: Iterable[Gate]) -> None:
    """Keep the checked gates in the run folder, for `--json`."""
    plain = [
        {
            "name": gate.name,
            "arm": gate.arm,
            "limit": gate.limit,
            "value": gate.value,
            "passed": gate.is_passed,
            "text": str(gate),
        }
        for gate in gates
    ]
    folder.write(GATES, json.dumps(plain, indent=2).encode())


def kept(folder: Folder, file: str) -> Any:
    """A JSON file of the run folder; None if it is not there."""
    raw = folder.read_if_there(file)
    return json.loads(raw) if raw else None
