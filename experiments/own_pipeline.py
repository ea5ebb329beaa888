"""A pipeline of your own, as small as it gets: an analyst reports, a portfolio manager decides. See docs/own-pipeline.md."""

from agents import DECISION, Context, Part, Reading


async def decide(ctx: Context) -> Reading:
    case = Part("user", ctx.instrument(), shared=True)

    task = "Describe trend, momentum and risk in at most 150 words."
    report = await ctx.ask("market_analyst", [case, ctx.view("market"), task])

    findings = f"The analyst reports:\n{report.text}"
    order = f"You are the portfolio manager. Decide.\n{DECISION.say()}"
    return await ctx.ask("portfolio_manager", [case, findings, order], form=DECISION)
