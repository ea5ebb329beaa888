"""A run, end to end: what it leaves, how it goes on, and that it never pays twice."""

from __future__ import annotations

from tests.fixtures.runs import Lab


def test_a_run_leaves_tables_and_a_page_and_a_second_one_does_no_work(lab: Lab) -> None:
    lab.experiment(dates=2)

    first = lab.run()

    cells, calls = lab.rows("cells"), lab.rows("calls")
    assert sorted((cell["arm"], cell["case_id"], cell["status"]) for cell in cells) == [
        ("own", "AAPL@2012-06-15", "ok"),
        ("own", "AAPL@2012-06-18", "ok"),
        ("paid", "AAPL@2012-06-15", "ok"),
        ("paid", "AAPL@2012-06-18", "ok"),
    ]
    assert len(calls) == sum(cell["llm_calls"] for cell in cells) == lab.paid()["calls"]
    assert (lab.runs[0] / "report.html").exists()
    assert "report:" in first

    second = lab.run()

    assert "nothing left to do" in second
    assert len(lab.runs) == 1
    assert lab.paid()["calls"] == len(calls)
