"""Start a proxy from the options of its command line, and serve it until a signal."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import gc
import re
import secrets
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
from pydantic import ValidationError

import agents
from domain import units
from domain.providers import BUILT_IN, provider_of
from harness.checking import preflight
from harness.checking.resolved import ResolvedRun
from harness.errors import InvalidInput, Problem
from harness.experiment import matrix, models_file
from harness.experiment.attached import TIERS, Attached, roles_of
from harness.experiment.spec import Experiment
from harness.gateway.server import LocalServer
from harness.proxy.proxy import Proxy, ProxyTerms, manifest
from harness.queue.private_redis import private_redis
from harness.storage.folder import open_folder
from harness.storage.store import Store
from harness.web.server import event_loop_runner

_NO_CAP = "pass --monthly-usd AMOUNT; in the compose stack, set PROXY_MONTHLY_USD in .env"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+-]{0,63}")
_PLACEHOLDER_DATE = "2000-01-03"
"""An experiment has dates; the cases of a proxy bring their own."""


@dataclass(frozen=True)
class ProxyOptions:
    """The options of `harness proxy`."""

    name: str
    models: tuple[str, ...]
    names: tuple[str, ...] = ()
    models_file: Path | None = None
    servers_file: Path | None = None
    roles_file: Path | None = None
    prices_file: Path | None = None
    monthly_usd: float | None = None
    silence: str = "10m"
    token: str | None = None
    host: str = "127.0.0.1"
    port: int = 8091
    host_names: tuple[str, ...] = ()
    results: str = "results"
    broker: str | None = None
    """A shared Redis: its jobs and experiments count to the same cap. Default: a private one."""


def serve(options: ProxyOptions, say: Callable[[str], None]) -> int:
    """Serve until SIGTERM or SIGINT; returns the exit code. Raises InvalidInput with what must be fixed."""
    silence_s = _silence_s(options.silence)
    resolved = preflight.look(
        experiment(options),
        experiment_dir=Path.cwd(),
        servers_file=options.servers_file,
        results=options.results,
        freezes=False,
    ).require()
    if resolved.hosted and options.monthly_usd is None:
        hosted = ", ".join(sorted(resolved.hosted))
        raise InvalidInput([Problem("--monthly-usd", f"{hosted} bills by token, and no cap is set", _NO_CAP)])
    # The first call to each provider would import its client while its program waits.
    agents.preload()
    # What is loaded stays: to look through it for garbage takes a twentieth of the CPU time of a call.
    gc.collect()
    gc.freeze()
    token = options.token or secrets.token_urlsafe(32)
    program = Attached(
        ("proxy",),
        Path.cwd(),
        Path.cwd(),
        models={"deep": "deep", "quick": "quick", "*": "role", **_pairs("--map", options.names, TIERS)},
        roles=roles_of(options.roles_file),
    )
    terms = ProxyTerms(options.name, token, program, silence_s, frozenset(options.host_names))
    while _serve_month(_month(), terms, options, resolved, say):
        say("a new month begins: a new run, and a new cap")
    return 0


def _month() -> str:
    return f"{dt.datetime.now(dt.UTC):%Y-%m}"


def _serve_month(
    month: str, terms: ProxyTerms, options: ProxyOptions, resolved: ResolvedRun, say: Callable[[str], None]
) -> bool:
    """Serve one month, which is one run with one cap; returns whether it ended because the month is over."""
    store = Store(open_folder(options.results).at(f"{options.name}/{month}"))
    store.folder.write("experiment.yaml", resolved.experiment.to_yaml().encode())
    store.write_manifest(store.manifest() | manifest(terms, resolved, month))
    with _redis(options, store) as broker:
        return event_loop_runner()(_serve(terms, options, resolved, store, month, broker, say))


@contextlib.contextmanager
def _redis(options: ProxyOptions, store: Store) -> Iterator[str]:
    """--broker, else a private Redis of the month."""
    if options.broker:
        try:
            with redis.Redis.from_url(options.broker) as client:
                client.ping()
        except (redis.RedisError, ValueError) as error:
            raise InvalidInput([Problem("--broker", f"Redis does not answer: {error}", "start it, or fix the URL")]) from error
        yield options.broker
        return
    with private_redis(_redis_folder(options.results, store)) as broker:
        yield broker


async def _serve(
    terms: ProxyTerms,
    options: ProxyOptions,
    resolved: ResolvedRun,
    store: Store,
    month: str,
    broker: str,
    say: Callable[[str], None],
) -> bool:
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    proxy = Proxy(terms, resolved, store, month, broker, say)
    server = LocalServer(proxy, options.host, options.port)
    await server.start()
    # A client cannot connect to the address that means all networks; in a container it uses the service's name.
    is_everywhere = options.host in ("0.0.0.0", "::")
    host = next(iter(options.host_names), "127.0.0.1") if is_everywhere else options.host
    address = f"http://{host}:{server.port}/c/{terms.token}"
    say(f"OPENAI_BASE_URL={address}/v1\nBACKEND_URL={address}/v1\nOLLAMA_BASE_URL={address}/v1\nOLLAMA_HOST={address}")
    for line in _lineup(resolved, options):
        say(line)
    say(f"name a case by the header X-Case: TICKER@DATE or by the path: {address}/TICKER@DATE/v1")
    say(f"results: {store.folder.url}; its report: python -m harness report {options.name}")
    try:
        await proxy.run(stopped, lambda: _month() != month)
    finally:
        await server.stop()
    return not stopped.is_set()


def _lineup(resolved: ResolvedRun, options: ProxyOptions) -> Iterator[str]:
    """Which model answers for which tier, and what may be spent."""
    for tier, model in matrix.lineup(resolved.experiment, matrix.arms(resolved.experiment)[options.name]).items():
        if tier in ("deep", "quick"):
            server = resolved.servers[model.server or model.provider]
            yield f"{tier}: {model.name} at {server.url} ({'hosted' if server.is_hosted else 'self-hosted'})"
    if resolved.hosted:
        yield f"hosted models: at most {options.monthly_usd:,.2f} USD a month (UTC), then their calls are refused"


def _silence_s(text: str) -> float:
    try:
        return units.seconds(text)
    except ValueError as error:
        raise InvalidInput([Problem("--silence", str(error), "write --silence 10m")]) from error


def experiment(options: ProxyOptions) -> Experiment:
    """One arm with the proxy's models. Raises InvalidInput."""
    if not _NAME.fullmatch(options.name):
        form = "letters, digits and . _ : + -, at most 64, the first a letter or digit"
        raise InvalidInput([Problem("--name", f"{options.name!r} is no name of a results folder", f"use {form}")])
    file = models_file.load(options.models_file) if options.models_file else None
    declared = {name: part.model_dump(exclude_none=True) for name, part in file.models.items()} if file else {}
    tiers = _pairs("--model", options.models)
    if unknown := set(tiers) - {"deep", "quick", "all"}:
        raise InvalidInput(
            [Problem("--model", f"unknown tier {', '.join(sorted(unknown))}; known: deep, quick, all", "write deep=MODEL")]
        )
    parts = {name: declared.get(name) or _model(name) for name in tiers.values()}
    one_for_all = next(iter(tiers.values())) if len(tiers) == 1 else None
    plain: dict[str, Any] = {
        "name": options.name,
        "tickers": ["PROXY"],
        "dates": [_PLACEHOLDER_DATE],
        "models": {_alias(name): part for name, part in parts.items()},
        "arms": {options.name: {"all": _alias(one_for_all)} if one_for_all else {t: _alias(n) for t, n in tiers.items()}},
        "pipeline": {"command": ["proxy"], "folder": "."},
        "prices": str(options.prices_file) if options.prices_file else None,
        "budget": {} if options.monthly_usd is None else {"month_usd": options.monthly_usd},
    }
    try:
        return Experiment.model_validate(plain).at(Path.cwd())
    except ValidationError as error:
        problems = [Problem(".".join(map(str, each["loc"])), each["msg"], "correct the option") for each in error.errors()]
        raise InvalidInput(problems) from error


def _model(text: str) -> dict[str, Any]:
    """`provider/model`, or a name alone: of the vendor whose names begin so, else one that a server of one's own pulls."""
    provider, slash, name = text.partition("/")
    if slash and provider in BUILT_IN:
        return {"provider": provider, "model": name}
    return {"provider": provider_of(text).name, "model": text}


def _alias(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._:+-]", "-", name)[:64]


def _pairs(option: str, texts: tuple[str, ...], allowed: tuple[str, ...] = ()) -> dict[str, str]:
    pairs = dict(text.partition("=")[::2] for text in texts)
    for left, right in pairs.items():
        if not right or (allowed and right not in allowed):
            known = f"; known: {', '.join(allowed)}" if allowed else ""
            raise InvalidInput([Problem(option, f"cannot read {left}={right}{known}", f"write {option} NAME=VALUE")])
    return pairs


def _redis_folder(results: str, store: Store) -> Path:
    """Next to the results, or in a temporary folder where these are elsewhere."""
    if "://" in results:
        return Path(tempfile.gettempdir()) / f"harness-proxy-{store.folder.url.rpartition('/')[2]}"
    return Path(store.folder.url) / "redis"
