"""python -m benchmarks.decision_ladder (after `make demo`)

What the decision ladder reads from the corpus: JSON with right, wrong, unparsed, per rung and group, and the confusion.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from typing import Any

from domain.ratings import RATINGS
from tests.agents.corpus import climb, texts, verdict

NONE = "none"


def measure() -> dict[str, Any]:
    """`unparsed` counts the texts that were read as having no rating though a reader sees one; wrong must be 0."""
    read = [(text, climb(text)) for text in texts()]
    judged = [(text, reading, verdict(text, reading)) for text, reading in read]
    counts = Counter(verdict for _, _, verdict in judged)
    return {
        "texts": len(judged),
        "right": counts["right"],
        "wrong": counts["wrong"],
        "unparsed": counts["unparsed"],
        "rungs": _table((reading.rung, verdict) for _, reading, verdict in judged),
        "groups": _table((text.group, verdict) for text, _, verdict in judged),
        "statuses": dict(Counter(reading.status for _, reading, _ in judged)),
        "confusion": _confusion((text.truth, (reading.value or {}).get("rating")) for text, reading, _ in judged),
        "wrong_texts": [text.name for text, _, verdict in judged if verdict == "wrong"],
        "unparsed_texts": [text.name for text, _, verdict in judged if verdict == "unparsed"],
    }


def _table(pairs: Any) -> dict[str, dict[str, int]]:
    table: dict[str, dict[str, int]] = {}
    for row, judged in pairs:
        table.setdefault(row, {"right": 0, "wrong": 0, "unparsed": 0})[judged] += 1
    return table


def _confusion(pairs: Any) -> dict[str, dict[str, int]]:
    """truth -> what was read."""
    names = (*RATINGS, NONE)
    table = {truth: dict.fromkeys(names, 0) for truth in names}
    for truth, read in pairs:
        table[truth or NONE][read or NONE] += 1
    return table


def main() -> int:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    measured = measure()
    print(json.dumps(measured, indent=2))
    return 1 if measured["wrong"] else 0


if __name__ == "__main__":
    sys.exit(main())
