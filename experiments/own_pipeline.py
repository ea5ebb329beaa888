"""A pipeline of your own, as small as it gets: one analyst, one portfolio manager. See docs/own-pipeline.md."""

from __future__ import annotations

from agents import (
    DECISION,
    Admission,
    Answer,
    CallSite,
    Clients,
    Lineup,
    Part,
    Pipeline,
    Request,
    Result,
    Snapshot,
    ask,
    decision_of,
    fill_in,
    instrument,
    view,
)


async def decide(snapshot: Snapshot, lineup: Lineup, pipeline: Pipeline, admission: Admission, clients: Clients) -> Result:
    case = Part("user", instrument(snapshot))

    async def ask_model(site: CallSite, request: Request) -> Answer:
        return await ask(site, request, admission, clients)

    material = Part("user", view(snapshot, "market", pipeline.budget_tokens.get("market")))
    task = Part("user", "Describe trend, momentum and risk in at most 150 words.")
    analyst = lineup["market_analyst"]
    cap = pipeline.output_cap("market_analyst", analyst)
    question = Request(analyst, (case, material, task), max_output_tokens=cap)
    report = await ask_model(CallSite("market_analyst"), question)

    findings = Part("user", f"The analyst reports:\n{report.text}")
    order = Part("user", f"You are the portfolio manager. Decide.\n{DECISION.say()}")
    manager = lineup["portfolio_manager"]
    cap = pipeline.output_cap("portfolio_manager", manager)
    form = Request(manager, (case, findings, order), schema=DECISION.schema(cap), max_output_tokens=cap)
    reading = await fill_in(CallSite("portfolio_manager"), form, DECISION, ask_model)

    made = decision_of(reading)
    return Result(
        decision=made,
        decision_status=reading.status,
        reports={"market_analyst": report.text, "portfolio_manager": reading.text},
        stage_ratings={"portfolio_manager": made.rating if made else None},
        parsed=reading.parsed,
    )
