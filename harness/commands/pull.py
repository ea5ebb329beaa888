"""`pull`: load an experiment's models onto their Ollama servers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.commands.options import ExperimentFile, Servers

if TYPE_CHECKING:
    from agents import Server


def pull(
    experiment: ExperimentFile,
    servers: Servers = None,
) -> None:
    """Pull every Ollama model of an experiment that its server lacks; no other command pulls models."""
    import asyncio

    from domain.providers import PROVIDERS
    from harness.experiment import servers as machines
    from harness.experiment import spec

    loaded = spec.load(experiment)
    specs = machines.load(servers, loaded, experiment.resolve().parent, models=loaded.models)
    wanted = {
        (part.server or part.provider, part.model) for part in loaded.models.values() if PROVIDERS[part.provider].pull_command
    }
    for server, model in sorted(wanted):
        asyncio.run(_pull(specs[server].as_agents_server(), model))
    if not wanted:
        print("no model of this experiment is served by Ollama")


async def _pull(server: Server, model: str) -> None:
    """Raises InvalidInput if the server fails."""
    from agents import ModelCallError
    from agents import pull as lines
    from harness.errors import InvalidInput, Problem

    last_line = ""
    try:
        async for line in lines(server, model):
            if line != last_line:
                print(f"{model}: {line}", flush=True)
            last_line = line
    except ModelCallError as error:
        raise InvalidInput(
            [Problem(f"server {server.name}", str(error), "start Ollama there, or fix the model's name")]
        ) from error
