"""What a user sees on a terminal: progress redrawn in place, then the answer, whole at 80 columns."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

import pytest
from rich.console import Console

from harness.runs.answer import AnswerText
from harness.runs.display import Display
from harness.terminal import FigureRows, print_check, print_sentence
from reports.load import load
from reports.page.page import Page
from tests.fixtures.runs import HOSTED, Lab
from tests.fixtures.terminal import InTerminal
from tests.reports.synthetic import make_tables
from tests.reports.test_page_odd_runs import ODD


def printed(what: object, width: int = 80) -> list[str]:
    console = Console(width=width, record=True, file=io.StringIO(), force_terminal=True)
    print_sentence(console, what) if isinstance(what, str) else console.print(what)
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_progress_is_redrawn_in_place_and_ends_with_the_answer(lab: Lab) -> None:
    lab.experiment(dates=2)
    lab.fake.control(rules=[{"model": HOSTED, "do": {"latency_s": 0.3}}])
    environment = {"FAKE_KEY": "sk-fake", "PYTHONPATH": os.getcwd()}
    run = InTerminal(["run", "lab.yaml", "--yes"], lab.folder, environment)
    assert run.until_end() == 0, run.screen.everything

    heading = r"arm +ended +usable .*paid"
    while_running = [frame for frame in run.frames if re.search(heading + " +left", frame)]
    assert while_running, "no frame shows usable, cost and time left of each arm"
    assert all(len(re.findall(heading, frame)) == 1 for frame in while_running), "an earlier frame was left on the screen"
    said = run.screen.everything
    assert len(re.findall(heading, said)) == 1, "only the summary stays"
    order = ["Decisions: no arm is shown", "Returns: ", "per 1,000 +saved", "Undecided: needs repeats", "report: "]
    assert re.search(".*".join(order), said, re.DOTALL), said

    status = InTerminal(["status", "lab"], lab.folder, environment)
    assert status.until_end() == 0
    assert re.search(heading, status.screen.everything)
    assert "4 of 4 cells | 48 calls | " in status.screen.everything


@pytest.mark.parametrize("name", ["every cell of every arm failed", "all Hold", "names of 60 characters"])
def test_the_answer_of_an_odd_run_is_whole_at_80_columns(name: str, tmp_path: Path) -> None:
    answer = AnswerText.of(Page(load(make_tables(tmp_path / "r1", **ODD[name]))))
    assert answer is not None
    console = Console(width=80, record=True, file=io.StringIO(), force_terminal=True)
    Display(console, "lab").answer(answer)
    lines = [line.rstrip() for line in console.export_text().splitlines()]
    assert max(map(len, lines)) <= 80
    without_gaps = re.sub(r"\s", "", " ".join(lines))
    for texts in answer.rows.values():
        for text in texts:
            assert all(word in without_gaps for word in text.split()), text
    assert not re.search(r"\b(nan|None|NaN)\b", " ".join(lines))
    for sentence in answer.sentences:
        assert " ".join(sentence.split()) in " ".join(" ".join(lines).split()), "a word was broken"


def test_a_wide_table_is_shown_in_as_few_tables_as_fit_and_its_columns_by_importance() -> None:
    headings = ["per 1,000", "same rating", "in short"]
    texts = ["$146", "43.1 % (\u221220.3 [\u221230.1 to \u221210.2])", "Undecided: at most 30.1 points less alike"]
    rows = {f"arm-{number:02}": texts for number in range(40)}
    one = printed(FigureRows("", "arm", headings, rows), 120)
    assert sum("per 1,000" in line for line in one) == 1
    at_80 = printed(FigureRows("", "arm", headings, rows), 80)
    assert sum("per 1,000" in line for line in at_80) == 1
    assert sum("at most 30.1 points less alike" in line for line in at_80) == 40
    tables = printed(FigureRows("", "arm", headings, rows), 40)
    assert max(map(len, tables)) <= 40
    assert sum(line.split()[:1] == ["arm"] for line in tables) == 3
    least = printed(FigureRows("", "arm", headings, rows, ("same rating",)), 80)
    assert not any("same rating" in line for line in least)


def test_a_check_is_read_under_its_mark_on_a_terminal_and_stays_one_line_in_a_file() -> None:
    found, fix = "server ollama: no Ollama answers at http://127.0.0.1:11434", "start it: `ollama serve`; then `ollama pull x`"
    terminal = Console(width=40, record=True, file=io.StringIO(), force_terminal=True)
    print_check(terminal, "fail", found, fix)
    assert [line.rstrip() for line in terminal.export_text().splitlines()] == [
        "fail server ollama: no Ollama answers at",
        "     http://127.0.0.1:11434",
        "       fix: start it: `ollama serve`;",
        "            then `ollama pull x`",
    ]
    file = Console(width=40, record=True, file=io.StringIO())
    print_check(file, "fail", found, fix)
    assert file.export_text().splitlines() == [f"fail {found}", f"       fix: {fix}"]


def test_a_sentence_breaks_between_words_and_a_command_never() -> None:
    assert printed("a name-of-twenty-letters and a name-of-twenty-letters", 30) == [
        "a name-of-twenty-letters and a",
        "name-of-twenty-letters",
    ]
    (command,) = printed("    python -m harness run experiments/gpt5_vs_llama.yaml", 30)
    assert command == "    python -m harness run experiments/gpt5_vs_llama.yaml"
