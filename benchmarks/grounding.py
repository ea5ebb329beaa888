"""python -m benchmarks.grounding (after `make demo`)

Precision and recall of the grounding ledger on hand-labelled sentences, and its speed; prints one JSON object.

The sentences stand in tests/reports/grounding_corpus.yaml; the snapshots are frozen from a djia-2025 archive.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

import agents
from reports.grounding.inputs import Inputs
from reports.grounding.language import is_english
from reports.grounding.origins import INVENTED, FigureOrigin, origins

ROOT = Path(__file__).resolve().parent.parent
CORPUS = ROOT / "tests" / "reports" / "grounding_corpus.yaml"
HELD_OUT = CORPUS.with_name("grounding_held_out.yaml")
"""Sentences on a case that the ledger was not tuned on."""
LABELS = {"v": "verbatim", "r": "rounded", "d": "derivable", "u": "unsupported", "c": "contradicted", "i": "inherited"}
MARK = re.compile(r"\[\[(.+?)\|(\w)\]\]")
BUDGET_TOKENS = 6000


@dataclass(frozen=True)
class Sentence:
    """One labelled sentence: its plain text and (start, end) -> label of every figure."""

    case_id: str
    text: str
    figures: dict[tuple[int, int], str]


def corpus(path: Path = CORPUS) -> list[Sentence]:
    """The sentences in English; figures of other languages are not measured."""
    return [sentence for sentence in every_sentence(path) if is_english(sentence.text)]


def every_sentence(path: Path) -> list[Sentence]:
    raw = yaml.safe_load(path.read_text())
    return [_sentence(case_id, marked) for case_id, lines in raw.items() for marked in lines]


def _sentence(case_id: str, marked: str) -> Sentence:
    text, figures, last = "", {}, 0
    for match in MARK.finditer(marked):
        text += marked[last : match.start()]
        figures[(len(text), len(text) + len(match[1]))] = LABELS[match[2]]
        text += match[1]
        last = match.end()
    return Sentence(case_id, text + marked[last:], figures)


def given_of(case_id: str, archive: Path) -> tuple[Inputs, str]:
    """The figures of all four analysts' views of one case, and the text they stand in."""
    ticker, date = case_id.split("@")
    desk = agents.open_sources(dict.fromkeys(("prices", "news", "filings"), "archive"), archive=str(archive))
    snapshot = agents.freeze_case(ticker, dt.date.fromisoformat(date), desk, {})
    texts = [agents.view(snapshot, name, BUDGET_TOKENS) for name in ("market", "sentiment", "news", "fundamentals")]
    return Inputs.of(texts), "\n".join(texts)


def judge(sentences: list[Sentence], archive: Path) -> Iterator[tuple[Sentence, str, str, str]]:
    """(sentence, figure, label by hand, label by the ledger); `missed` and `no figure` where only one side sees a figure."""
    given = {case_id: given_of(case_id, archive)[0] for case_id in {sentence.case_id for sentence in sentences}}
    for sentence in sentences:
        found = {(t.quantity.start, t.quantity.end): t for t in origins(sentence.text, given[sentence.case_id])}
        for span, truth in sentence.figures.items():
            traced = _overlapping(found, span)
            yield sentence, sentence.text[slice(*span)], truth, traced.label if traced else "missed"
        for span, traced in found.items():
            if not any(_overlap(span, other) for other in sentence.figures):
                yield sentence, traced.quantity.text, "no figure", traced.label


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]


def _overlapping(found: dict[tuple[int, int], FigureOrigin], span: tuple[int, int]) -> FigureOrigin | None:
    return next((traced for other, traced in found.items() if _overlap(span, other)), None)


def scores(rows: list[tuple[Sentence, str, str, str]]) -> dict[str, object]:
    """Precision and recall of "this figure is invented", of "this is a figure", and how often the exact label is right."""
    flagged = [truth in INVENTED for *_, truth, said in rows if said in INVENTED]
    invented = [said in INVENTED for *_, truth, said in rows if truth in INVENTED]
    seen = [truth != "no figure" for *_, truth, said in rows if said != "missed"]
    real = [said != "missed" for *_, truth, said in rows if truth != "no figure"]
    return {
        "precision": _share(flagged),
        "recall": _share(invented),
        "figures": {"precision": _share(seen), "recall": _share(real)},
        "exact_label": _share([truth == said for *_, truth, said in rows]),
        "confusion": {
            f"{truth} -> {said}": count for (truth, said), count in sorted(Counter((r[2], r[3]) for r in rows).items())
        },
    }


def _share(hits: list[bool]) -> float:
    return round(sum(hits) / len(hits), 4) if hits else float("nan")


def speed(archive: Path, texts: int = 10_000, words: int = 300) -> dict[str, object]:
    """Seconds for many texts against a snapshot of about 2,000 figures, on two processes."""
    sentences = [sentence.text for sentence in corpus() if sentence.case_id.startswith("AAPL")]
    text = (" ".join(sentences) + " ") * 2
    text = " ".join(text.split()[:words])
    _, whole = given_of("AAPL@2025-05-15", archive)
    copies = "\n".join(whole.replace("2025", str(2025)) for _ in range(4))
    started = time.perf_counter()
    with ProcessPoolExecutor(2) as pool:
        figures = sum(pool.map(_many, [(copies, text, texts // 2)] * 2))
    return {
        "texts": texts,
        "words": words,
        "given_figures": len(Inputs.of([copies]).facts),
        "figures_traced": figures,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _many(job: tuple[str, str, int]) -> int:
    whole, text, count = job
    given = Inputs.of([whole])
    return sum(len(origins(text, given)) for _ in range(count))


def archive_folder() -> Path:
    return Path(os.environ.get("DJIA_2025") or ROOT.parent / "shared" / "data" / "djia-2025")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--archive", type=Path, default=archive_folder())
    parser.add_argument("--errors", action="store_true", help="list every disagreement on the way")
    options = parser.parse_args()
    sentences = corpus()
    rows = list(judge(sentences, options.archive))
    if options.errors:
        for sentence, figure, truth, said in rows:
            if truth != said:
                print(f"{truth:12} {said:12} {figure:16} {sentence.case_id} {sentence.text}")
    unseen = corpus(HELD_OUT)
    held_out = {"sentences": len(unseen), **scores(list(judge(unseen, options.archive)))}
    told = {"sentences": len(sentences), **scores(rows), "held_out": held_out, "speed": speed(options.archive)}
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
