# ruff: noqa: T201
"""One case of TradingAgents: python tradingagents.py TICKER DATE, in the environment where it is installed."""

import json
import os
import sys

from tradingagents.default_config import DEFAULT_CONFIG  # type: ignore[import-not-found]
from tradingagents.graph.trading_graph import TradingAgentsGraph  # type: ignore[import-not-found]

config = DEFAULT_CONFIG | {"backend_url": os.environ["BACKEND_URL"], "results_dir": os.path.expanduser("~/results")}
config |= json.loads(os.environ.get("TRADINGAGENTS_SETTINGS", "{}"))
_, signal = TradingAgentsGraph(config=config).propagate(sys.argv[1], sys.argv[2])
print(json.dumps({"decision": str(signal)}))
