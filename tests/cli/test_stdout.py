"""The service as a process whose log nobody takes: it answers, ends when told to, and loses no line that is taken."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic
from urllib.request import Request, urlopen

import msgspec
import pytest

from service.observability.logging import MAX_QUEUED, digest
from tests.cli.test_serve import COMMAND, answer, environment, port
from tests.cli.test_server import BODY, PATH
from tests.contract.messages import feedback

__all__ = ["port"]

WAYS = {
    "nobody reads the pipe": 'exec "$@"',
    "nobody reads the pipe of both": 'exec "$@" 2>&1',
    "the reader dies": 'exec "$@"',
    "the disk is full": 'exec "$@" >/dev/full',
    "it is closed from the start": 'exec "$@" >&-',
}
CALLS = 150  # whose lines are more than a pipe holds


@contextmanager
def serving(tmp_path, port, shell='exec "$@"'):
    """The service as the shell starts it; ends it whatever happens."""
    command = ["sh", "-c", shell, "sh", *COMMAND]
    environ = environment(tmp_path, PORT=str(port), WEB_THREADS="4")
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert answer(port, process) == 200
            yield process
        finally:
            process.kill() if process.poll() is None else None


def status(port, path, body=None, ident="r"):
    headers = {"Content-Type": "application/json", "X-Request-Id": ident}
    with urlopen(Request(f"http://127.0.0.1:{port}{path}", body, headers), timeout=10) as response:
        return response.status


def seconds_to_end(process):
    began = monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(40) == 0
    return monotonic() - began


@pytest.mark.parametrize("way", WAYS)
def test_callers_notice_nothing_of_what_becomes_of_stdout(tmp_path, port, way):
    with serving(tmp_path, port, WAYS[way]) as process:
        if way == "the reader dies":
            process.stdout.close()
        assert {status(port, PATH, BODY) for _ in range(CALLS)} == {200}
        assert status(port, f"{PATH}/feedback", msgspec.json.encode(feedback())) == 200
        assert status(port, "/health/live") == 200
        assert seconds_to_end(process) < 10


def test_every_decision_is_a_line_in_its_order_when_the_process_has_ended(tmp_path, port):
    idents = [f"r-{number}" for number in range(CALLS)]
    with serving(tmp_path, port) as process, ThreadPoolExecutor(1) as reader:
        heard = reader.submit(process.stdout.read)
        for ident in idents:
            status(port, PATH, BODY, ident)
        assert seconds_to_end(process) < 10
        lines = [msgspec.json.decode(line) for line in heard.result(10).splitlines()]
    assert len(heard.result()) > 65536
    assert [line["request_id"] for line in lines if line["event"] == "decision"] == [digest(ident) for ident in idents]


SCRIPT = """
import sys, structlog
from service.app import application
from service.site import site_schema
from service.settings import load
client = application(load({"DATABASE_URL": sys.argv[1]}, site_schema())).test_client()
for _ in range(int(sys.argv[2])):
    structlog.get_logger().warning("refused")
print(client.get("/metrics").text, file=sys.stderr)
"""


@pytest.mark.parametrize("lines", [10, 4 * MAX_QUEUED])
def test_lines_that_nobody_takes_are_counted(tmp_path, lines):
    reading, writing = os.pipe()
    try:
        url = f"sqlite:///{tmp_path}/store.sqlite3"
        run = [sys.executable, "-W", "error", "-c", SCRIPT, url, str(lines)]
        said = subprocess.run(run, stdout=writing, stderr=subprocess.PIPE, text=True, timeout=60, check=True).stderr
    finally:
        os.close(reading)
        os.close(writing)
    (dropped,) = re.findall(r"^magnesium_cds_log_lines_dropped_total (\S+)$", said, re.MULTILINE)
    assert (float(dropped) > 0) is (lines > MAX_QUEUED)
