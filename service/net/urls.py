"""Which addresses the service may call: one exact normal form of a URL, compared with the bases a site allows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

Network = IPv4Network | IPv6Network

MAX_LENGTH = 8192
DEFAULT_PORTS = {"https": 443, "http": 80}
_PRINTABLE = re.compile(r"[!-~]*")  # ASCII without blanks
_NAME = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
_NUMERIC_END = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)$")
# A percent sign that hides a dot, a slash, a backslash, another percent sign or a control character, or hides nothing.
_HIDING = re.compile(r"%(?:2[ef5]|5c|[01][0-9a-f]|7f)|%(?![0-9a-f]{2})", re.IGNORECASE)
_NAT64 = IPv6Network("64:ff9b::/96")


class _Place(NamedTuple):
    scheme: str
    host: str
    port: int
    path: str
    query: str

    def __str__(self) -> str:
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}{port}{self.path}" + (f"?{self.query}" if self.query else "")


def normalise(url: str, *, query: bool = False) -> str | None:
    """The one spelling of an absolute https URL (http only to loopback), or None for any that could mean two things.

    Lower-case scheme and host, no default port, no trailing slash; a query only where `query` allows it.
    """
    place = _place(url)
    return None if place is None or (place.query and not query) else str(place)


def allowed_url(url: str, bases: Sequence[str], *, query: bool = False) -> str | None:
    """The normal form of `url` if it is one of `bases` or lies below one (whole path segments), else None."""
    place = _place(url)
    if place is None or (place.query and not query):
        return None
    return str(place) if any(_below(place, base) for base in map(_place, bases) if base) else None


def loopback_url(url: str, *, query: bool = False) -> str | None:
    """The normal form of `url` if its host is this machine, on whatever port, else None."""
    place = _place(url)
    if place is None or not is_loopback(place.host) or (place.query and not query):
        return None
    return str(place)


def is_loopback(host: str) -> bool:
    """True for `localhost`, 127.0.0.0/8 and ::1; no name is looked up."""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def address_allowed(address: str, networks: Sequence[Network], *, loopback: bool) -> bool:
    """May a connection end at this IP address, after DNS has spoken?

    Inside `networks` where a site names them. Otherwise anywhere except what no EHR answers on: link-local (cloud
    metadata), multicast, unspecified, NAT64, and loopback unless `loopback`. Private ranges stay open on purpose: that
    is where a hospital's FHIR server lives, and the list of allowed hosts is the control.
    """
    try:
        ip = _unwrapped(ip_address(address))
    except ValueError:
        return False
    if ip.is_loopback and loopback:
        return True
    if networks:
        return any(ip in network for network in networks)
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip in _NAT64)


def _place(url: str) -> _Place | None:
    if len(url) > MAX_LENGTH or "\\" in url or not _PRINTABLE.fullmatch(url):
        return None
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    scheme, host = parts.scheme, _host(parts)
    if scheme not in DEFAULT_PORTS or host is None or port == 0 or "#" in url or "@" in parts.netloc:
        return None
    if (scheme == "http" and not is_loopback(host)) or not _plain_path(parts.path):
        return None
    return _Place(scheme, host, port or DEFAULT_PORTS[scheme], parts.path.rstrip("/"), parts.query)


def _host(parts: SplitResult) -> str | None:
    """A DNS name, a dotted quad or an IPv6 address in its normal form; None for every other way to write one."""
    name = (parts.hostname or "").removesuffix(".")
    if "[" in parts.netloc:
        return _ipv6(name)
    if _NUMERIC_END.search(name):  # 2130706433, 127.1 and 0x7f.1 are addresses to some resolvers
        return _ipv4(name)
    return name if len(name) <= 253 and _NAME.fullmatch(name) else None


def _ipv4(text: str) -> str | None:
    try:
        return str(IPv4Address(text))
    except ValueError:
        return None


def _ipv6(text: str) -> str | None:
    try:
        ip = IPv6Address(text)
    except ValueError:
        return None
    return None if ip.ipv4_mapped or ip.scope_id else str(ip)


def _plain_path(path: str) -> bool:
    """No dot segments (also not Tomcat's `..;x`), no empty ones, nothing hidden behind a percent sign."""
    segments = [segment.partition(";")[0] for segment in path.rstrip("/").split("/")[1:]]
    return not _HIDING.search(path) and not {"", ".", ".."} & set(segments)


def _below(place: _Place, base: _Place) -> bool:
    return place[:3] == base[:3] and (place.path + "/").startswith(base.path + "/")


def _unwrapped(ip: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return ip.ipv4_mapped or ip if isinstance(ip, IPv6Address) else ip
