from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reports import load
from reports.trust import provenance
from tests.reports.synthetic import FakeArm, make_tables


def test_parameters_that_never_changed_have_a_value_and_others_a_count(tmp_path: Path) -> None:
    arms = {"same": FakeArm(), "changing": FakeArm(model="gpt-5-mini"), "unknown": FakeArm(model="gpt-4")}
    run = make_tables(tmp_path / "r", arms=arms)

    def parameters(arm: str, number: int) -> Mapping[str, Any] | None:
        changing = {"temperature": number % 3} | ({"seed": 1} if number % 2 else {})
        by_arm: dict[str, dict[str, Any]] = {"same": {"effort": "low", "temperature": 0}, "changing": changing}
        return by_arm.get(arm)

    record_parameters(run, parameters)

    shown = {played.arm: played.params for played in provenance.models(load(run))}
    assert shown == {"same": "effort low, temperature 0", "changing": "seed (2 values), temperature (3 values)", "unknown": ""}


def record_parameters(run: Path, parameters: Any) -> None:
    """Write the parameters of each call, by arm and row number, in several row groups."""
    calls = pq.read_table(run / "calls.parquet")
    sent = [parameters(arm, number) for number, arm in enumerate(calls["arm"].to_pylist())]
    column = pa.array([None if plain is None else json.dumps(plain) for plain in sent], pa.string())
    changed = calls.set_column(calls.schema.get_field_index("params"), "params", column)
    pq.write_table(changed, run / "calls.parquet", row_group_size=40)
