"""Model servers misbehave: storms of 429, bursts of 5xx, sockets that hang, streams that are cut."""

from __future__ import annotations

from collections import Counter
from random import Random

from harness.money.pricing import PriceTable
from tests.faults.stage import Promise, Stage, read_ledger

FAULTS = {
    "gpt-5": {"do": {"status": 429, "error": "slow down", "error_type": "rate_limit_error", "retry_after": "1"}, "times": 12},
    "gpt-5-mini": {"do": {"status": 503, "error": "overloaded"}, "times": 8},
    "gpt-5-nano": {"do": {"hang_s": 60}, "times": 2},
    "gpt-5.1": {"do": {"cut": True}, "times": 3},
}
CAUSES = {"gpt-5": "rate_limited", "gpt-5-mini": "server_error", "gpt-5-nano": "timeout", "gpt-5.1": "cut_stream"}


def test_every_trouble_of_a_server_is_ridden_out_and_recorded(on_stage: Stage, broker: str, chance: Random) -> None:
    rules = [fault | {"model": name, "skip": chance.randint(0, 6)} for name, fault in FAULTS.items()]
    on_stage.models.control(rules=rules, models=list(FAULTS))
    on_stage.describe(dates=1, models={name: on_stage.model() | {"model": name} for name in FAULTS})
    on_stage.servers(timeout="3s")
    on_stage.end(on_stage.start("--broker", broker, "--workers", "1"))
    Promise(12).check(on_stage, read_ledger(broker))
    failed = Counter((call["arm"], call["error_type"]) for call in on_stage.table("calls") if call["outcome"] == "failed")
    assert failed == {(name, CAUSES[name]): fault["times"] for name, fault in FAULTS.items()}
    for call in on_stage.table("calls"):
        if call["error_type"] in ("rate_limited", "server_error"):
            assert call["cost_usd"] == 0
        if call["error_type"] in ("timeout", "cut_stream"):
            assert (call["cost_basis"], call["cost_usd"] > 0) == ("estimate", True)


def test_the_stage_prices_as_the_harness_does() -> None:
    """The other tests hold bills against their own arithmetic of gpt-5's rates."""
    import datetime as dt

    from harness.experiment.servers import ServerSpec
    from harness.money.pricing import Tokens
    from tests.faults.stage import true_usd

    cloud = ServerSpec("cloud", "openai", "http://127.0.0.1/v1", is_hosted=True)
    ours = PriceTable().usd("gpt-5", cloud, None, Tokens(1000, 200, 100), dt.datetime.now(dt.UTC))
    assert ours == true_usd({"gpt-5": {"input_tokens": 1000, "cached_tokens": 100, "output_tokens": 200}})
