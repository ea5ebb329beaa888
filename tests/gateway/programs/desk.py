# ruff: noqa: T201, BLE001
"""A stand-in for a user's pipeline: analysts with tools, a debate, a forced decision. Usage: desk.py TICKER DATE [how]."""

import datetime
import json
import os
import sys
import time
from typing import Any

from openai import OpenAI

TICKER, DATE, HOW = sys.argv[1], sys.argv[2], (sys.argv[3] if len(sys.argv) > 3 else "")
client = OpenAI(max_retries=0)
PRICES = {
    "type": "function",
    "function": {
        "name": "get_prices",
        "description": "Closing prices",
        "parameters": {"type": "object", "properties": {"ticker": {"type": "string"}, "start_date": {"type": "string"}}},
    },
}
RATING = {
    "type": "function",
    "function": {
        "name": "PortfolioDecision",
        "description": "The decision",
        "parameters": {
            "type": "object",
            "properties": {
                "rating": {"type": "string", "enum": ["Buy", "Overweight", "Hold", "Underweight", "Sell"]},
                "executive_summary": {"type": "string"},
            },
            "required": ["rating", "executive_summary"],
        },
    },
}


def say(model: str, messages: list[Any], **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=messages, **more).choices[0].message


def analyst() -> str:
    messages: list[Any] = [
        {"role": "system", "content": "You are a trading assistant tasked with analyzing financial markets."},
        {"role": "user", "content": f"Analyse {TICKER} as of {DATE}. Its close was 101.25."},
    ]
    for _ in range(3):
        answer = say("quick-model", messages, tools=[PRICES])
        if not answer.tool_calls:
            break
        messages.append(answer.model_dump(exclude_none=True))
        for call in answer.tool_calls:
            if HOW == "strict":
                arguments = json.loads(call.function.arguments)
                assert arguments["ticker"] == TICKER
                assert datetime.date.fromisoformat(arguments["start_date"]) < datetime.date.fromisoformat(DATE)
            noise = f"\nData retrieved on: {time.time()}"
            prices = "100.5, 99.75" if HOW == "otherdata" else "100.5, 101.25"
            messages.append({"role": "tool", "tool_call_id": call.id, "content": f"{TICKER}: {prices}{noise}"})
    return str(answer.content or "")


def main() -> None:
    report = analyst()
    said: list[str] = []
    for speaker in ("Bull", "Bear", "Bull", "Bear"):
        history = "\n".join(said)
        prompt = f"You are a {speaker} Analyst on {TICKER}.\nReport: {report}\nSo far: {history}"
        said.append(say("quick-model", [{"role": "user", "content": prompt}]).content or "")
        if HOW == "die" and len(said) == 2 and not os.path.exists(os.environ["DIED"]):
            open(os.environ["DIED"], "w").close()
            os._exit(9)
    prompt = f"As the Portfolio Manager, decide on {TICKER}. Debate: {said}"
    forced = {"type": "function", "function": {"name": "PortfolioDecision"}}
    answer = say("deep-model", [{"role": "user", "content": prompt}], tools=[RATING], tool_choice=forced)
    rating = json.loads(answer.tool_calls[0].function.arguments)["rating"] if answer.tool_calls else "Hold"
    print(json.dumps({"rating": rating}))


if HOW == "nothing":
    print(json.dumps({"rating": "Buy"}))
elif HOW == "crash":
    error = ValueError("no such ticker")
    error.add_note("While reading prices")
    raise error
elif HOW == "elsewhere":
    try:
        OpenAI(base_url="http://127.0.0.1:9/v1", max_retries=0).models.list()
    except Exception as error:
        print(f"could not reach my own address: {error}", file=sys.stderr)
    print(json.dumps({"rating": "HOLD"}))
elif HOW == "unmapped":
    try:
        say("gpt-99", [{"role": "user", "content": "You are a Bull Analyst. Go."}])
    except Exception as error:
        print(error, file=sys.stderr)
    main()
elif HOW == "flood":
    for _ in range(200):
        sys.stdout.write("x" * (5 << 20) + "\n")
    main()
elif HOW == "writes":
    home = os.path.expanduser("~/results")
    os.makedirs(f"{home}/deep", exist_ok=True)
    for name, text in (
        ("state.json", os.environ["DATA_KEY"]),
        ("deep/log.json", "{}"),
        ("a <b>&'.json", "1"),
        ("huge.json", "x" * (300 << 10)),
    ):
        with open(f"{home}/{name}", "w") as file:
            file.write(text)
    os.symlink("/etc/passwd", f"{home}/link.json")
    print(f"my key is {os.environ['DATA_KEY']}, my address {os.environ['OPENAI_BASE_URL']}")
    main()
elif HOW == "officer":
    officer = {"role": "system", "content": "You are a Risk Officer who checks limits."}
    say("quick-model", [officer, {"role": "user", "content": f"Is {TICKER} within its limits?"}])
    main()
elif HOW == "stubborn":
    import signal

    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        time.sleep(600)
    main()
    time.sleep(600)
else:
    main()
