"""The lines of the log on their way out: in order and whole, and nobody waits for whoever reads them."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep

import pytest
import structlog

import service
from service.observability import logging as logs

LONG = "x" * 100


class Pipe:
    """A pipe to which lines are logged, and its reader; what it has read so far is `heard`."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.heard = b""
        self.writers: list[logs.BufferedLineWriter] = []

    def logged(self, on_drop: Callable[[], object]) -> logs.BufferedLineWriter:
        self.writers.append(logs.BufferedLineWriter(self.writing, on_drop))
        return self.writers[-1]

    def lines(self, number: int) -> list[str]:
        """All lines that have come out, as soon as there are so many."""
        until = monotonic() + 10
        while self.heard.count(b"\n") < number and monotonic() < until:
            try:
                self.heard += os.read(self.reading, 65536)
            except BlockingIOError:
                sleep(0.005)
        return self.heard.decode().splitlines()

    def leave(self) -> None:
        """The reader dies."""
        os.close(self.reading)
        self.reading = -1

    def end(self) -> None:
        """No thread may be left that writes to this number, which soon will be that of another file."""
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), self.writing)
        if self.reading != -1:
            self.leave()
        for writer in self.writers:
            writer.close()
        os.close(self.writing)


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.end()


def no_drop() -> None:
    raise AssertionError("nothing is dropped")


def test_lines_come_out_whole_and_each_thread_s_in_its_order(pipe):
    lines = pipe.logged(no_drop)

    def speak(who: int) -> None:
        for number in range(100):
            lines.put(f"{who} {number} ё")

    with ThreadPoolExecutor(8) as speakers:
        list(speakers.map(speak, range(8)))
    heard = [line.split() for line in pipe.lines(800)]
    assert {one[2] for one in heard} == {"ё"}
    for who in range(8):
        assert [int(number) for name, number, _ in heard if name == str(who)] == list(range(100))


def test_while_nobody_reads_lines_wait_then_are_dropped_and_counted_and_nobody_waits(pipe):
    dropped = []
    lines = pipe.logged(lambda: dropped.append(1))
    number = 4 * logs.MAX_QUEUED
    began = monotonic()
    for one in range(number):
        lines.put(f"{one} {LONG}")
    assert monotonic() - began < 2
    kept = number - len(dropped)
    assert logs.MAX_QUEUED <= kept <= 3 * logs.MAX_QUEUED
    heard = pipe.lines(kept)
    assert len(heard) == kept
    assert heard == sorted(heard, key=lambda line: int(line.split()[0]))
    lines.put("again")
    assert pipe.lines(kept + 1)[-1] == "again"


def test_what_cannot_be_written_is_tried_again_without_a_gap_or_a_cut(pipe):
    """A full pipe that does not wait but fails, as other programs make it for their own use."""
    os.set_blocking(pipe.writing, False)
    lines = pipe.logged(no_drop)
    said = [f"{number} {LONG}" for number in range(2000)]
    for line in said:
        lines.put(line)
    sleep(0.2)
    assert pipe.lines(2000) == said


@pytest.mark.parametrize("reader", ["has gone", "stalls", "was never there"])
def test_without_a_reader_the_end_waits_a_second(pipe, reader):
    if reader == "has gone":
        pipe.leave()
    lines = logs.BufferedLineWriter(-1, no_drop) if reader == "was never there" else pipe.logged(no_drop)
    for _ in range(1000):
        lines.put(LONG)
    began = monotonic()
    lines.close()
    assert 0.5 < monotonic() - began < 3
    lines.put("after the end")


def test_at_the_end_what_waits_is_written(pipe):
    os.set_blocking(pipe.writing, False)
    lines = pipe.logged(no_drop)
    with ThreadPoolExecutor(1) as reader:
        heard = reader.submit(pipe.lines, 1000)
        for number in range(1000):
            lines.put(str(number))
        lines.close()
        assert heard.result() == [str(number) for number in range(1000)]


SCRIPT = """
import atexit, logging, structlog
from service.observability import logging as logs
logs.log_to_stdout("INFO", readable={readable}, write=logs.non_blocking(int))
atexit.register(lambda: structlog.get_logger().info("at the end"))
structlog.get_logger().info("decision", tenant="clinic", patient="Ivanova")
logging.getLogger("gunicorn.error").log(35, "Worker %d", 7)
"""


@pytest.mark.parametrize("readable", [False, True])
def test_a_process_writes_all_of_its_lines_those_of_libraries_too_before_it_ends(readable):
    run = [sys.executable, "-W", "error", "-c", SCRIPT.format(readable=readable)]
    root = Path(service.__file__).parent.parent
    done = subprocess.run(run, cwd=root, capture_output=True, text=True, check=True, timeout=30)
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert len(lines) == 3
    for line, words in zip(lines, ("decision", "Worker 7", "at the end"), strict=True):
        assert words in line
        assert line.startswith("{") is not readable
    assert "clinic" in lines[0]
    assert "Ivanova" not in done.stdout


@pytest.mark.parametrize("level", [1, 25, 35, 60])
def test_a_library_s_own_level_is_no_error(level, capsys):
    root, handlers, before = logging.getLogger(), logging.getLogger().handlers[:], logging.getLogger().level
    try:
        logs.log_to_stdout("DEBUG", readable=False)
        root.handlers[0].handle(logging.LogRecord("some.library", level, "", 1, "Read %d", (7,), None))
    finally:
        structlog.reset_defaults()
        root.handlers[:], root.level = handlers, before
    assert "Read 7" in capsys.readouterr().out
