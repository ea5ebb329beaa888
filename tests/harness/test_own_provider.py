"""A provider of a user's own: named by an experiment, billed unless servers.yaml says otherwise, and never the end of a run."""

from __future__ import annotations

import asyncio
import shutil
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import yaml

from agents.errors import Unsupported
from agents.llms import own
from agents.llms.failures import CallFailed
from agents.types import Server
from domain import hosting, user_code
from domain.providers import PROVIDERS
from domain.user_code import UserCodeError
from harness.service import accepted_keys
from tests.fixtures.runs import HOSTED, ROOT, Lab

NAME = "own_provider:Plain"
HEAD = "from agents.llms.own import OwnProvider\n\n\nclass Mine(OwnProvider):\n    "


def served_by(lab: Lab, **server: object) -> None:
    """One arm on the example's provider."""
    shutil.copy(ROOT / "experiments" / "own_provider.py", lab.folder)
    model = {"provider": NAME, "model": HOSTED, "server": "mine"}
    lab.experiment(models={"mine": model})
    mine = {"provider": NAME, "url": f"{lab.fake.url}/v1", "api_key_env": "FAKE_KEY"} | server
    (lab.folder / "servers.yaml").write_text(yaml.safe_dump({"mine": mine}))


def test_the_example_decides_and_its_calls_are_priced_and_carry_its_hash(lab: Lab) -> None:
    served_by(lab)
    lab.run("--yes")

    calls = lab.rows("calls")
    assert {call["outcome"] for call in calls} == {"answered"}
    assert {call["provider"] for call in calls} == {f"{NAME}@{user_code.digest(lab.folder / 'own_provider.py')[:12]}"}
    assert {call["cost_basis"] for call in calls} == {"api_price"}
    assert all(call["cost_usd"] > 0 for call in calls)


def test_a_cap_holds_for_it_and_a_higher_one_pays_only_for_the_rest(lab: Lab) -> None:
    served_by(lab)
    described = yaml.safe_load((lab.folder / "lab.yaml").read_text())
    (lab.folder / "lab.yaml").write_text(yaml.safe_dump(described | {"budget": {"run_usd": 0.06}}))
    lab.fake.control(defaults={"output_tokens": 500})

    lab.run("--yes", expect=3)

    (cell,) = lab.rows("cells")
    costs_usd = [call["cost_usd"] for call in lab.rows("calls") if call["outcome"] == "answered"]
    assert (cell["status"], cell["error_type"], cell["rating"]) == ("over_budget", "cap_run", None)
    assert 0 < len(costs_usd) == lab.paid()["answered"]
    assert 0 < sum(costs_usd) <= 0.06
    assert cell["cost_usd"] == pytest.approx(sum(costs_usd))

    lab.run("--budget", "5")

    assert [cell["status"] for cell in lab.rows("cells")] == ["ok"]
    answered = [call for call in lab.rows("calls") if call["outcome"] == "answered"]
    assert len(costs_usd) < len(answered) == lab.paid()["answered"]


def test_the_plan_counts_a_provider_of_a_user_as_hosted_also_at_a_private_address(lab: Lab) -> None:
    served_by(lab)

    assert "mine is hosted: a provider of your own bills by token" in " ".join(lab.harness("plan", "lab.yaml").split())


@pytest.mark.parametrize(("declared", "is_hosted"), [(None, True), (True, True), (False, False)])
def test_only_servers_yaml_makes_it_self_hosted(declared: bool | None, is_hosted: bool) -> None:
    record = PROVIDERS["a.b:C@0123456789ab"]

    assert hosting.hosting_of(record, "http://127.0.0.1:9", declared).is_hosted is is_hosted


def test_what_its_code_raises_is_a_failed_call_that_names_file_and_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents.llms.wire import Wire

    (tmp_path / "raising_provider.py").write_text(HEAD + "async def answer(self, request):\n        return 1 / 0\n")
    (tmp_path / "returning_provider.py").write_text(HEAD + "async def answer(self, request):\n        return 7\n")
    monkeypatch.chdir(tmp_path)
    for module, problem in (
        ("raising_provider", "raising_provider.py, line 6: ZeroDivisionError: division by zero"),
        ("returning_provider", "returning_provider.py: answer returned int; return an Answer"),
    ):
        client = own.connect(Server("mine", own.declare_provider(f"{module}:Mine")), "test")
        with pytest.raises(CallFailed, match=problem):
            asyncio.run(client.send(None, None, Wire()))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("module", "text", "problem"),
    [
        ("broken_provider", "x = 1\nraise RuntimeError('no')\n", "broken_provider.py, line 2: RuntimeError: no"),
        ("foreign_provider", "class Mine: ...\n", "Mine is no class derived from"),
        ("absent_provider", None, "no module 'absent_provider' here"),
    ],
)
def test_code_that_cannot_be_used_is_refused(
    module: str, text: str | None, problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UserCodeError, match=problem):
        own.declare_provider(f"{module}:Mine")


def test_a_worker_with_another_file_refuses_to_ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other_provider.py").write_text(HEAD + "...\n")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(Unsupported, match=r"other_provider.py is not the file of this run"):
        own.connect(Server("mine", "other_provider:Mine@0123456789ab"), "worker")


def test_an_entry_point_is_named_instead_of_a_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_provider.py").write_text(HEAD + "...\n")
    monkeypatch.chdir(tmp_path)
    installed = EntryPoints([EntryPoint("acme", "acme_provider:Mine", own.GROUP)])
    monkeypatch.setattr(own, "entry_points", lambda **wanted: installed.select(**wanted))

    assert own.declare_provider("acme").startswith("acme_provider:Mine@")


def test_a_provider_of_a_user_is_refused_over_http_unless_the_served_experiment_has_it() -> None:
    submitted = {"models": {"mine": {"provider": "os:path", "model": "x"}}}

    (problem,) = accepted_keys.problems(submitted, {"models": {"a": {"provider": "openai", "model": "x"}}})
    assert problem.where == "models.mine.provider"
    assert accepted_keys.problems(submitted, submitted) == []


def test_the_docs_show_the_example_that_ships() -> None:
    shipped = (ROOT / "experiments" / "own_provider.py").read_text().partition("import httpx")[2]

    assert "import httpx" + shipped in (ROOT / "docs" / "your-code.md").read_text()
