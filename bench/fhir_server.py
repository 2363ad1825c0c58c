"""A FHIR server that answers each query of one synthetic chart after a fixed delay: `python -m bench.fhir_server`."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import cache, partial
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from bench.bodies import small

Resource = dict[str, Any]
ENCOUNTER = {"resourceType": "Encounter", "status": "in-progress", "class": {"code": "IMP"}}


def answer(chart: list[Resource], target: str) -> bytes:
    """The HTTP answer to a read or a search, with codes, `_count` and newest-first order heeded."""
    parts = urlsplit(target)
    kind, _, ident = parts.path.removeprefix("/fhir/").partition("/")
    found = [resource for resource in chart if resource["resourceType"] == kind]
    content = _read(found, ident) if ident else _searchset(found, parse_qs(parts.query))
    if kind == "metadata":  # asked once in development mode
        content = {"resourceType": "CapabilityStatement"}
    body = msgspec.json.encode(content)
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/fhir+json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def chart_of(call: bytes) -> list[Resource]:
    """Every resource that a hook call carries in its prefetch, and the encounter it names."""
    said = msgspec.json.decode(call)
    values = said["prefetch"].values()
    bundled = [entry["resource"] for value in values for entry in value.get("entry", ())]
    single = [value for value in values if value["resourceType"] != "Bundle"]
    return [*single, *bundled, ENCOUNTER | {"id": said["context"]["encounterId"]}]


def _read(found: list[Resource], ident: str) -> Resource:
    return next(resource for resource in found if resource["id"] == ident)


def _searchset(found: list[Resource], asked: dict[str, list[str]]) -> Resource:
    if codes := {token for text in asked.get("code", ()) for token in text.split(",")}:
        found = [each for each in found if codes & {f"{c['system']}|{c['code']}" for c in each["code"]["coding"]}]
        found = sorted(found, key=lambda each: str(each["effectiveDateTime"]), reverse=True)
    page = found[: int(asked.get("_count", ["1000"])[0])]
    entries = [{"fullUrl": f"urn:uuid:{each['id']}", "resource": each, "search": {"mode": "match"}} for each in page]
    return {"resourceType": "Bundle", "type": "searchset", "total": len(found), "entry": entries}


async def _converse(
    find: Callable[[str], bytes], delay: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    with suppress(asyncio.IncompleteReadError, ConnectionError):  # the caller has gone
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            await asyncio.sleep(delay)
            writer.write(find(head.split(b" ", 2)[1].decode("ascii")))
            await writer.drain()
    writer.close()


async def _serve(port: int, delay: float) -> None:
    find = cache(partial(answer, chart_of(small())))
    server = await asyncio.start_server(partial(_converse, find, delay), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("port", type=int)
    arguments.add_argument("delay", type=float, help="seconds before each answer")
    asyncio.run(_serve(**vars(arguments.parse_args())))
