"""The EDGAR source over real HTTP, against a server on loopback that answers in the SEC's documented format."""

from __future__ import annotations

import datetime as dt
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from agents import SnapshotError, SourceFailed
from agents.inputs.datum import Fact
from agents.sources import SourceSettings
from agents.sources.edgar import Edgar
from tests.agents.archives import utc

CIK = "0000320193"
LATER = utc("2025-06-30T00:00:00")


def row(start: str | None, end: str, value: float, number: str, filed: str, form: str = "10-Q") -> dict[str, Any]:
    return {"start": start, "end": end, "val": value, "accn": number, "fy": 2025, "fp": "Q2", "form": form, "filed": filed}


Q1, Q2, RESTATED, YEAR = "0000320193-25-000008", "0000320193-25-000057", "0000320193-25-000099", "0000320193-24-000123"
FACTS = {
    "cik": 320193,
    "entityName": "Apple Inc.",
    "facts": {
        "us-gaap": {
            "RevenueFromContractWithCustomerExcludingAssessedTax": {
                "units": {
                    "USD": [
                        row("2023-10-01", "2024-09-28", 391_035e6, YEAR, "2024-11-01", "10-K"),
                        row("2024-09-29", "2024-12-28", 124_300e6, Q1, "2025-01-31"),
                        row("2024-12-29", "2025-03-29", 95_359e6, Q2, "2025-05-02"),
                        row("2024-12-29", "2025-03-29", 95_000e6, RESTATED, "2025-06-20", "10-Q/A"),
                    ]
                }
            },
            "Revenues": {"units": {"USD": [row("2024-12-29", "2025-03-29", 1.0, Q2, "2025-05-02")]}},
            "NetCashProvidedByUsedInOperatingActivities": {
                "units": {
                    "USD": [
                        row("2024-09-29", "2024-12-28", 29_935e6, Q1, "2025-01-31"),
                        row("2024-09-29", "2025-03-29", 53_887e6, Q2, "2025-05-02"),
                    ]
                }
            },
        },
        "dei": {
            "EntityCommonStockSharesOutstanding": {"units": {"shares": [row(None, "2025-04-18", 14.9e9, Q2, "2025-05-02")]}}
        },
    },
}
SUBMISSIONS = {
    "cik": CIK,
    "filings": {
        "recent": {
            "accessionNumber": [RESTATED, Q2, Q1],
            "acceptanceDateTime": ["2025-06-20T20:31:00.000Z", "2025-05-02T10:00:46.000Z", "2025-01-31T11:01:27.000Z"],
        },
        "files": [{"name": f"CIK{CIK}-submissions-001.json"}],
    },
}
PAGES = {
    "/files/company_tickers.json": {"0": {"cik_str": 320193, "ticker": "AAPL", "title": "Apple Inc."}},
    f"/api/xbrl/companyfacts/CIK{CIK}.json": FACTS,
    f"/submissions/CIK{CIK}.json": SUBMISSIONS,
    f"/submissions/CIK{CIK}-submissions-001.json": {"accessionNumber": [], "acceptanceDateTime": []},
}


class Sec:
    """What the server on loopback answers, and what it was asked."""

    def __init__(self) -> None:
        self.refusals: list[int] = []
        self.asked: list[str] = []
        self.agents: set[str] = set()
        self.times: list[float] = []
        self.url = ""

    def answer(self, path: str) -> tuple[int, bytes]:
        if self.refusals:
            return self.refusals.pop(0), b"Request Rate Threshold Exceeded"
        return (200, json.dumps(PAGES[path]).encode()) if path in PAGES else (404, b"NoSuchKey")


@pytest.fixture
def sec() -> Iterator[Sec]:
    state = Sec()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked.append(self.path)
            state.agents.add(str(self.headers["User-Agent"]))
            state.times.append(time.monotonic())
            status, body = state.answer(self.path)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def edgar(sec: Sec, tmp_path: Path, contact: str | None = "me@example.org") -> Edgar:
    return Edgar(SourceSettings(cache=tmp_path, contact=contact), urls=(sec.url, sec.url), waits_s=(0.0, 0.0))


def filed(source: Edgar, until: dt.datetime, item: str = "revenues") -> dict[str, float]:
    return {str(fact.period_end): fact.value for fact in _facts(source, until) if fact.item == item}


def _facts(source: Edgar, until: dt.datetime) -> tuple[Fact, ...]:
    return source.filings("AAPL", until).rows


