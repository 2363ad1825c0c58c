"""The yardsticks: Flask routes that do a known little with the same body, in a server with the settings of the service.

`python -m bench.baseline` serves them on PORT under gunicorn with one worker, as many threads as `magnesium-cds serve`,
and what was imported frozen out of the collections of garbage, as the service does.
"""

from __future__ import annotations

import gc
import json
import os
from typing import Any

import flask
import msgspec

from service.server import Server

app = flask.Flask(__name__)
THREADS = 128  # as the service has unless it is told otherwise
NO_CARDS = b'{"cards": []}'
SERUM_MAGNESIUM, LOW = "19123-9", 1.7  # LOINC; mg/dL
WASTING = ("A02BC", "C03A", "C03C", "L01XA")  # ATC: proton pump inhibitors, thiazides, loop diuretics, platinum


class Coding(msgspec.Struct):
    """A code in a system."""

    system: str = ""
    code: str = ""


class Concept(msgspec.Struct):
    """A thing by its codes."""

    coding: list[Coding] = []


class Amount(msgspec.Struct):
    """A number; the unit is taken for granted here."""

    value: float = 0.0


class Resource(msgspec.Struct):
    """What one rule needs of laboratory results and drugs."""

    status: str = ""
    code: Concept | None = None
    effectiveDateTime: str = ""  # noqa: N815
    valueQuantity: Amount | None = None  # noqa: N815
    medicationCodeableConcept: Concept | None = None  # noqa: N815


class Entry(msgspec.Struct):
    """An entry of a Bundle."""

    resource: Resource


class Sent(msgspec.Struct):
    """A Bundle, or a resource that has no entries."""

    entry: list[Entry] = []


class Call(msgspec.Struct):
    """A hook call."""

    prefetch: dict[str, Sent]


_CALL = msgspec.json.Decoder(Call)


@app.post("/drain")
def drain() -> flask.Response:
    """The body is read, nothing is done with it."""
    _body()
    return _answer(NO_CARDS)


@app.post("/parse")
def parse() -> flask.Response:
    """The body is parsed."""
    json.loads(_body())
    return _answer(NO_CARDS)


@app.post("/echo")
def echo() -> flask.Response:
    """The body is parsed and written again."""
    return _answer(json.dumps(json.loads(_body())))


@app.post("/rule")
def rule() -> flask.Response:
    """One rule on the members it needs: the latest serum magnesium is low, and drugs that waste it are taken."""
    resources = [entry.resource for sent in _CALL.decode(_body()).prefetch.values() for entry in sent.entry]
    results = [(r.effectiveDateTime, r.valueQuantity.value) for r in resources if r.valueQuantity and _is_magnesium(r)]
    latest = max(results, default=("", LOW))[1]
    if latest >= LOW:
        return _answer(NO_CARDS)
    drugs = sum(map(_wastes, resources))
    summary = f"Serum magnesium {latest} mg/dL; {drugs} drugs that waste magnesium"
    card = {"summary": summary, "indicator": "warning", "source": {"label": "Baseline"}}
    return _answer(msgspec.json.encode({"cards": [card]}))


def _is_magnesium(resource: Resource) -> bool:
    coded = resource.code.coding if resource.code else ()
    ours = any(coding.code == SERUM_MAGNESIUM and coding.system == "http://loinc.org" for coding in coded)
    return ours and resource.status in {"final", "amended", "corrected"}


def _wastes(resource: Resource) -> bool:
    coded = resource.medicationCodeableConcept.coding if resource.medicationCodeableConcept else ()
    return resource.status == "active" and any(coding.code.startswith(WASTING) for coding in coded)


def _body() -> bytes:
    return flask.request.get_data(cache=False)


def _answer(body: str | bytes) -> flask.Response:
    return flask.Response(body, mimetype="application/json")


class _Baseline(Server):
    """The server of the service with another application."""

    def load_config(self) -> None:
        """With gunicorn's own threaded worker: what ours needs more is a cost of the service."""
        super().load_config()
        self.cfg.set("worker_class", "gthread")

    def load(self) -> Any:
        """The yardsticks."""
        gc.collect()
        gc.freeze()
        return app


if __name__ == "__main__":
    _Baseline("127.0.0.1", int(os.environ["PORT"]), THREADS).run()
