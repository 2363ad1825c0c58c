"""The one way out: an HTTP session that follows no redirect, reads no environment and checks where it ended up."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from service.net.connections import AddressFilter, pools
from service.net.deadline import DeadlineResponse
from service.net.urls import Network, address_allowed


def session(
    networks: Sequence[Network] = (),
    *,
    loopback: bool,
    ca_bundle: Path | None = None,
    connections: int = 16,
) -> requests.Session:
    """A session whose every connection is dropped before a byte is sent if its peer's address is not allowed.

    Environment proxies, `.netrc` and retries are off; callers pass `allow_redirects=False` and a timeout.
    """
    out = requests.Session()
    out.trust_env = False
    out.max_redirects = 0
    out.verify = str(ca_bundle) if ca_bundle else True
    adapter = _CheckingAdapter(partial(address_allowed, networks=networks, loopback=loopback), connections)
    out.mount("https://", adapter)
    out.mount("http://", adapter)
    return out


class _CheckingAdapter(HTTPAdapter):
    def __init__(self, address_filter: AddressFilter, connections: int) -> None:
        self._address_filter = address_filter
        super().__init__(pool_connections=connections, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = pools(self._address_filter, DeadlineResponse)
