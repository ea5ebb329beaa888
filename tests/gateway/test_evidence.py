"""Replay, role advice and grounding of attached programs, and what the page says about what they do not cover."""

from __future__ import annotations

from reports.grounding.of_run import figures
from reports.grounding.origins import GROUNDED, INVENTED
from reports.load import load
from tests.fixtures.runs import Lab
from tests.gateway.conftest import RATED, attached


def test_an_attached_run_is_replayed_grounded_and_advised_as_far_as_its_messages_allow(lab: Lab) -> None:
    tool = [{"name": "get_prices", "arguments": '{"ticker": "AAPL"}'}]
    lab.fake.control(
        rules=[
            {"contains": "Data retrieved on", "do": {"text": "It opened at 100.5. Sales were 777.5."}},
            {"contains": "You are a trading assistant", "do": {"tool_calls": tool}},
            {
                "contains": "As the Portfolio Manager",
                "do": {"tool_calls": [{"name": "PortfolioDecision", "arguments": RATED}]},
            },
        ]
    )
    arms = {"paid": {"all": "paid"}, "own": {"all": "own"}}
    replay = {"from": "paid", "to": ["own"], "noise_floor": 0}
    lab.experiment(pipeline=attached("officer"), arms=arms, replay=replay)
    lab.run("--yes")

    texts = {row["message_id"]: row for row in lab.rows("messages")}
    asked_again = {(row["role"], row["round"]): row for row in lab.rows("calls") if row["kind"] == "replay"}
    assert set(asked_again) == {
        ("market_analyst", 0),
        ("portfolio_manager", 0),
        *((role, round_) for role in ("bull", "bear") for round_ in (1, 2)),
    }
    turn = [texts[each] for each in asked_again["market_analyst", 0]["message_ids"]]
    assert [message["role"] for message in turn] == ["system", "user", "assistant", "tool"]
    assert "100.5, 101.25\nData retrieved on" in turn[-1]["text"], "the tool turn with the result that was recorded"

    traced = figures(load(str(lab.runs[-1])))
    labels = {row["figure"]: row["label"] for row in traced.to_dict("records") if row["place"] == "market_analyst"}
    assert labels["100.5"] in GROUNDED, "only the result of a tool states it"
    assert labels["777.5"] in INVENTED

    page = (lab.runs[-1] / "report.html").read_text()
    advice = page.partition("From paid to own: which roles may go?")[2].partition("</table>")[0]
    assert all(f'<th scope="row">{role}</th>' in advice for role in ("market analyst", "bull", "bear", "portfolio manager"))
    assert '<th scope="row">other</th>' not in advice
    assert "Replay and role advice do not cover other." in page
    assert "look-ahead inside it cannot be excluded" in page
