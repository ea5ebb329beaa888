"""Serve an ASGI application from this process: loopback by default, and only to requests that name an allowed host."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from harness.errors import InvalidInput, Problem

if TYPE_CHECKING:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.routing import BaseRoute
    from starlette.types import ASGIApp

T = TypeVar("T")
LOOPBACK = "127.0.0.1"
LOOPBACK_HOSTS = (LOOPBACK, "localhost")
_START_S = 10.0
_GRACE_S = 2
"""Seconds that open requests get when the server stops."""


def guarded_app(routes: Sequence[BaseRoute], hosts: Sequence[str] = LOOPBACK_HOSTS) -> Starlette:
    """An application that answers 400 to any other Host header: a foreign page whose name resolves here gets nothing."""
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    guard = Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    return Starlette(routes=list(routes), middleware=[guard])


@contextlib.contextmanager
def serving(app: ASGIApp, host: str = LOOPBACK, port: int = 0) -> Iterator[str]:
    """Serve from a thread while the block runs; yields the URL. Port 0: any free one. Raises InvalidInput if it is taken."""
    listener = listen(host, port)
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, name="web", daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(_START_S)
        listener.close()


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """A socket that accepts connections, so that a client may connect before the server has started. Raises InvalidInput.

    `shared`: further processes that ask for it may listen at the same address, and the kernel spreads connections over them.

    It names its protocol, because asyncio turns Nagle's algorithm off only for such sockets: an answer in two writes would wait
    40 ms for the client's acknowledgement."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        problem = f"cannot listen on {host}:{port}: {error.strerror or error}"
        raise InvalidInput([Problem("--port", problem, "end the program that uses it, or choose another port")]) from error
    listener.listen(1024)
    return listener


def make_server(app: ASGIApp) -> uvicorn.Server:
    """A uvicorn server without log output of its own; `server.run(sockets=[listen(host, port)])` blocks until a signal."""
    import uvicorn

    config = uvicorn.Config(
        app, http="h11", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=_GRACE_S, server_header=False
    )
    return uvicorn.Server(config)


def event_loop_runner() -> Callable[[Coroutine[Any, Any, T]], T]:
    """uvloop's `run` if it is installed (not on Windows), else asyncio's: a call costs a fifth less CPU time."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run
    return uvloop.run
