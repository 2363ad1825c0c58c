"""`make bench`: what a hook call costs, as ratios to yardsticks that are measured in the same run.

Every figure is a ratio of blocks that alternate, so that whatever else the machine does meets both sides; CPU is the
servers' own user and system time. Absolute times mean nothing on a shared machine; the ratios do. A goal that is missed
is printed as missed and ends nothing: this measures, the tests judge.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path

from bench import bodies, calls, fallback, growth, instructions, population, replicas, threads
from bench.report import Figure, keep, show

NAMES = ("small", "large", "instructions", "growth", "fallback", "threads", "replicas", "population")
OURS, SHARED = Path("ours"), Path("../shared/bench/bodies")
LEGEND = """\
Yardsticks, which get the same bodies: drain reads them, parse parses them, echo parses and writes them again, rule
decodes what one rule needs and answers with a card. They run in gunicorn with the settings of the service: one worker,
as many threads; on both sides what was imported is kept out of the collection of garbage (gc.freeze). Shown: the median
of the rounds, [smallest to largest]; CPU is user and system time of the server; the service is also charged what it
uses while the yardsticks have their turns, storing what it answered and waiting. No tokens in development mode; "with
ES384", "with RS384": a signed token, another one each time; "and the repeat guard": every reader is another, so that
each card is new. Instructions are those of user space, as valgrind counts them, and swing by a percent: they tell whether
a change saves work, and the processor's time what it is worth. The two ratios differ, since time also has the kernel's
part (sockets, the commit of a token's id) and waits for memory: echo is two loops in C over one text, the service runs
once through much code (docs/operating.md has misses and wrong guesses of both)."""


def main() -> None:
    """Measure what was asked for and print the figures."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that every server is ended
    sections, shown = _sections(options), []
    print(LEGEND)
    try:
        for name in options.only:
            with closing(sections[name]()) as figures:
                shown += show(figures)
    except KeyboardInterrupt:
        sys.exit(130)
    if options.json:
        keep(options.json, shown)


def _sections(options: argparse.Namespace) -> dict[str, Callable[[], Generator[Figure]]]:
    rounds = options.rounds
    small, large = _bodies(options.bodies, "small"), _bodies(options.bodies, "large")
    return {
        "small": lambda: calls.measure(small, 100, rounds, 1.3, calls.SIGNED_GOAL),
        "large": lambda: calls.measure(large, 8, rounds, 0.28),
        "instructions": lambda: instructions.measure(small),
        "growth": lambda: growth.measure(rounds),
        "fallback": lambda: fallback.measure(rounds),
        "threads": lambda: threads.measure(rounds),
        "population": lambda: population.measure(rounds),
        "replicas": lambda: replicas.measure({**small, **large}, rounds),
    }


def _bodies(folders: Sequence[Path], size: str) -> dict[str, bytes]:
    """Those of each folder by a name that says how large they are and whose."""
    read = {
        folder: getattr(bodies, size)() if folder == OURS else (folder / f"{size}.json").read_bytes()
        for folder in folders
    }
    return {f"{size} body of {folder}, {len(data) // 1000} kB": data for folder, data in read.items()}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=7, help="how often each measurement is repeated (7)")
    parser.add_argument(
        "--bodies",
        type=Path,
        action="append",
        help="folder with small.json and large.json to send, or ours; several may be given (ours, and "
        f"{SHARED} where that is there)",
    )
    parser.add_argument("--only", type=_names, default=NAMES, help=f"some of {','.join(NAMES)}")
    parser.add_argument("--json", type=Path, help="file for the figures as JSON")
    options = parser.parse_args()
    options.bodies = options.bodies or [OURS, *([SHARED] if SHARED.is_dir() else [])]
    return options


def _names(words: str) -> tuple[str, ...]:
    names = tuple(words.split(","))
    if not set(names) <= set(NAMES):
        raise argparse.ArgumentTypeError(f"one or more of {','.join(NAMES)}")
    return names


if __name__ == "__main__":
    main()
