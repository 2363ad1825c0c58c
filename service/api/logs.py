"""Logs: an event a line on stdout, as JSON, with only those members that are listed here: nothing else can slip in."""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from traceback import extract_tb
from typing import Any

import msgspec
import structlog
from structlog.typing import Processor

# Whoever adds a name here has made sure that no value under it can hold anything of a patient, a token or a query.
ALLOWED = frozenset(
    {
        "event", "level", "time", "logger", "request_id", "trace_id",
        "tenant", "issuer", "service", "hook", "route", "method", "status", "kind", "reason", "missing",
        "rules", "indicators", "cards", "failed", "states", "version", "knowledge", "ms", "withheld",
        "new", "duplicates", "unknown_cards", "rejected",
        "error", "trace", "jti", "source", "during", "detail", "waiting", "number", "why",
    }
)  # fmt: skip
LONGEST = 300  # characters of one value
_LIBRARIES_SPEAK_FREELY = ("gunicorn",)  # of processes and signals
Event = MutableMapping[str, Any]


def log_to_stdout(level: str, *, readable: bool) -> None:
    """Send every log of this process, also those of libraries, to stdout: `readable` for people, else as JSON."""
    number = logging.getLevelNamesMapping()[level]
    structlog.configure(
        processors=_processors(structlog.dev.ConsoleRenderer(colors=False) if readable else _json),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(),
    )
    root = logging.getLogger()
    root.handlers[:] = [_Library()]
    root.setLevel(max(number, logging.WARNING))
    for name in ("gunicorn.error", "gunicorn.access", "werkzeug"):  # they bring handlers of their own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def _processors(renderer: Processor) -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        _without_message,
        only_allowed,
        renderer,
    ]


def _without_message(_logger: object, _method: str, event: Event) -> Event:
    """An exception as its type and the lines it passed through; its message may quote a patient."""
    found = event.pop("exc_info", None)
    error = found[1] if isinstance(found, tuple) else found
    if isinstance(error, BaseException):
        event["error"] = type(error).__name__
        event["trace"] = [f"{at.filename}:{at.lineno} {at.name}" for at in extract_tb(error.__traceback__)[-12:]]
    return event


def only_allowed(_logger: object, _method: str, event: Event) -> Event:
    """The event without what is not on the list, and without the rest of what is too long."""
    return {name: _short(value) for name, value in event.items() if name in ALLOWED}


def _short(value: object) -> object:
    return value if not isinstance(value, str) or len(value) <= LONGEST else value[:LONGEST] + "…"


def _json(_logger: object, _method: str, event: Event) -> str:
    return msgspec.json.encode(event, enc_hook=lambda value: type(value).__name__).decode()


class _Library(logging.Handler):
    """The logs of libraries join ours, with the numbers of their messages but without the words put into them."""

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: what cannot be shown is named by its logger alone."""
        structlog.get_logger().log(
            record.levelno, template(record), logger=record.name, exc_info=record.exc_info or None
        )


def template(record: logging.LogRecord) -> str:
    """The message of a library with its numbers filled in and all else left open.

    A message without arguments may have been put together from anything: it is shown only from the server.
    """
    if not record.args:
        speaks_freely = record.name.startswith(_LIBRARIES_SPEAK_FREELY)
        return str(record.msg) if speaks_freely and isinstance(record.msg, str) else "a library's message, not shown"
    words = record.msg if isinstance(record.msg, str) else ""
    if not isinstance(record.args, tuple):
        return words
    shown = (value if isinstance(value, int | float) else "…" for value in record.args)
    try:
        return words % tuple(shown)
    except (TypeError, ValueError):
        return words
