# ruff: noqa: T201
"""One case of ai-hedge-fund: its own command, and what its record trades. python run_ai_hedge_fund.py TICKER DATE"""

import json
import os
import subprocess
import sys
from pathlib import Path

ticker, date = sys.argv[1:3]
aihf = str(Path(sys.executable).with_name("aihf"))
# In the private home of the case; the program puts its own example there where no mandate was copied.
mandate = os.path.expanduser(os.environ.get("MANDATE", "~/.hedge-fund/mandates/example.yaml"))
command = [aihf, mandate, "--tickers", ticker, "--date", date, "--model", "gpt-5.5"]
record = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
print(record)
made = json.loads(record)
signals = [signal for strategy in made["strategies"] for signal in strategy["signals"]]
# An answer that it cannot read is no view for the program; that it then holds is no decision.
if lost := [signal["reasoning"] for signal in signals if "failed" in str(signal["metadata"].get("abstain_reason"))]:
    sys.exit(f"ERROR: a model's answer was lost: {lost[0]}")
weight = made["target_weights"].get(ticker, 0.0)
print(json.dumps({"decision": "BUY" if weight > 0 else "SELL" if weight < 0 else "HOLD"}))
