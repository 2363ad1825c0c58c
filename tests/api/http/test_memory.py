"""The service as a process of its own, with as many of the worst bodies at once as may run: it fits into its pod.

The measure is the peak of its resident memory, which is what a container's limit counts.
"""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tests.api.apps import BASE, ISSUER, KEY, bearer
from tests.cli.test_server import BODY, port, said, serving  # noqa: F401  fixtures
from tests.cli.test_server import connected as connect

POD_MB = 512
TOGETHER = 8  # callers; more than large bodies may be worked on
LENGTH = 4_990_000
OPEN = {"/v1/calculations/femg"}  # needs no token
VIEW = "/cds-services/magnesium-patient-view"
BATCH, OPERATION = "/v1/evaluate/batch", "/fhir/$evaluate-magnesium"


def filled(before: bytes, item: bytes, after: bytes, length: int = LENGTH) -> bytes:
    """A body of this length: one item again and again, a comma between them."""
    number = (length - len(before) - len(after)) // (len(item) + 1)
    return before + item + (b"," + item) * (number - 1) + after


def keys(before: bytes, after: bytes, length: int = LENGTH) -> bytes:
    """A body with as many different keys."""
    listed = ",".join(f'"{number:x}":0' for number in range((length - len(before) - len(after)) // 10))
    return before + listed.encode() + after


def in_call(member: str) -> tuple[bytes, bytes]:
    """What stands before and after the value of a further member of a good call."""
    return BODY[:-1] + f',"{member}":'.encode(), b"}"


def with_resource(kind: str, start: bytes, item: bytes, end: bytes, length: int = LENGTH) -> bytes:
    """A call whose prefetch holds one resource with a long list, between `start` and `end`."""
    call = msgspec.json.encode(msgspec.json.decode(BODY) | {"prefetch": {"magnesium": 0}})
    before, after = call.split(b'"magnesium":0')
    head = b'"magnesium":{"resourceType":"' + kind.encode() + b'","id":"a",'
    return filled(before + head + start, item, end + b"}" + after, length)


EVALUATED = b'{"bundle":{"resourceType":'
OBSERVATION = b'{"resource":{"resourceType":"Observation","code":{"coding":[' + b",".join([b"{}"] * 5000) + b"]}}}"
ITEMS = b",".join([b"{}"] * 1_000_000)
BODIES = {
    "calculation": ("/v1/calculations/femg", filled(b'{"a":[', b"1.1", b"]}")),
    "extension": (VIEW, filled(in_call("extension")[0] + b"[", b"[]", b"]}")),
    "hook": (VIEW, filled(b'{"hook":[', b"[]", b"]}")),
    "expires": (VIEW, filled(in_call("fhirAuthorization")[0] + b'{"expires_in":[', b"[]", b"]}}")),
    "numbers": (VIEW, filled(in_call("fhirAuthorization")[0] + b'{"expires_in":', b"1", b"}}")),
    "members": (VIEW, keys(BODY[:-1] + b",", b"}")),
    "prefetch": (VIEW, keys(b'{"prefetch":{', b"}}")),
    "context": (VIEW, keys(b'{"context":{', b"}}")),
    "selections": ("/cds-services/magnesium-order-select", filled(b'{"context":{"selections":[', b'"ab"', b"]}}")),
    "components": (VIEW, with_resource("Observation", b'"component":[', b"{}", b"]")),
    "codings": (VIEW, with_resource("Observation", b'"code":{"coding":[', b"{}", b"]}")),
    "names": (VIEW, with_resource("Patient", b'"name":[', b"{}", b"]")),
    "odd components": (VIEW, with_resource("Observation", b'"component":[', b"0", b"]")),
    "most codings": (VIEW, with_resource("Observation", b'"code":{"coding":[', b"{}", b"]}", 740_000)),
    "most entries": ("/v1/evaluate", filled(EVALUATED + b'"Bundle","entry":[', b'{"resource":{}}', b"]}}", 300_000)),
    "entries": ("/v1/evaluate", filled(EVALUATED + b'"Bundle","entry":[', b"{}", b"]}}")),
    "evaluated": ("/v1/evaluate", filled(EVALUATED + b'"Observation","component":[', b"{}", b"]}}")),
    "many observations": ("/v1/evaluate", filled(EVALUATED + b'"Bundle","entry":[', OBSERVATION, b"]}}")),
    "most observations": ("/v1/evaluate", filled(EVALUATED + b'"Bundle","entry":[', OBSERVATION, b"]}}", 740_000)),
    "feedback": (f"{VIEW}/feedback", filled(b'{"feedback":[', b"[]", b"]}", 660_000)),
    "batch of long lines": (BATCH, (EVALUATED + b'"Observation","component":[' + ITEMS + b"]}}\n") * 6),
    "batch of long charts": (
        BATCH,
        (filled(EVALUATED + b'"Bundle","entry":[', OBSERVATION, b"]}}", 740_000) + b"\n") * 26,
    ),
    "batch of short lines": (BATCH, b'{"bundle":[]}\n' * 4_999),
    "parameters": (OPERATION, filled(b'{"resourceType":"Parameters","parameter":[', b"{}", b"]}")),
    "parameter": (
        OPERATION,
        filled(b'{"resourceType":"Parameters","parameter":[{"valueCodeableConcept":{"coding":[', b"{}", b"]}}]}"),
    ),
    "explained": ("/explain", filled(EVALUATED + b'"Observation","component":[', b"{}", b"]}}")),
    "blanks": (VIEW, b"{" + b" " * LENGTH + b"}"),
}


def peak_mb(process: int) -> float:
    """The most memory that the processes of the server have held, in MB."""
    family = [process, *(int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split())]
    peaks = (re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{one}/status").read_text()) for one in family)
    return sum(int(found[1]) for found in peaks if found) / 1024


@pytest.mark.parametrize("name", BODIES)
def test_as_many_of_the_worst_bodies_as_may_run_fit_into_the_pod(serving, port, name):  # noqa: F811
    path, body = BODIES[name]
    with serving(threads=32) as process:
        answers = together(port, path, body, [""] * TOGETHER)
        assert said_well(port)
        used = peak_mb(process.pid)
    print(f"{name}: {used:.0f} MB, {sorted(answers)}")
    assert used < 0.8 * POD_MB
    assert "500" not in answers


@pytest.mark.parametrize("proved", [False, True], ids=["without a token", "with a token"])
@pytest.mark.parametrize("name", ["calculation", "extension", "components", "codings", "many observations", "feedback"])
def test_and_so_they_do_in_production_mode(serving, port, tmp_path, name, proved):  # noqa: F811
    path, body = BODIES[name]
    (tmp_path / "keys.json").write_bytes(msgspec.json.encode({"keys": [KEY.as_dict(private=False)]}))
    tenant = f'[[tenant]]\nname = "clinic"\niss = "{ISSUER}"\njwks_file = "keys.json"\n'
    site = f'[service]\npublic_urls = ["{BASE}"]\n{tenant}'
    store = f"sqlite:///{tmp_path}/production.sqlite3"
    now = int(time.time())
    proofs = [bearer(path, iat=now, exp=now + 300)["Authorization"] if proved else "" for _ in range(TOGETHER)]
    with serving(threads=32, site=site, MAGNESIUM_CDS_MODE="production", DATABASE_URL=store) as process:
        answers = together(port, path, body, proofs)
        used = peak_mb(process.pid)
        assert process.poll() is None
    print(f"{name}: {used:.0f} MB, {sorted(answers)}")
    assert used < 0.8 * POD_MB
    assert "500" not in answers
    assert ("401" in answers) == (not proved and path not in OPEN), answers


def together(port: int, path: str, body: bytes, proofs: list[str]) -> list[str]:  # noqa: F811
    """The statuses of so many calls at once, each with its own `Authorization`; "" where the answer was cut."""

    def send(proof: str) -> str:
        kind = "application/x-ndjson" if path == BATCH else "application/json"
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nConnection: close\r\n"
        head += f"Authorization: {proof}\r\n" if proof else ""
        with connect(port) as link:
            try:
                link.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
            except ConnectionError:
                return ""  # answered before all was read
            return said(link)[9:12].decode()

    with ThreadPoolExecutor(len(proofs)) as callers:
        return list(callers.map(send, proofs))


def said_well(port: int) -> bool:  # noqa: F811
    """Does the service still answer a usual call?"""
    head = f"POST {VIEW} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n"
    with connect(port) as link:
        link.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        return said(link).startswith(b"HTTP/1.1 200")
