"""Fingerprints follow what is sent and how it is read, and nobody changes them by accident.

python -m tests.agents.test_identity        accepts today's fingerprints as fingerprints.json
"""

from __future__ import annotations

import datetime as dt
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import agents
from agents import DEPTHS, FORMS, INPUTS, Model, Pipeline, Snapshot, fingerprint, judge_fingerprint, rule_names
from harness.cells import Cell
from harness.storage import version_0_1_0
from tests.agents import archives
from tests.agents.corpus import climb, texts

PINNED = Path(__file__).with_name("fingerprints.json")
ROOT = Path(__file__).resolve().parents[2]
ADVICE = {
    "role": "This role is told something else: cells that use it become new cells and are paid for again.",
    "form": "This form asks for something else: cells that use it become new cells and are paid for again.",
    "pipeline": "The requests of this pipeline changed: its cells become new cells and are paid for again.",
    "rule": "The rule decides differently: its cells become new cells, which cost nothing.",
    "judge": "Judges are shown something else: judgements become new cells and are paid for again.",
    "reading": (
        "The same answers are read differently: raise PARSER_VERSION in agents/pipeline/identity.py. "
        "Cells become new cells, and their recorded answers are read again without being paid for."
    ),
    "snapshot": (
        "The same data becomes another snapshot: raise `version` of the source that reads it differently, or SNAPSHOT_VERSION "
        "in agents/sources/freezing.py. All cases of these sources are frozen again and paid for again."
    ),
    "source": "A source has another version: its cases are frozen again and paid for again.",
    "cell": (
        "The key of a cell changed although nothing that it sends did, for example by a new setting: leave the setting out of "
        "Cell.cell_key while it has its default, else every cell ever recorded is paid for again."
    ),
}


def today() -> dict[str, str]:
    """Everything that ids rest on, by what it belongs to."""
    variants = [Pipeline(depth=depth, inputs=inputs) for depth in DEPTHS for inputs in INPUTS]
    return {
        **{f"role {path.stem}": _sha(path.read_text()) for path in sorted((ROOT / "agents" / "roles").glob("*.md"))},
        **{f"form {name}": _sha(json.dumps(form.schema())) for name, form in FORMS.items()},
        **{f"pipeline {one.depth} {one.inputs}": fingerprint(one) for one in variants},
        "pipeline shallow prefetch, market alone": fingerprint(Pipeline(analysts=("market",))),
        **{f"rule {name}": fingerprint(Pipeline(rule=name)) for name in rule_names()},
        "judge": judge_fingerprint(),
        "reading of the corpus": _sha(json.dumps([_reading(text) for text in texts()])),
        **{f"snapshot {name}": snapshot.sha256 for name, snapshot in _snapshots()},
        **{f"source {name}": str(_version(name)) for name in (*agents.source_names("prices"), "edgar")},
        "cell key": cell().cell_key,
    }


def cell(**params: Any) -> Cell:
    lineup = {"trader": Model("alias", "openai", "gpt-5", {"reasoning_effort": "low", **params}, "cloud")}
    data = {"prices": "demo", "filings": None, "mask": False, "decision_time": "close"}
    return Cell("experiment", "arm", "AAPL", dt.date(2012, 6, 15), 0, lineup, Pipeline(), data, "print")


def _reading(text: Any) -> list[Any]:
    reading = climb(text)
    return [text.name, reading.status, dict(reading.value or {})]


def _snapshots() -> Iterator[tuple[str, Snapshot]]:
    desk, day = agents.open_sources({"prices": "demo"}), dt.date(2012, 6, 20)
    yield "of demo", agents.freeze_case("AAPL", day, desk)
    yield "of demo, masked", agents.freeze_case("AAPL", day, desk, {"mask": True})
    with tempfile.TemporaryDirectory() as folder:
        archives.write(Path(folder), "prices", archives.bars())
        data = {"prices": "archive", "news": "archive", "filings": "archive", "macro": "archive"}
        yield "of an archive", agents.freeze_case("ABC", dt.date(2025, 6, 16), agents.open_sources(data, folder))


