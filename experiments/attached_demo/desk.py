# ruff: noqa: T201
"""A stand-in for the pipeline that you have already: plain Python, which knows nothing of this project.

It asks an OpenAI-compatible address for `gpt-5.4-mini` (an analyst and a debate) and `gpt-5.5` (the decision).
"""

import json
import os
import sys
import urllib.request

TICKER, DATE = sys.argv[1], sys.argv[2]
ADDRESS = os.environ["OPENAI_BASE_URL"] + "/chat/completions"
RATING = {
    "type": "object",
    "properties": {"rating": {"type": "string", "enum": ["Buy", "Overweight", "Hold", "Underweight", "Sell"]}},
    "required": ["rating"],
    "additionalProperties": False,
}
DECIDE = {"name": "PortfolioDecision", "description": "Records the decision.", "parameters": RATING}


def ask(model: str, prompt: str, **more: object) -> dict[str, object]:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}], **more}
    headers = {"content-type": "application/json", "authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    request = urllib.request.Request(ADDRESS, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=600) as answer:
        message: dict[str, object] = json.load(answer)["choices"][0]["message"]
    return message


facts = f"{TICKER} as of {DATE}: the price rose 3 % in a month on average volume; sales grew 8 % in a year."
report = ask("gpt-5.4-mini", f"You are a market analyst. In two sentences, what matters?\n{facts}")["content"]
bull = ask("gpt-5.4-mini", f"You are a Bull Analyst. One sentence for buying.\n{report}")["content"]
bear = ask("gpt-5.4-mini", f"You are a Bear Analyst. One sentence against.\n{report}\nBull: {bull}")["content"]
forced = {"type": "function", "function": {"name": "PortfolioDecision"}}
question = f"As the Portfolio Manager, decide on {TICKER}.\n{facts}\nBull: {bull}\nBear: {bear}"
answer = ask("gpt-5.5", question, tools=[{"type": "function", "function": DECIDE}], tool_choice=forced)
calls = answer.get("tool_calls")
print(json.dumps({"rating": json.loads(calls[0]["function"]["arguments"])["rating"] if isinstance(calls, list) else "Hold"}))
