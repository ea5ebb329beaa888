"""`proxy`: the gateway as a service for programs that run elsewhere."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import HostNames, Results


def proxy(
    name: Annotated[str, typer.Option(help="Name of the results folder.")],
    model: Annotated[
        list[str],
        typer.Option(help="TIER=MODEL: deep or quick, and provider/model or a name of --models. Repeat it."),
    ],
    map_: Annotated[
        list[str] | None, typer.Option("--map", help="Program's model name=deep, quick or role; default: any=role. Repeat it.")
    ] = None,
    models: Annotated[Path | None, typer.Option(help="File with models: and servers:, as for replay.")] = None,
    servers: Annotated[Path | None, typer.Option(help="servers.yaml to use; default: the one in this folder.")] = None,
    roles: Annotated[Path | None, typer.Option(help="Rules that name roles, before the shipped ones.")] = None,
    prices: Annotated[Path | None, typer.Option(help="Your own price file, as in an experiment.")] = None,
    monthly_usd: Annotated[
        float | None,
        typer.Option(
            min=0,
            envvar="HARNESS_PROXY_MONTHLY_USD",
            help="Most that hosted models may cost in a month; required if one is mapped.",
        ),
    ] = None,
    silence: Annotated[str, typer.Option(help="A case without a label ends after so long without a call.")] = "10m",
    token: Annotated[
        str | None, typer.Option(envvar="HARNESS_PROXY_TOKEN", help="Part of the address; default: a new one.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.")] = 8091,
    host_name: HostNames = None,
    results: Results = "results",
    broker: Annotated[
        str | None,
        typer.Option(
            envvar="HARNESS_BROKER", help="Redis of a service whose jobs count to the same cap; default: a private one."
        ),
    ] = None,
) -> None:
    """Carry calls of any program to these models: recorded, priced, capped; report NAME shows them."""
    from harness.proxy import serving

    options = serving.ProxyOptions(
        name=name,
        models=tuple(model),
        names=tuple(map_ or ()),
        models_file=models,
        servers_file=servers,
        roles_file=roles,
        prices_file=prices,
        monthly_usd=monthly_usd,
        silence=silence,
        token=token,
        host=host,
        port=port,
        host_names=tuple(host_name or ()),
        results=results,
        broker=broker,
    )
    raise typer.Exit(serving.serve(options, functools.partial(print, flush=True)))
