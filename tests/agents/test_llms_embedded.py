"""The embedded tiny models: real weights, one computing at a time on this machine."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from agents import Answer, CallSite, Clients, Model, PromptTooLong, Server, Unsupported, ask, probe
from agents.llms import embedded_server, weights
from tests.agents.admissions import RATING, OpenAdmission, question
from tests.fixtures.runs import wait_for

SMOL = Model("smollm2", "llamacpp", "smollm2-135m", {"num_ctx": 2048, "max_output_tokens": 80, "seed": 1}, "embedded")
GEMMA = replace(SMOL, alias="gemma", name="gemma3-270m")
SERVER = Server("embedded", "llamacpp")
ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(bool(weights.missing_parts("smollm2-135m")), reason="no weights: make models")


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One loop, so that the embedded server stays between the tests of this file."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def clients(loop: asyncio.Runner) -> Iterator[Clients]:
    kept = Clients({"embedded": SERVER}, owner="the tests")
    loop.run(kept.warm(SMOL))
    yield kept
    loop.run(kept.aclose())


def asked(loop: asyncio.Runner, clients: Clients, model: Model, text: str, **more: object) -> Answer:
    request = question(model, text, **more)
    return loop.run(ask(CallSite("trader"), request, OpenAdmission(), clients))


def test_an_answer_comes_with_counts_and_llama_cpps_own_times(loop: asyncio.Runner, clients: Clients) -> None:
    answer = asked(loop, clients, SMOL, "Name three risks of owning a single stock.")
    assert answer.text
    assert answer.usage.input_tokens
    assert answer.usage.output_tokens
    assert answer.timing.prefill_s
    assert answer.timing.decode_s
    assert answer.timing.duration_s is not None
    assert answer.timing.prefill_s + answer.timing.decode_s <= answer.timing.duration_s
    assert answer.model_digest == weights.WEIGHTS["smollm2-135m"].sha256
    assert (answer.model_returned, answer.context_window) == ("smollm2-135m", 2048)


def test_a_schema_always_parses(loop: asyncio.Runner, clients: Clients) -> None:
    typed = json.loads(asked(loop, clients, SMOL, "Rate AAPL.", schema=RATING).text)
    assert typed["rating"] in ("Buy", "Hold", "Sell")


def test_a_shared_beginning_comes_from_the_cache(loop: asyncio.Runner, clients: Clients) -> None:
    shared = "The price closed higher on heavy volume. " * 60
    asked(loop, clients, SMOL, shared + "You are the bull.", max_output_tokens=8)
    answer = asked(loop, clients, SMOL, shared + "You are the bear.", max_output_tokens=8)
    assert answer.usage.input_tokens is not None
    assert answer.usage.cached_tokens is not None
    assert answer.usage.cached_tokens > 0.9 * answer.usage.input_tokens


def test_a_prompt_that_cannot_fit_is_refused(loop: asyncio.Runner, clients: Clients) -> None:
    with pytest.raises(PromptTooLong, match="2048"):
        asked(loop, clients, SMOL, "word " * 3000)


def test_the_same_seed_gives_the_same_words(loop: asyncio.Runner, clients: Clients) -> None:
    said = {asked(loop, clients, SMOL, "Say something about gold.", max_output_tokens=20).text for _ in range(3)}
    assert len(said) <= 2  # the first one computes the prompt, the later ones take it from the cache


def test_loading_another_model_is_measured_separately(loop: asyncio.Runner, clients: Clients) -> None:
    answer = asked(loop, clients, GEMMA, "The stock market", max_output_tokens=8)
    assert answer.model_returned == "gemma3-270m"
    assert answer.timing.load_s
    assert answer.timing.duration_s is not None
    assert answer.timing.duration_s > answer.timing.load_s
    again = asked(loop, clients, SMOL, "Back.", max_output_tokens=8)
    assert again.model_returned == "smollm2-135m"


def test_requests_of_two_processes_compute_one_after_the_other(loop: asyncio.Runner, clients: Clients) -> None:
    other = subprocess.Popen([sys.executable, "-c", _OTHER], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    other.stdout.readline()
    admission = OpenAdmission()

    async def main() -> None:
        sites = [CallSite("bull", index) for index in range(4)]
        await asyncio.gather(
            *(ask(site, question(SMOL, f"Turn {site.round}", max_output_tokens=30), admission, clients) for site in sites)
        )

    loop.run(main())
    theirs = json.loads(other.communicate(timeout=30)[0])
    spans = sorted(
        [(one.timing.started_at, one.timing.started_at + (one.timing.duration_s or 0)) for one in admission.calls]
        + [(begin, end) for begin, end in theirs]
    )
    assert len(spans) == 7
    assert all(end <= begin + 0.05 for (_, end), (begin, _) in itertools.pairwise(spans))


_OTHER = """
import asyncio, json
from agents import Clients, Model, CallSite, Server, ask
from tests.agents.admissions import OpenAdmission, question
from tests.agents.test_llms_embedded import SERVER, SMOL
async def main():
    admission = OpenAdmission()
    async with Clients({"embedded": SERVER}, "the other") as clients:
        await clients.provider(SMOL).prepare(SMOL)
        print("ready", flush=True)
        requests = [question(SMOL, f"Other {i}", max_output_tokens=30) for i in range(3)]
        await asyncio.gather(*(ask(CallSite("bear", i), one, admission, clients) for i, one in enumerate(requests)))
    print(json.dumps([(c.timing.started_at, c.timing.started_at + c.timing.duration_s) for c in admission.calls]))
