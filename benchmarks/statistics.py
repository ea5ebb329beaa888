"""python benchmarks/statistics.py (after `make demo`) runs benchmarks/answers.py, and with --methods benchmarks/verdicts.py.

A script of this folder has the folder first on its path: what imports `statistics` there gets Python's own module.
"""

from __future__ import annotations

import sys
import sysconfig
from importlib.machinery import PathFinder
from importlib.util import module_from_spec

if __name__ == "statistics":
    found = PathFinder.find_spec(__name__, [sysconfig.get_path("stdlib")])
    assert found is not None
    assert found.loader is not None
    sys.modules[__name__] = module_from_spec(found)
    found.loader.exec_module(sys.modules[__name__])

if __name__ == "__main__":
    from benchmarks import answers, verdicts

    if "--methods" in sys.argv:
        sys.argv.remove("--methods")
        verdicts.main()
    else:
        answers.main()
