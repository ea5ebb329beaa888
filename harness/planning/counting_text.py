"""Where a plan's tokens come from, in words."""

from __future__ import annotations

from collections.abc import Iterator

from harness.planning.counted import ASSUMED, Counted
from harness.planning.plan import Plan


def input_lines(plan: Plan) -> Iterator[str]:
    """What the prompts are, then how each model's were counted."""
    yield from _prompts(plan)
    by_words: dict[str, list[str]] = {}
    for model, how in plan.counted.items():
        if how.how != ASSUMED:
            name = f"{model} ({how.vocabulary})" if how.vocabulary not in ("", model) else model
            by_words.setdefault(_words(how), []).append(name)
    for words, models in by_words.items():
        yield f"{', '.join(models)}: {words}"


def _prompts(plan: Plan) -> Iterator[str]:
    if all(how.how != ASSUMED for how in plan.counted.values()):
        yield from dict.fromkeys(arm.basis for arm in plan.arms.values() if arm.calls)
    elif plan.unrendered:
        yield (
            f"NOT counted yet: {' and '.join(plan.unrendered)} must be asked over the network, and a plan asks nobody. Until "
            "`run` has frozen the cases, which it does before it shows this plan again and asks, each analyst is taken to read "
            "its token budget (2,500 where none is set) and 600 more, each later role 3,500 and up to 2,500 of what was said; "
            "the intervals are wider for it"
        )
    else:
        yield "NOT counted: the prompts of a pipeline of your own are not known before it runs; token budgets stand in"


def _words(how: Counted) -> str:
    ratio = "" if how.ratio == 1 else f", times {how.ratio:.3f} as earlier runs were told"
    return {
        "measured": "as earlier runs with the very same prompts were told",
        "tokenizer": f"counted with the model's own tokenizer{ratio}",
        "calibrated ratio": f"no tokenizer at hand: estimated from the text, ratio {how.ratio:.2f} calibrated by earlier runs",
        "declared ratio": "no tokenizer at hand: estimated from the text, ratio 1.00 declared, no earlier run to calibrate it",
    }[how.how]


def output_line(plan: Plan) -> str:
    if not plan.runs_learnt_from:
        return "declared priors: what each role is asked to write, and hidden tokens by effort; no earlier run here"
    some = [arm for arm in plan.arms.values() if arm.calls]
    measured = sum(arm.is_measured for arm in some)
    runs = f"{plan.runs_learnt_from} earlier run{'s' if plan.runs_learnt_from > 1 else ''}"
    return f"measured in {runs} for {measured} of {len(some)} arms{'' if measured == len(some) else ', else declared priors'}"
