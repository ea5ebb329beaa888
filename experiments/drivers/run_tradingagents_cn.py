# ruff: noqa: T201
"""One case of TradingAgents-CN: python run_tradingagents_cn.py TICKER DATE, in the environment where it is installed."""

import json
import os
import sys

from tradingagents.default_config import DEFAULT_CONFIG  # type: ignore[import-not-found]
from tradingagents.graph.trading_graph import TradingAgentsGraph  # type: ignore[import-not-found]

results = os.path.expanduser("~/results")
config = DEFAULT_CONFIG | {"backend_url": os.environ["BACKEND_URL"], "results_dir": results}
config |= json.loads(os.environ.get("TRADINGAGENTS_SETTINGS", "{}"))
graph = TradingAgentsGraph(config=config)
# It writes eval_results/ in the working folder, which cases share.
os.makedirs(results, exist_ok=True)
os.chdir(results)
# Version 1.0 ends with a ValueError in `propagate` where nothing listens to its progress.
_, decision = graph.propagate(sys.argv[1], sys.argv[2], progress_callback=lambda *_: None)
print(json.dumps({"decision": decision.get("action")}, ensure_ascii=False))