asyncio.run(main())
"""

_DIES = """
import asyncio, os, sys
from pathlib import Path
from agents.llms.embedded_client import EmbeddedClient
async def main():
    async with EmbeddedClient("the dying", Path(sys.argv[1])).slot("smollm2-135m", 512):
        os.kill(os.getpid(), 9)
asyncio.run(main())
"""


def test_the_server_goes_away_with_its_last_user_also_when_that_one_is_killed(tmp_path: Path) -> None:
    folder = tmp_path / "room"
    killed = subprocess.run([sys.executable, "-c", _DIES, str(folder)], cwd=ROOT, check=False)
    assert killed.returncode == -9
    server = json.loads(embedded_server.lock_path(folder).read_text())["pid"]
    wait_for(lambda: not Path(f"/proc/{server}").exists(), "the end of the server")
    assert not embedded_server.socket_path(folder).exists()


def test_missing_weights_are_reported_with_the_command_that_installs_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = weights.Weights("0" * 64, "x.gguf", (("no_such_package", "x.gguf"),), "Q4", 2048)
    monkeypatch.setattr(weights, "WEIGHTS", {"smollm2-135m": bad})
    with pytest.raises(Unsupported, match="make models"):
        weights.weight_file("smollm2-135m")


def test_wrong_bytes_are_never_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = weights.WEIGHTS["smollm2-135m"]
    monkeypatch.setattr(weights, "WEIGHTS", {"smollm2-135m": replace(real, sha256="0" * 64)})
    with pytest.raises(Unsupported, match="sha256"):
        weights.weight_file("smollm2-135m")


def test_a_model_in_parts_is_joined_once_and_verified(tmp_path: Path) -> None:
    joined = weights.weight_file("gemma3-270m", tmp_path)
    changed = joined.stat().st_mtime_ns
    assert weights.weight_file("gemma3-270m", tmp_path).stat().st_mtime_ns == changed
    assert [path.name for path in tmp_path.iterdir()] == ["gemma-3-270m-q4_k_m.gguf"]
    joined.write_bytes(b"broken")
    with pytest.raises(Unsupported, match="sha256"):
        weights.weight_file("gemma3-270m", tmp_path)


@pytest.mark.parametrize(
    ("body", "fix"),
    [
        ("raise ImportError('libgomp.so.1: cannot open shared object file')", "apt install libgomp1"),
        ("raise ModuleNotFoundError('No module named xllamacpp')", "pip install"),
    ],
)
def test_a_probe_tells_a_missing_system_library_from_a_missing_package(
    body: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "xllamacpp.py").write_text(body)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "xllamacpp", raising=False)
    report = asyncio.run(probe(SERVER, [SMOL]))
    assert not report.reachable
    assert fix in (report.fix or "")


def test_a_probe_knows_the_embedded_models() -> None:
    unknown = replace(SMOL, alias="unknown", name="llama3")
    report = asyncio.run(probe(SERVER, [SMOL, unknown]))
    assert report.models["smollm2"].present
    assert "smollm2-135m" in str(report.models["unknown"].fix)