def _version(name: str) -> int:
    desk = agents.open_sources({"prices": name} if name != "edgar" else {"prices": "demo", "filings": "edgar"}, "nowhere")
    return desk["filings" if name == "edgar" else "prices"].version


def _sha(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def test_no_fingerprint_changes_by_accident() -> None:
    pinned, now = json.loads(PINNED.read_text()), today()
    changed = [name for name in {**pinned, **now} if pinned.get(name) != now.get(name)]
    advice = dict.fromkeys(f"{name.split()[0]}: {ADVICE[name.split()[0]]}" for name in changed)
    assert not changed, "\n".join(
        [
            f"changed: {', '.join(changed)}",
            *advice,
            "If that is meant, run `python -m tests.agents.test_identity` to accept it, and tell users in the changelog.",
        ]
    )


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pipeline/prompts.py", '"""Ask a judge which of two answers is better."""', '"""Ask a judge."""'),
        ("pipeline/flow.py", "speakers = roles.of_stage(stage)", "voices = speakers = roles.of_stage(stage)"),
        ("sources/freezing.py", '"""Calendar days of prices', '"""Days of prices'),
    ],
)
def test_another_docstring_or_variable_name_changes_no_fingerprint(tmp_path: Path, file: str, old: str, new: str) -> None:
    assert _printed_by_edited(tmp_path, file, old, new) == _printed_by_edited(tmp_path, file, old, old)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("pipeline/prompts.py", "Nobody has spoken yet.", "No one has spoken yet."),
        ("roles/trader.md", "\n---\n", "\n---\nBe brief. "),
        ("decisions/forms.py", "the decision in one or two sentences", "the decision in one sentence"),
        ("pipeline/identity.py", "PROMPT_VERSION = 1", "PROMPT_VERSION = 2"),
        ("pipeline/identity.py", "PARSER_VERSION = 2", "PARSER_VERSION = 3"),
    ],
)
def test_another_prompt_form_or_version_changes_the_fingerprint_and_is_none_of_0_1_0(
    tmp_path: Path, file: str, old: str, new: str
) -> None:
    before, after = (_printed_by_edited(tmp_path, file, old, text) for text in (old, new))

    assert before["fingerprint"] != after["fingerprint"]
    assert before["of_0_1_0"] is not None
    assert after["of_0_1_0"] is None or not after["is_read_alike"]


def _printed_by_edited(folder: Path, file: str, old: str, new: str) -> dict[str, Any]:
    """What a copy of the package with one edit says of the default pipeline."""
    for package in ("agents", "domain"):
        shutil.rmtree(folder / package, ignore_errors=True)
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    path = folder / "agents" / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    code = (
        "import agents, json; p = agents.Pipeline(); d = agents.open_sources({'prices': 'demo'});"
        "print(json.dumps({'fingerprint': agents.fingerprint(p), 'of_0_1_0': agents.fingerprint_0_1_0(p),"
        "'is_read_alike': agents.is_read_as_0_1_0(), 'judge': agents.judge_fingerprint(), 'recipe': agents.recipe(d)}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=True, env={})
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def test_the_lane_is_in_no_id_of_today_and_in_every_id_of_0_1_0() -> None:
    plain, flex = cell(), cell(lane="flex")

    assert plain.cell_key == flex.cell_key
    old = [[known.cell_key for known in version_0_1_0.recorded(one)] for one in (plain, flex)]
    assert old[0][0] != old[1][0]
    assert set(old[0]) == set(old[1]), "a run in another lane is found too"


def test_a_setting_that_0_1_0_did_not_know_has_no_id_of_0_1_0_unless_it_is_at_its_default() -> None:
    assert next(version_0_1_0.recorded(replace(cell(), data={**cell().data, "vintages": None})), None) is not None
    assert next(version_0_1_0.recorded(replace(cell(), data={**cell().data, "vintages": "alfred"})), None) is None


if __name__ == "__main__":
    PINNED.write_text(json.dumps(today(), indent=2) + "\n")
