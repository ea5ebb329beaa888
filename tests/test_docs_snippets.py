"""Every command and every snippet of README and docs/ is run, read by what reads it in use, or named here with the reason."""

from __future__ import annotations

import datetime as dt
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import jinja2
import pytest
import typer.main
import yaml

from harness import cli
from harness.experiment import attached, servers, spec
from harness.money.price_file import PriceFile
from tests.agents import archives
from tests.reports.synthetic import FakeArm, make_run, sessions

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^ *```(\S*)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
COMMANDS = ("console", "bash")

RUN_HERE = re.compile(
    r"plan |doctor --repo|report |export |schema|snapshot (show|check)|init |roles suggest|status|token create"
)
"""Commands that need neither a key nor a model server: they are executed, and end with exit code 0."""
RUN_ELSEWHERE = {
    "run": "needs the models of its experiment; whole runs are in tests/harness/test_run.py",
    "find": "as run; tests/harness/test_find.py",
    "doctor": "needs keys and servers; tests/harness/test_doctor.py",
    "worker": "serves until it is stopped; tests/harness/test_compose.py",
    "proxy": "serves until it is stopped; tests/gateway",
    "replay": "needs models; tests/harness/test_replay_models.py",
    "serve": "serves until it is stopped; tests/service",
    "decide": "needs the models of its experiment; tests/service",
    "check": "needs a clone of the program; tests/gateway",
    "snapshot": "freeze needs a live source; tests/harness/test_freeze.py",
}
OTHER_MACHINES = (
    "sudo", "nvidia-smi", "docker", "git clone", "git push", "git remote", "git filter-repo", "git count-objects", "uv",
    "pip install", "redis-server", "cp -r results", "curl", "python -m benchmarks.gpu", "python -m tests.agents.test_identity",
)  # fmt: skip
"""What belongs to another machine, needs the network, a GPU or a container engine, or is run by a test of its own."""
SHELL = (
    "cd ",
    "(cd ",
    "source .venv/bin/activate",
    ". .venv/bin/activate",
    "python3 -m venv",
    "export ",
    "echo ",
    "printf ",
    "mkdir ",
    "cp .env.example",
    "make ",
)


@dataclass(frozen=True)
class Snippet:
    page: str
    language: str
    text: str


def snippets(*languages: str) -> list[Snippet]:
    found = [Snippet(page.name, *match) for page in PAGES for match in FENCE.findall(page.read_text())]
    return [each for each in found if not languages or each.language in languages]


def commands() -> list[str]:
    """Every single command, without prompt, comment and the address of Python."""
    lines = [line.strip().removeprefix("$ ") for each in snippets(*COMMANDS) for line in each.text.splitlines()]
    parts = [part.strip() for line in lines for part in re.split(r"&& ", re.sub(r"\s+#.*", "", line))]
    plain = [part.removeprefix(".venv/bin/").replace("python -m harness", "harness", 1) for part in parts]
    return sorted({part for part in plain if part and not part.startswith("#")})


HARNESS = [shlex.split(each.partition(" > ")[0])[1:] for each in commands() if each.startswith("harness ")]


def test_every_block_names_its_language() -> None:
    known = {*COMMANDS, "yaml", "python", "sql", "jinja", "markdown", "text", "json"}
    assert [(each.page, each.text[:60]) for each in snippets() if each.language not in known] == []


def test_every_command_is_ours_or_is_named_with_the_reason() -> None:
    others = [each for each in commands() if not each.startswith("harness ")]
    assert [each for each in others if not each.startswith((*OTHER_MACHINES, *SHELL))] == []


def test_every_target_of_make_exists() -> None:
    targets = sorted({word for each in commands() if each.startswith("make ") for word in each.split()[1:]})
    makefile = (ROOT / "Makefile").read_text()
    assert [name for name in targets if not re.search(rf"^{name}:", makefile, re.MULTILINE)] == []


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the commands name: experiments, an archive, and runs."""
    folder = tmp_path_factory.mktemp("docs")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    for name in ("own_metrics.py", "own_provider.py", "own_section.py", "own_source.py"):
        shutil.copy(ROOT / "experiments" / name, folder)
    shutil.copy(ROOT / "experiments" / "quick.yaml", folder / "EXPERIMENT.yaml")
    bars = [bar for ticker in ("AAPL", "SPY") for bar in archives.bars(ticker, dt.date(2023, 5, 1), dt.date(2025, 6, 30))]
    archives.write(folder / "archive", "prices", bars)
    arms = {"gpt-5": FakeArm(), "local": FakeArm("llama3.1:8b", "ollama", None)}
    for experiment in ("RUN", "RUN_B", "EXPERIMENT", "mine", "tradingagents"):
        where = folder / "results" / experiment / "20260101-000000-aaaa"
        make_run(where, arms=arms, tickers=("AAPL",), dates=sessions("2025-09-02", 2))
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    return folder


@pytest.mark.parametrize("words", HARNESS, ids=" ".join)
def test_a_command_is_understood_and_runs_where_it_can(
    words: list[str], place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("experiments/mine.yaml", "experiments/x.yaml", "later.yaml", "demo.yaml"):
        if not (place / name).exists():
            shutil.copy(place / "EXPERIMENT.yaml", place / name)
    monkeypatch.chdir(place)
    line = " ".join(words)
    if not RUN_HERE.match(line):
        assert words[0] in RUN_ELSEWHERE, f"say in RUN_ELSEWHERE why {line!r} is not run here"
        _parsed(words)
        return
    monkeypatch.setattr("sys.argv", ["harness", *words])
    code = cli._run(cli.build())
    said = capsys.readouterr()
    assert code == 0, said.out + said.err


def _parsed(words: list[str]) -> None:
    """Raises click's error for an option or argument that does not exist."""
    command: Any = typer.main.get_command(cli.build())
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    command.make_context("harness", list(words)).close()


# --- snippets -------------------------------------------------------------------------------------------------------------

BASE: dict[str, Any] = {
    "name": "documented",
    "tickers": ["AAPL"],
    "dates": ["2010-03-01"],
    "data": "demo",
    "models": {
        "gpt-6.1-sol": {"provider": "openai", "model": "gpt-6.1-sol"},
        "qwen3-8b": {"provider": "ollama", "model": "qwen3:8b"},
    },
}
"""What the fragments of an experiment file leave out."""
YAML = [each for each in snippets("yaml") if each.page != "providers.md"]
"""The recipes of providers.md are read in tests/harness/test_provider_recipes.py."""


@pytest.mark.parametrize("snippet", YAML, ids=lambda each: f"{each.page}: {each.text.splitlines()[0][:30]}")
def test_yaml_is_read_without_an_error(snippet: Snippet, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(place))
    read: dict[str, Any] = yaml.safe_load(snippet.text)
    if "prices" in read and "version" in read:
        PriceFile.model_validate(read)
    elif "rules" in read:
        (place / "rules.yaml").write_text(snippet.text)
        assert attached.roles_of(place / "rules.yaml").names
    elif "repos" in read:
        assert [hook["entry"].split()[:2] for repo in read["repos"] for hook in repo["hooks"]] == [["harness", "doctor"]]
    elif "jobs" in read:
        assert read["jobs"]["compare"]["steps"][-1]["with"].keys() == {"experiment", "budget"}
    elif "services" in read:
        assert {"BACKEND_URL", "OLLAMA_BASE_URL"} == read["services"]["app"]["environment"].keys()
        (network,) = read["networks"].values()
        stack = yaml.safe_load((ROOT / "docker-compose.gpu.yml").read_text())
        assert network == {"name": f"{stack['name']}_default", "external": True}, "the network that the stack makes"
    elif all(isinstance(part, dict) and "provider" in part for part in read.values()):
        for part in read.values():
            servers.ServerPart.model_validate(part)
    else:
        own_servers = read.pop("servers", None)
        (place / "own.yaml").write_text(yaml.safe_dump(BASE | read, sort_keys=False))
        spec.load(place / "own.yaml")
        for part in (own_servers or {}).values():
            servers.ServerPart.model_validate(part)


@pytest.mark.parametrize("snippet", snippets("python"), ids=lambda each: f"{each.page}: {each.text.splitlines()[0][:30]}")
def test_python_imports_what_exists(snippet: Snippet) -> None:
    """The examples of extending.md and own-pipeline.md are run in tests/test_additions.py and tests/agents/test_custom.py."""
    compile(snippet.text, snippet.page, "exec")
    for module, names in re.findall(
        r"^from ((?:agents|domain|harness|reports)[\w.]*) import (.+)$", snippet.text, re.MULTILINE
    ):
        imported = import_module(module)
        assert [name for name in names.split(", ") if not hasattr(imported, name)] == []


@pytest.mark.parametrize("snippet", snippets("jinja"), ids=lambda each: each.page)
def test_templates_are_templates(snippet: Snippet) -> None:
    jinja2.Environment(autoescape=True).parse(snippet.text)
