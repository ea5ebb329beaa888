"""What a run needs of its surroundings is read once, with all problems of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.checking.resolved import resolve
from harness.errors import InvalidInput
from harness.experiment import spec

TEXT = """
name: resolved
tickers: [AAPL]
dates: [2011-03-15]
repeats: 1
data: demo
models: {big: {provider: openai, model: gpt-5}}
"""


def test_an_experiment_is_resolved_with_its_servers_environment_and_prices(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TEXT)
    (tmp_path / ".env").write_text("SEC_CONTACT=me@example.com\nOPENAI_API_KEY=sk-of-the-file\n")
    resolved = resolve(spec.load(tmp_path / "x.yaml"), tmp_path)
    assert resolved.hosted == {"openai"}
    assert resolved.contact == "me@example.com"
    assert resolved.prices.version.startswith("genai-prices")
    assert "sk-of-the-file" not in repr(resolved)


def test_wrong_servers_and_wrong_prices_are_reported_together(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TEXT + "prices: nowhere.yaml\n")
    (tmp_path / "servers.yaml").write_text("box: {provider: unheard-of}\n")
    with pytest.raises(InvalidInput) as error:
        resolve(spec.load(tmp_path / "x.yaml"), tmp_path)
    assert "unheard-of" in str(error.value)
    assert "nowhere.yaml" in str(error.value)
