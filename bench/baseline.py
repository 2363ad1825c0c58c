"""The bare minimum to compare with: Flask routes that only read, parse, or parse and write the same body again."""

from __future__ import annotations

import json

import flask

app = flask.Flask(__name__)


def _answer(body: str) -> flask.Response:
    return flask.Response(body, mimetype="application/json")


@app.post("/drain")
def drain() -> flask.Response:
    """The body is read, nothing is done with it."""
    flask.request.get_data(cache=False)
    return _answer('{"cards": []}')


@app.post("/parse")
def parse() -> flask.Response:
    """The body is parsed."""
    json.loads(flask.request.get_data(cache=False))
    return _answer('{"cards": []}')


@app.post("/echo")
def echo() -> flask.Response:
    """The body is parsed and written again: the yardstick."""
    return _answer(json.dumps(json.loads(flask.request.get_data(cache=False))))
