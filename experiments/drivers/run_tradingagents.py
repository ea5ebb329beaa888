# ruff: noqa: T201
"""One case of TradingAgents: python run_tradingagents.py TICKER DATE, in the environment where it is installed."""

import json
import os
import sys

from tradingagents.default_config import DEFAULT_CONFIG  # type: ignore[import-not-found]
from tradingagents.graph.trading_graph import TradingAgentsGraph  # type: ignore[import-not-found]

results = os.path.expanduser("~/results")
config = DEFAULT_CONFIG | {"backend_url": os.environ["BACKEND_URL"], "results_dir": results}
config |= json.loads(os.environ.get("TRADINGAGENTS_SETTINGS", "{}"))
graph = TradingAgentsGraph(config=config)
# Versions before 0.2.4 write eval_results/ in the working folder, which cases share.
os.makedirs(results, exist_ok=True)
os.chdir(results)
_, signal = graph.propagate(sys.argv[1], sys.argv[2])
print(json.dumps({"decision": str(signal)}))
