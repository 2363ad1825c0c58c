"""`make soak`: the real service among dependencies that break, in one command; exits with 1 if anything failed.

Every part may be run alone. What is printed is Markdown.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from traceback import extract_tb
from types import MappingProxyType

import psycopg
from psycopg import sql

from bench.postgres import programs
from soak import clock, crowd, disk, matrix, nginx, readers, rolling, steady
from soak.faults import Fault
from soak.report import Report
from soak.world import MARKS, NOT_THERE, World, traces, world, written

Options = argparse.Namespace
PARTS: Mapping[str, Callable[[World, Report, Options], None]] = MappingProxyType(
    {
        "matrix": lambda here, report, options: matrix.run(here, report, options.cell),
        "crowd": lambda here, report, _options: crowd.run(here, report),
        "rolling": lambda here, report, options: _rolling(here, report, options.rounds),
        "worker": lambda here, report, _options: rolling.worker_killed(here, report),
        "migrations": lambda here, report, _options: rolling.migrations(here, report),
        "disk": lambda here, report, _options: _disk(here, report),
        "clock": lambda here, report, _options: clock.run(here, report),
        "readers": lambda here, report, _options: readers.run(here, report),
        "nginx": lambda here, report, _options: nginx.run(here, report),
        "steady": lambda here, report, options: steady.run(here, report, options.minutes),
    }
)


def _rolling(here: World, report: Report, rounds: int) -> None:
    rolling.run(here, report, rounds)
    rolling.without_warning(here, report)


def _disk(here: World, report: Report) -> None:
    disk.run(here, report)
    disk.postgresql(here, report)


def cell(words: str) -> tuple[str, Fault]:
    """`fhir:reset`, `postgresql:black-hole`, `jwks:expired-certificate` … as a cell of the matrix."""
    target, _, fault = words.partition(":")
    faults = {each.value.replace(" ", "-"): each for each in Fault}
    if target not in matrix.TARGETS or fault not in faults:
        raise argparse.ArgumentTypeError(f"is one of {', '.join(matrix.TARGETS)}, a colon, one of {', '.join(faults)}")
    return target, faults[fault]


def _minutes(words: str) -> float:
    if (minutes := float(words)) < steady.SHORTEST:
        raise argparse.ArgumentTypeError(f"at least {steady.SHORTEST:g}: less shows no growth; --only leaves it out")
    return minutes


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what is asked for; 0 if all of it is well, 1 if not, 2 where it cannot be run."""
    options = _options(arguments)
    report, began = Report(), time.monotonic()
    if programs() is None:
        report.line(f"Not run: {NOT_THERE}")
        return 2
    _attempt("soak", report, partial(_all, report, options))
    left_out = f", {len(report.left_out)} parts not run" if report.left_out else ""
    report.title(f"After {(time.monotonic() - began) / 60:.1f} minutes: {len(report.failures)} failures{left_out}")
    for what in report.left_out:
        report.line(f"- NOT RUN: {what}")
    for failure in report.failures:
        report.line(f"- {failure}")
    return 1 if report.failures else 0


def _all(report: Report, options: Options) -> None:
    with world() as here:
        for name in options.only or PARTS:
            _attempt(name, report, partial(PARTS[name], here, report, options))
        _attempt("privacy", report, partial(_privacy, here, report))


def _attempt(name: str, report: Report, part: Callable[[], None]) -> None:
    """One part; however it ends the others are run, and there is a verdict."""
    try:
        part()
    except SystemExit as ended:
        if isinstance(ended.code, int):  # we are told to stop
            raise
        report.line(f"{name}: {report.check(name, f'broke off: {ended.code}')}")
    except Exception as error:  # noqa: BLE001  a part that broke has failed, and is named
        at = extract_tb(error.__traceback__)[-1]
        where = f"{Path(at.filename).name}:{at.lineno}"
        report.line(f"{name}: {report.check(name, f'broke off with {type(error).__name__} at {where}')}")


def _options(arguments: Sequence[str] | None) -> Options:
    parser = argparse.ArgumentParser(prog="python -m soak.run", description=__doc__)
    parser.add_argument("--only", action="append", choices=tuple(PARTS), help="this part; may be given several times")
    parser.add_argument("--cell", action="append", type=cell, metavar="TARGET:FAULT", help="of the matrix, this cell")
    parser.add_argument("--minutes", type=_minutes, default=4.0, help="of steady load  [%(default)s]")
    parser.add_argument("--rounds", type=int, default=rolling.ROUNDS, help="of rolling restarts  [%(default)s]")
    options = parser.parse_args(arguments)
    if options.cell and not options.only:
        options.only = ["matrix"]
    return options


def _privacy(here: World, report: Report) -> None:
    """Everything about the patients of a soak is marked: the marks have no place in logs or tables."""
    for replica in here.started:
        replica.scrape()
    databases, rows = _databases(here.database_url), 0
    found = traces(here.folder)
    for url in databases:
        searched, marked = in_tables(url)
        rows += searched
        found += marked
    found += [f"{each.metrics.name}: never read" for each in here.started if not each.metrics.exists()]
    size = sum(file.stat().st_size for file in written(here.folder))
    found += [] if size and rows else ["nothing was written, so nothing was searched"]
    report.title("Patient data in logs, metrics and tables")
    report.line(
        f"{size // 1000} kB of logs and of the metrics of {len(here.started)} replicas, {rows} rows of "
        f"{len(databases)} PostgreSQL and {len(list(here.folder.glob('*.sqlite3')))} SQLite databases searched for the "
        f"marks: {report.check('patient data', *found)}"
    )


def _databases(url: str) -> list[str]:
    """All databases of the server, as URLs."""
    with psycopg.connect(url) as connection:
        names = connection.execute("SELECT datname FROM pg_database WHERE NOT datistemplate").fetchall()
    return [f"{url.rpartition('/')[0]}/{name}" for (name,) in names]


def in_tables(url: str) -> tuple[int, list[str]]:
    """How many rows a PostgreSQL database has, and which of its tables hold something of a patient or a token."""
    rows, found = 0, []
    marks = [f"%{mark}%" for mark in MARKS.values()]
    with psycopg.connect(url) as connection:
        named = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (table,) in named:
            query = sql.SQL("SELECT count(*), count(*) FILTER (WHERE r::text LIKE ANY(%s)) FROM {} AS r")
            counted = connection.execute(query.format(sql.Identifier(table)), [marks]).fetchone() or (0, 0)
            rows += counted[0]
            found += [f"table {table}: {counted[1]} rows with a mark"] if counted[1] else []
    return rows, found


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended then too
    raise SystemExit(main())
