"""Clients that ask for much and take the answer byte by byte, or not at all: what they cost everybody else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from soak.calls import Answer, slowest, statuses
from soak.certificates import HERE
from soak.matrix import PREFETCH_BOUND
from soak.pace import allowance
from soak.report import Report
from soak.world import World

READERS = 40  # more than there are threads
RECEIVE_BUFFER = 1024  # bytes: so that the answer stays with the service
PATHS = ("/openapi.yaml", "/v1/rules")  # the longest answers that need no token
BESIDE = 10  # calls, one after the other


def run(world: World, report: Report) -> None:
    """Calls with prefetch beside such readers are answered as fast as without them."""
    report.title(f"{READERS} clients that do not take their answers, at one replica")
    replica, ehr = world.start(), world.ehr()
    ehr.learn(replica.port)
    quiet = allowance(ehr, replica.port)
    with _reading(replica.port):
        beside = [ehr.call(replica.port, "all") for _ in range(BESIDE)]
    quiet = max(quiet, allowance(ehr, replica.port))
    replica.stop()
    report.line(
        f"Beside them {statuses(beside)}, slowest {slowest(beside)} ms: "
        f"{report.check('slow readers', *map(ehr.fault_of, beside), *_late(beside, PREFETCH_BOUND + quiet))}"
    )


def _late(beside: list[Answer], bound: float) -> list[str]:
    longest = max(each.seconds for each in beside)
    return [f"a call took {longest:.2f} s, more than {bound:.2f} s"] if longest > bound else []


@contextmanager
def _reading(port: int) -> Iterator[None]:
    over = threading.Event()
    with ExitStack() as life:
        life.callback(over.set)
        for number in range(READERS):
            wire = life.enter_context(_asking(port, PATHS[number % len(PATHS)]))
            threading.Thread(target=_sip, args=(wire, over), daemon=True).start()
        time.sleep(0.5)
        yield


def _asking(port: int, path: str) -> socket.socket:
    wire = socket.socket()
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    wire.connect((HERE, port))
    wire.sendall(f"GET {path} HTTP/1.1\r\nHost: soak\r\nAccept: */*\r\nConnection: close\r\n\r\n".encode())
    return wire


def _sip(wire: socket.socket, over: threading.Event) -> None:
    with suppress(OSError):
        while not over.wait(0.5) and wire.recv(1):
            pass
