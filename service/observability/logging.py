"""Logs: an event a line on stdout, as JSON, with only those members that are listed here: nothing else can slip in."""

from __future__ import annotations

import atexit
import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from functools import partial
from hashlib import sha256
from queue import SimpleQueue
from threading import Thread
from time import sleep
from traceback import extract_tb
from types import SimpleNamespace
from typing import Any

import msgspec
import structlog
from structlog.typing import Processor

# Whoever adds a name here has made sure that no value under it can hold anything of a patient, a token or a query.
ALLOWED = frozenset(
    {
        "event", "level", "time", "logger", "request_id", "trace_id",
        "tenant", "issuer", "service", "hook", "route", "method", "status", "kind", "reason", "missing",
        "rules", "indicators", "cards", "failed", "states", "version", "knowledge", "ms", "withheld", "repeated", "silent",
        "new", "duplicates", "unknown_cards", "rejected",
        "error", "trace", "jti", "source", "during", "detail", "waiting", "number", "why",
    }
)  # fmt: skip
MAX_VALUE_LENGTH = 300  # characters of one value
_LIBRARIES_SPEAK_FREELY = ("gunicorn",)  # of processes and signals
_LIBRARIES_SPEAK_SELDOM = ("opentelemetry",)  # they complain of every batch that a collector does not take
_THROTTLE_SECONDS = 60.0  # seconds
MAX_QUEUED = 4096  # lines that may wait to be written: those of some busy seconds, a few MB
_GATHERING = 0.02  # s, in which lines come together; those of the last moment are lost if the process is killed
_PAUSE, _LONGEST_PAUSE = 0.02, 0.5  # s between attempts while nothing can be written
_AT_THE_END = 1.0  # s in which what waits may still be written
Event = MutableMapping[str, Any]
LineWriter = Callable[[str], object]
_at_once: LineWriter = partial(print, flush=True)


def log_to_stdout(level: str, *, readable: bool, write: LineWriter = _at_once) -> None:
    """Send every log of this process, also those of libraries, to stdout: `readable` for people, else as JSON.

    `write` prints a line; in a service that is `non_blocking`.
    """
    number = logging.getLevelNamesMapping()[level]
    logger = SimpleNamespace(**dict.fromkeys(("debug", "info", "warning", "error", "critical"), write))
    structlog.configure(
        processors=_processors(structlog.dev.ConsoleRenderer(colors=False) if readable else _json),
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_names: logger,
    )
    root = logging.getLogger()
    root.handlers[:] = [_Library()]
    root.setLevel(max(number, logging.WARNING))
    for name in ("gunicorn.error", "gunicorn.access", "werkzeug"):  # they bring handlers of their own
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def non_blocking(on_drop: Callable[[], object]) -> LineWriter:
    """Prints a line on stdout without waiting and without ever raising: see `BufferedLineWriter`.

    To be called in the process that logs, after a fork. Where stdout was closed from the start, another file may have
    its number by now: then nothing is written.
    """
    lines = BufferedLineWriter(-1 if sys.stdout is None else 1, on_drop)
    atexit.register(lines.close)
    return lines.put


class BufferedLineWriter:
    """A bounded queue of lines, and the thread that writes them to the file with this number, in order and whole.

    A reader that stalls or has gone, and a disk that is full, hold up the thread alone: it tries again for ever. Once
    `MAX_QUEUED` lines wait, each further one is dropped and `on_drop` called.
    """

    def __init__(self, file: int, on_drop: Callable[[], object]) -> None:
        self._file, self._on_drop = file, on_drop
        self._lines: SimpleQueue[str] = SimpleQueue()  # unlike Queue it may be used by a handler of signals
        self._ending = False
        self._thread = Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def put(self, line: str) -> None:
        """Queue the line, or drop it."""
        if self._lines.qsize() < MAX_QUEUED:
            self._lines.put(line + "\n")
        else:
            self._on_drop()

    def close(self) -> None:
        """Write what waits, for a second at most."""
        self._ending = True
        self._lines.put("")  # wakes the thread
        self._thread.join(_AT_THE_END)

    def _run(self) -> None:
        while not (self._ending and self._lines.empty()):
            found = [self._lines.get()]
            sleep(_GATHERING)
            found += [self._lines.get() for _ in range(self._lines.qsize())]
            self._write("".join(found).encode("utf-8", "replace"))

    def _write(self, text: bytes) -> None:
        """Not by `sys.stdout`: it has a lock, for which a process that ends would wait or crash."""
        pause = _PAUSE
        while text:
            try:
                text = text[os.write(self._file, text) :]
                pause = _PAUSE
            except OSError:
                sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)


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


def digest(sent: str) -> str:
    """What stands in the log for an id that somebody else made: 32 hexadecimal digits of its SHA-256.

    >>> digest("r-1")  # as `printf %s r-1 | sha256sum | cut -c1-32`
    'a5fa777a3dc67268caea6eea038ba141'
    """
    return sha256(sent.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def only_allowed(_logger: object, _method: str, event: Event) -> Event:
    """The event without what is not on the list, and without the rest of what is too long."""
    return {name: _short(value) for name, value in event.items() if name in ALLOWED}


def _short(value: object) -> object:
    return value if not isinstance(value, str) or len(value) <= MAX_VALUE_LENGTH else value[:MAX_VALUE_LENGTH] + "…"


def _json(_logger: object, _method: str, event: Event) -> str:
    return msgspec.json.encode(event, enc_hook=lambda value: type(value).__name__).decode()


class _Library(logging.Handler):
    """The logs of libraries join ours, with the numbers of their messages but without the words put into them."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(throttle())

    def emit(self, record: logging.LogRecord) -> None:
        """Never raises: what cannot be shown is named by its logger alone."""
        level = min(max(record.levelno // 10, 1), 5) * 10  # libraries may have levels between those that have a name
        structlog.get_logger().log(level, template(record), logger=record.name, exc_info=record.exc_info or None)


def template(record: logging.LogRecord) -> str:
    """The message of a library with its numbers filled in and all else left open.

    A message without arguments may have been put together from anything: it is shown only from the server, and of that
    what stands before a colon, after which it quotes requests that it could not read.
    """
    if not record.args:
        speaks_freely = record.name.startswith(_LIBRARIES_SPEAK_FREELY)
        text = record.msg if speaks_freely and isinstance(record.msg, str) else "a library's message, not shown"
        return text.partition(": ")[0]
    words = record.msg if isinstance(record.msg, str) else ""
    if not isinstance(record.args, tuple):
        return words
    shown = (value if isinstance(value, int | float) else "…" for value in record.args)
    try:
        return words % tuple(shown)
    except (TypeError, ValueError):
        return words


def throttle() -> Callable[[logging.LogRecord], bool]:
    """A filter that lets each line of the code of some libraries speak once a minute."""
    spoke: dict[tuple[str, int], float] = {}

    def passes(record: logging.LogRecord) -> bool:
        place = (record.pathname, record.lineno)
        if record.name.startswith(_LIBRARIES_SPEAK_SELDOM):
            if abs(record.created - spoke.get(place, 0.0)) < _THROTTLE_SECONDS:
                return False
            spoke[place] = record.created
        return True

    return passes
