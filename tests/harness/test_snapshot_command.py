"""The snapshot command: readable, and one clear sentence when something must be mended."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import cli
from tests.agents import archives

Said = pytest.CaptureFixture[str]


def run(capsys: Said, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["harness", "snapshot", *arguments])
    code = cli._run(cli.build())
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    return str(archives.write(tmp_path / "archive", "prices", archives.bars()))


def test_show_prints_what_each_analyst_sees(folder: str, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capsys, monkeypatch, "show", "ABC", "2025-06-16", "--archive", folder)
    assert code == 0
    for said in ("what the market analyst sees", "Instrument: ABC", "nothing later than 2025-06-16 20:00 UTC", "sha256"):
        assert said in out


def test_show_works_on_the_demo_without_any_option(capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capsys, monkeypatch, "show", "AAPL", "2000-06-20")
    assert code == 0
    assert "101.25" in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("ABC", "2025-06-15"), "2025-06-15 (Sunday) is not a session"),
        (("NOPE", "2025-06-16"), "has no prices of 'NOPE'; it has: ABC"),
        (("ABC", "2030-06-17"), "not a session"),
    ],
)
def test_what_cannot_be_shown_is_one_sentence(
    folder: str, capsys: Said, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    code, _, err = run(capsys, monkeypatch, "show", *arguments, "--archive", folder)
    assert code == 2
    assert said in err
    assert "Traceback" not in err


def test_check_prints_a_table_and_notes(folder: str, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = run(capsys, monkeypatch, "check", folder)
    assert code == 0
    assert "is a sound archive" in out
    assert "note: no table of: dividends, news" in out


def test_check_names_what_is_broken(folder: str, capsys: Said, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = archives.bars()
    rows[3]["close"] = -1.0
    archives.write(Path(folder), "prices", rows)
    code, _, err = run(capsys, monkeypatch, "check", folder)
    assert code == 2
    assert "prices.parquet: column 'close', row 3 (ABC 2024-01-05): -1.0 is not positive" in err


@pytest.mark.parametrize("old_flag", [(), ("--today",)])
def test_freeze_without_a_live_source_says_what_to_do(
    old_flag: tuple[str, ...], folder: str, capsys: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke = str(Path(__file__).parents[2] / "experiments" / "smoke.yaml")
    code, _, err = run(capsys, monkeypatch, "freeze", *old_flag, smoke, "--archive", folder)
    assert code == 2
    assert "no source of this experiment has current data" in err
