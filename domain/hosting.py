"""Whether a server bills by token (hosted) or costs hardware time (self-hosted): decided here, once per server.

No name is resolved: the decision depends on what is written, not on the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

from domain.providers import Provider

_PRIVATE = tuple(
    ip_network(network)
    for network in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "169.254.0.0/16", "fc00::/7", "fe80::/10")
)
_LOCAL_DOMAINS = (".local", ".internal", ".lan")
_VENDOR_ONLY = re.compile(r"(?:.*[/:.])?(?:gpt-[56](?!\d)|claude|gemini)", re.IGNORECASE)
"""Names of models that only their vendors sell, also behind a publisher's name; gpt-oss has open weights."""


@dataclass(frozen=True)
class Host:
    """Where an address points, as far as its text shows."""

    name: str
    kind: str
    """loopback | private | single-label | local domain | public."""

    @property
    def is_public(self) -> bool:
        return self.kind == "public"

    @property
    def is_elsewhere_in_private(self) -> bool:
        """Whether it is another machine of a private network, which may forward to a vendor."""
        return self.kind in ("private", "single-label", "local domain")

    @property
    def description(self) -> str:
        return {
            "loopback": f"{self.name} is this machine",
            "private": f"{self.name} is a private address",
            "single-label": f"{self.name} is a name without a domain",
            "local domain": f"{self.name} is a name of a local network",
            "public": f"{self.name} is a public address",
        }[self.kind]


@dataclass(frozen=True)
class Hosting:
    """The class of a server, and why."""

    is_hosted: bool
    why: str

    @property
    def label(self) -> str:
        return "hosted" if self.is_hosted else "self-hosted"


def hosting_of(provider: Provider, url: str | None, declared: bool | None) -> Hosting:
    """`hosted:` if declared, else the provider's default at its own address, else by host.

    `url` is the address as resolved; None means the provider's own."""
    if declared is not None:
        return Hosting(declared, f"hosted: {str(declared).lower()} in servers.yaml")
    if provider.is_own:
        return Hosting(True, "a provider of your own bills by token unless servers.yaml says hosted: false")
    if is_own_address(provider, url):
        what = "bills by token" if provider.is_hosted else "computes on this machine"
        return Hosting(provider.is_hosted, f"{provider.name} at its own address {what}")
    host = host_of(url or "")
    return Hosting(host.is_public, host.description)


def is_own_address(provider: Provider, url: str | None) -> bool:
    """Whether an address is the provider's own: nothing is declared, or its own host or a regional one is spelled out."""
    return url is None or (provider.url is not None and reaches(url, provider.url))


def reaches(url: str, home: str) -> bool:
    """Whether an address has the host of another, or a name below it such as a region's."""
    host, home_host = ((urlsplit(each).hostname or "").lower() for each in (url, home))
    return host == home_host or host.endswith(f".{home_host}")


def takes_cache_marks(provider: Provider, url: str | None, declared: bool | None, model: str) -> bool:
    """Whether a server's prompt cache takes breakpoints: as declared, else by the model at the provider's own address."""
    if declared is not None:
        return declared
    return is_own_address(provider, url) and provider.has_marked_cache(model)


def host_of(url: str) -> Host:
    """The host of an address. Raises ValueError for an address that cannot be one."""
    name = (urlsplit(url).hostname or "").rstrip(".")
    if not name:
        raise ValueError(f"{url!r} names no host")
    return Host(name, _kind(name))


def is_vendor_only(model: str) -> bool:
    """Whether only its vendor sells a model of this name, so that some request to it is always billed."""
    return _VENDOR_ONLY.match(model) is not None


def _kind(host: str) -> str:
    try:
        address = ip_address(host)
    except ValueError:
        return _kind_of_name(host)
    return _kind_of_address(address)


def _kind_of_name(host: str) -> str:
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    if "." not in host:
        return "single-label"
    return "local domain" if host.endswith(_LOCAL_DOMAINS) else "public"


def _kind_of_address(address: IPv4Address | IPv6Address) -> str:
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback or address.is_unspecified:
        return "loopback"
    return "private" if any(address in network for network in _PRIVATE) else "public"
