"""Checks of the arms of an experiment: tools, custom pipelines, attached programs, and models that unload each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from urllib.parse import urlsplit

import agents
from agents import Model
from domain.models import calls_tools_by_responses_only
from domain.providers import PROVIDERS
from harness.checking.checks import Check, fail, ok, warn
from harness.checking.models_check import KnownModel
from harness.checking.resolved import ResolvedRun
from harness.experiment.matrix import ResolvedArm

LOADED = "models of arm"
"""How the names of checks begin that warn of models which may unload each other."""


def checks(resolved: ResolvedRun, models: Iterable[KnownModel]) -> Iterator[Check]:
    """Each thing that an arm needs besides its models."""
    arms, known = resolved.arms, {model.model.alias: model for model in models}
    yield from _stay_loaded(arms, known, resolved.environment)
    yield from _context_sizes(arms, known)
    yield from _entries(arms)
    yield from _programs(arms, resolved.environment)
    yield from _tools(arms, known)


def _stay_loaded(
    arms: Mapping[str, ResolvedArm], models: Mapping[str, KnownModel], environment: Mapping[str, str]
) -> Iterator[Check]:
    """Warn of arms with several models on one Ollama server, which reports neither its limit nor its free memory.

    No warning if the models are loaded together now, or if the variable of a server on this machine allows as many.
    """
    keeping = {alias: model for alias, model in models.items() if PROVIDERS[model.model.provider].keeps_models}
    for arm in arms.values():
        by_server: dict[str, dict[str, KnownModel]] = {}
        for model in arm.lineup.values():
            if model.alias in keeping:
                by_server.setdefault(model.server, {})[model.name] = keeping[model.alias]
        for server, asked in by_server.items():
            if len(asked) > 1 and not _are_loaded_together(asked.values()) and _limit(asked.values(), environment) < len(asked):
                problem = (
                    f"its roles ask {' and '.join(sorted(asked))} on server {server}, which may load one at each change of role"
                )
                fix = f"start that Ollama with OLLAMA_MAX_LOADED_MODELS of at least {len(asked)}, and memory for all of them"
                yield warn(f"{LOADED} {arm.name}", problem, fix)


def _context_sizes(arms: Mapping[str, ResolvedArm], models: Mapping[str, KnownModel]) -> Iterator[Check]:
    """Warn of a model that is asked with several context sizes, which its server loads again at every change."""
    loaded = {alias: model for alias, model in models.items() if PROVIDERS[model.model.provider].loads_weights}
    arms_of: dict[tuple[str, str], dict[int, list[str]]] = {}
    for arm in arms.values():
        for model in {model.alias: model for model in arm.lineup.values() if model.alias in loaded}.values():
            sizes = arms_of.setdefault((loaded[model.alias].server.name, model.name), {})
            sizes.setdefault(_context_tokens(model), []).append(arm.name)
    for (server, model_name), sizes in arms_of.items():
        names = sorted(set(chain.from_iterable(sizes.values())))
        if len(sizes) < 2:
            continue
        shown = ", ".join(f"{size} ({' '.join(sorted(set(sizes[size])))})" for size in sorted(sizes))
        inside = any(sum(arm in users for users in sizes.values()) > 1 for arm in names)
        when = "every change of role" if inside else "every change of arm"
        problem = f"{model_name} on server {server} is asked with num_ctx {shown}, so the server loads it again at {when}"
        fix = f"write the same num_ctx for it everywhere, for example {max(sizes)}"
        yield warn(f"{LOADED}{'s' if len(names) > 1 else ''} {', '.join(names)}", problem, fix)


def _context_tokens(model: Model) -> int:
    return int(model.params.get("num_ctx") or PROVIDERS[model.provider].implied["num_ctx"])


def _are_loaded_together(models: Iterable[KnownModel]) -> bool:
    return all(model.report is not None and model.report.size_bytes for model in models)


def _limit(models: Iterable[KnownModel], environment: Mapping[str, str]) -> int:
    """OLLAMA_MAX_LOADED_MODELS of a server on this machine as far as our own environment shows it; 0 if unknown."""
    is_here = all(urlsplit(model.server.address).hostname in ("127.0.0.1", "localhost", "::1") for model in models)
    written = environment.get("OLLAMA_MAX_LOADED_MODELS", "")
    return int(written) if is_here and written.isascii() and written.isdecimal() else 0


def _tools(arms: Mapping[str, ResolvedArm], models: Mapping[str, KnownModel]) -> Iterator[Check]:
    """Models that analysts with tools ask, and whose API refuses tools."""
    lineups = [arm.lineup for arm in arms.values() if arm.pipeline.inputs == "tools"]
    asked = {lineup[role].alias: lineup[role] for lineup in lineups for role in agents.analyst_roles() if role in lineup}
    for alias, model in asked.items():
        spec = models[alias].server if alias in models else None
        if spec and calls_tools_by_responses_only(model.name) and not spec.uses_responses:
            problem = f"{model.name} calls tools only by OpenAI's Responses API, and {spec.name} is asked by Chat Completions"
            yield fail(
                f"tools of {model.alias}", problem, f"api: responses for {spec.name} in servers.yaml, or inputs: prefetch"
            )
        if model.provider == "anthropic" and model.params.get("thinking_tokens"):
            problem = f"{model.name} must be shown its own thinking after each tool call, which is not recorded"
            yield fail(f"tools of {model.alias}", problem, "remove thinking_tokens, or inputs: prefetch")


def _entries(arms: Mapping[str, ResolvedArm]) -> Iterator[Check]:
    """Custom pipelines that cannot be called."""
    entries = {arm.pipeline.entry for arm in arms.values()}
    for entry in sorted(filter(None, entries)):
        try:
            agents.check_entry(entry)
        except agents.PipelineError as error:
            yield fail("pipeline.entry", str(error), "change the function as docs/own-pipeline.md shows")


def _programs(arms: Mapping[str, ResolvedArm], environment: Mapping[str, str]) -> Iterator[Check]:
    """Attached programs that cannot be started here."""
    seen = set[tuple[str, ...]]()
    for program in (arm.program for arm in arms.values() if arm.program):
        missing = [value[1:] for value in program.env.values() if value.startswith("$")]
        missing = [name for name in missing if name not in environment]
        place = (str(program.folder), *program.command, *missing)
        if place in seen:
            continue
        seen.add(place)
        if not program.folder.is_dir():
            yield fail("pipeline.folder", f"{program.folder} is no folder", "clone the program there, or correct the path")
        elif missing:
            yield fail("pipeline.env", f"{', '.join(missing)} not set on this machine", "set it, or write it to .env")
        else:
            yield ok("attached program", f"{' '.join(program.command)} in {program.folder}")
