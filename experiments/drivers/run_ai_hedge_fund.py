"""One case of ai-hedge-fund: its own command, which prints JSON. python ai_hedge_fund.py TICKER DATE"""

import os
import sys
from pathlib import Path

aihf = str(Path(sys.executable).with_name("aihf"))
# In the private home of the case; the program puts its own example there where no mandate was copied.
mandate = os.path.expanduser(os.environ.get("MANDATE", "~/.hedge-fund/mandates/example.yaml"))
os.execv(aihf, [aihf, mandate, "--tickers", sys.argv[1], "--date", sys.argv[2], "--model", "gpt-5.5"])
