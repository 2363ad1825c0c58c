"""Connections go only to addresses that may be asked: what is forbidden is not even connected to."""

from __future__ import annotations

import socket

import pytest
import requests

from service.net import connections
from service.net.outbound import session
from tests.fhir.servers import reply, serving


def resolving(monkeypatch, *addresses: str) -> None:
    """Every name leads to these addresses, in this order."""

    def found(_name, port, *_more):
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(connections.socket, "getaddrinfo", found)


def test_a_forbidden_address_sees_no_connection() -> None:
    with serving(reply()) as server:
        with pytest.raises(requests.ConnectionError, match="not allowed"):
            session(loopback=False).get(server.base, timeout=5)
        assert server.connections == 0
        assert session(loopback=True).get(server.base, timeout=5).status_code == 200


def test_of_several_addresses_only_the_allowed_ones_are_tried_one_after_the_other(monkeypatch) -> None:
    with serving(reply()) as server:
        resolving(monkeypatch, "169.254.169.254", "127.0.0.9", "127.0.0.1")  # forbidden, nobody there, here
        port = server.base.split(":")[2].partition("/")[0]
        assert session(loopback=True).get(f"http://ehr.example:{port}", timeout=5).status_code == 200
        assert server.seen[0].headers["host"] == f"ehr.example:{port}"
        resolving(monkeypatch, "169.254.169.254", "224.0.0.1")
        with pytest.raises(requests.ConnectionError, match="not allowed"):
            session(loopback=True).get(f"http://other.example:{port}", timeout=5)
    assert server.connections == 1
