"""Addresses of servers as people write them in environment variables."""

from __future__ import annotations

from ipaddress import ip_address

_THIS_MACHINE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses that a server listens on, and where a client of this machine reaches it."""
_TRIMMED = " \t\r\n\"'"
_PORTS = {"http": 80, "https": 443}


def http_url(written: str) -> str:
    """The URL of an address that may lack its scheme."""
    text = written.strip(_TRIMMED)
    return (text if "://" in text else f"http://{text}").replace("://0.0.0.0", "://127.0.0.1")


def ollama_url(written: str) -> str:
    """The URL behind a value of OLLAMA_HOST, by the rules of Ollama's own client.

    Scheme, host and port may each be left out: `0.0.0.0`, `:11701`, `box`, `[::1]`. Without a scheme the port defaults to
    11434, with one to the scheme's own. A port that is no number counts as left out.
    """
    scheme, separator, rest = written.strip(_TRIMMED).partition("://")
    if not separator:
        scheme, rest = "http", scheme
        if rest == "ollama.com":
            scheme, rest = "https", "ollama.com:443"
    default_port = _PORTS.get(scheme, 11434) if separator else 11434
    authority, _, path = rest.partition("/")
    host, port = _host_and_port(authority)
    host = _THIS_MACHINE.get(host, host)
    port_number = int(port) if port.isascii() and port.isdecimal() and int(port) <= 65535 else default_port
    url = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port_number}"
    return f"{url}/{path}".rstrip("/")


def _host_and_port(authority: str) -> tuple[str, str]:
    """Host without brackets and port; an IPv6 address may have no brackets if it has no port."""
    try:
        return str(ip_address(authority.strip("[]"))), ""
    except ValueError:
        host, _, port = authority.rpartition(":") if ":" in authority else (authority, "", "")
        return host.strip("[]"), port