def test_a_statement_is_known_from_the_minute_it_was_accepted(sec: Sec, tmp_path: Path) -> None:
    source = edgar(sec, tmp_path)
    assert "2025-03-29" not in filed(source, utc("2025-05-02T10:00:45"))
    assert filed(source, utc("2025-05-02T10:00:46"))["2025-03-29"] == 95_359e6


def test_a_restatement_is_visible_only_from_its_own_filing_on(sec: Sec, tmp_path: Path) -> None:
    source = edgar(sec, tmp_path)
    assert filed(source, utc("2025-06-20T20:30:59"))["2025-03-29"] == 95_359e6
    assert filed(source, utc("2025-06-20T20:31:00"))["2025-03-29"] == 95_000e6


def test_without_an_acceptance_time_it_is_the_day_after_the_filing_date(sec: Sec, tmp_path: Path) -> None:
    source = edgar(sec, tmp_path)
    assert "2024-09-28" not in filed(source, utc("2024-11-01T23:59:59"))
    assert filed(source, utc("2024-11-02T00:00:00"))["2024-09-28"] == 391_035e6


def test_quarters_of_cash_flow_come_from_year_to_date_sums(sec: Sec, tmp_path: Path) -> None:
    rows = [f for f in _facts(edgar(sec, tmp_path), LATER) if f.item == "net_cash_flow_from_operating_activities"]
    quarter = next(f for f in rows if str(f.period_start) == "2024-12-29")
    assert quarter.value == 53_887e6 - 29_935e6
    assert quarter.available_at == utc("2025-05-02T10:00:46")


def test_shares_and_name_come_from_the_filing_too(sec: Sec, tmp_path: Path) -> None:
    source = edgar(sec, tmp_path)
    assert filed(source, LATER, "shares_outstanding") == {"2025-04-18": 14.9e9}
    assert source.company("AAPL") == "Apple Inc."


def test_requests_to_the_sec_carry_a_contact_and_keep_its_rate_limit(sec: Sec, tmp_path: Path) -> None:
    edgar(sec, tmp_path).filings("AAPL", LATER)
    assert sec.agents == {"tradingagents-harness me@example.org"}
    assert len(sec.times) == 4
    assert sec.times[-1] - sec.times[0] > 0.2, "three gaps of 0.11 s; the server may see the first late"


def test_without_a_contact_nothing_is_asked(sec: Sec, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="SEC_CONTACT"):
        edgar(sec, tmp_path, contact=None).filings("AAPL", LATER)
    assert sec.asked == []


def test_what_was_fetched_is_kept_for_the_next_run(sec: Sec, tmp_path: Path) -> None:
    first = edgar(sec, tmp_path).filings("AAPL", LATER)
    asked = len(sec.asked)
    assert edgar(sec, tmp_path).filings("AAPL", LATER) == first
    assert len(sec.asked) == asked


def test_refusals_are_waited_for_and_lasting_ones_raise(sec: Sec, tmp_path: Path) -> None:
    sec.refusals = [429, 503]
    assert edgar(sec, tmp_path / "one").filings("AAPL", LATER).rows
    sec.refusals = [403] * 9
    with pytest.raises(SourceFailed, match="answered 403"):
        edgar(sec, tmp_path / "two").filings("AAPL", LATER)


def test_a_server_that_is_gone_raises(tmp_path: Path) -> None:
    gone = Edgar(SourceSettings(cache=tmp_path, contact="me"), urls=("http://127.0.0.1:9", "http://127.0.0.1:9"), waits_s=())
    with pytest.raises(SourceFailed, match="cannot be reached"):
        gone.filings("AAPL", LATER)


def test_an_answer_that_is_not_json_raises(sec: Sec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sec, "answer", lambda path: (200, b"<html>busy</html>"))
    with pytest.raises(SourceFailed, match="not JSON"):
        edgar(sec, tmp_path).filings("AAPL", LATER)


def test_a_ticker_that_the_sec_does_not_list_has_no_filings(sec: Sec, tmp_path: Path) -> None:
    found = edgar(sec, tmp_path).filings("NOPE", LATER)
    assert found.rows == ()
    assert found.absent == "the SEC lists no company under NOPE"


def test_a_company_without_structured_filings_has_none(sec: Sec, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(PAGES, f"/api/xbrl/companyfacts/CIK{CIK}.json")
    assert edgar(sec, tmp_path).filings("AAPL", LATER).absent == "AAPL had filed no statement with the SEC"
