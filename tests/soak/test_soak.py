"""That `make soak` runs, that its proxy breaks what it says, and that its checks can fail."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import msgspec
import psycopg
import pytest

from bench.postgres import postgres, programs
from bench.servers import Server
from service.cds.services import BY_ID
from service.store import upgrade
from soak import certificates
from soak.calls import FEEDBACK, LACKING, Answer, Ehr, Ledger
from soak.chart import MARK
from soak.faults import Fault, Proxy
from soak.load import Caller, Load, Outcome, running
from soak.matrix import Cell
from soak.report import Report
from soak.rolling import sort
from soak.run import _attempt, in_tables, main
from soak.steady import FHIR, Samples, kinds
from soak.world import MEMORY_BOUND, NOT_THERE, Dependency, Memory, Replica, host, traces

NO_POSTGRES = f"THE SOAK IS NOT TESTED: {NOT_THERE}"
SECONDS = 1.0  # of a client that gives up


@pytest.fixture
def postgres_programs() -> Path:
    where = programs()
    if where is None:
        (pytest.fail if os.environ.get("REQUIRE_POSTGRES") == "1" else pytest.skip)(NO_POSTGRES)
    return where


# ---- the command -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("postgres_programs")
def test_cells_and_parts_run_and_end_well(capsys: pytest.CaptureFixture[str]) -> None:
    cells = ["fhir:cut-mid-body", "fhir:hung-process", "postgresql:black-hole", "postgresql:expired-certificate"]
    chosen = [word for cell in cells for word in ("--cell", cell)]
    code = main([*chosen, "--only", "matrix", "--only", "disk"])
    said = capsys.readouterr().out
    assert code == 0, said
    for row in (
        "FHIR server | cut mid-body | 200 | 200 | 412 | 200",
        "PostgreSQL | black hole | 200 | 200 | 200 | 503",
    ):
        assert row in said
    assert said.count("| ok |") == len(cells)
    assert "Disk full" in said
    assert "0 failures" in said


@pytest.mark.parametrize("minutes", ["0", "0.1", "-1"])
def test_a_steady_load_too_short_to_show_anything_is_refused(minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--only", "steady", "--minutes", minutes])
    assert ended.value.code == 2
    assert "at least 0.5" in capsys.readouterr().err


def test_words_that_name_no_cell_are_refused_with_those_that_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--cell", "fhir:flood"])
    assert ended.value.code == 2
    assert "black-hole" in capsys.readouterr().err


# ---- the proxy -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def keys_host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Dependency, ssl.SSLContext]]:
    """A host behind a proxy, and how to trust it; it has no chart, and 5,000 bytes of keys."""
    folder = tmp_path_factory.mktemp("host")
    (folder / "chart.json").write_bytes(b"[]")
    (folder / "jwks.json").write_bytes(b"k" * 5000)
    papers = certificates.make(folder)
    with host(papers, folder) as found:
        yield found, ssl.create_default_context(cafile=papers.authority)


def ask(port: int, trust: ssl.SSLContext) -> bytes:
    wire = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=trust)
    try:
        wire.request("GET", "/jwks")
        answer = wire.getresponse()
        body = b""
        while (piece := answer.read1(65_536)) and len(body) < 1_000_000:
            body += piece
        return body + b" and no more" if answer.length else body
    finally:
        wire.close()


BREAKS = {
    Fault.REFUSED: ConnectionRefusedError,
    Fault.RESET: ConnectionResetError,
    Fault.BLACK_HOLE: TimeoutError,
    Fault.LATENCY: TimeoutError,
    Fault.DRIP: None,  # a client that only bounds pauses waits for ever
    Fault.EXPIRED: ssl.SSLCertVerificationError,
    Fault.HUNG: TimeoutError,
}


def test_a_port_that_somebody_took_meanwhile_is_bound_as_soon_as_it_is_free(
    keys_host: tuple[Dependency, ssl.SSLContext],
) -> None:
    dependency, trust = keys_host
    with dependency.broken(Fault.REFUSED):
        thief = socket.create_server(("127.0.0.1", dependency.proxy.port))
        threading.Timer(0.3, thief.close).start()
    assert ask(dependency.proxy.port, trust) == b"k" * 5000


@pytest.mark.parametrize("fault", [fault for fault, error in BREAKS.items() if error])
def test_each_fault_breaks_in_its_way_and_ends(fault: Fault, keys_host: tuple[Dependency, ssl.SSLContext]) -> None:
    dependency, trust = keys_host
    with dependency.broken(fault), pytest.raises(BREAKS[fault]):  # type: ignore[arg-type]
        ask(dependency.proxy.port, trust)
    assert ask(dependency.proxy.port, trust) == b"k" * 5000


def test_an_answer_is_cut_in_the_middle_of_its_body(keys_host: tuple[Dependency, ssl.SSLContext]) -> None:
    dependency, trust = keys_host
    with dependency.broken(Fault.CUT):
        assert ask(dependency.proxy.port, trust) == b"k" * 2500 + b" and no more"


def test_garbage_has_the_promised_length_or_is_no_answer(keys_host: tuple[Dependency, ssl.SSLContext]) -> None:
    dependency, trust = keys_host
    with dependency.broken(Fault.GARBAGE), pytest.raises((http.client.HTTPException, TimeoutError)):
        ask(dependency.proxy.port, trust)


def test_huge_has_no_end(keys_host: tuple[Dependency, ssl.SSLContext]) -> None:
    dependency, trust = keys_host
    with dependency.broken(Fault.HUGE):
        assert len(ask(dependency.proxy.port, trust)) >= 1_000_000


def test_a_drip_brings_a_byte_at_a_time(keys_host: tuple[Dependency, ssl.SSLContext]) -> None:
    dependency, trust = keys_host
    wire = http.client.HTTPSConnection("127.0.0.1", dependency.proxy.port, timeout=SECONDS, context=trust)
    with dependency.broken(Fault.DRIP):
        wire.request("GET", "/jwks")
        wire.sock.settimeout(SECONDS)
        began = time.monotonic()
        assert [len(wire.sock.recv(100)) for _ in range(3)] == [1, 1, 1]
        assert time.monotonic() - began > 0.5
    wire.close()


def test_postgresql_is_reached_by_tls_alone_and_not_with_an_expired_certificate(
    postgres_programs: Path, tmp_path: Path
) -> None:
    papers = certificates.make(tmp_path)
    with postgres(postgres_programs) as database:
        proxy = Proxy(database.server.port, papers, postgres=True)
        where = f"host=127.0.0.1 port={proxy.port} user=mg dbname=postgres connect_timeout=3"
        verified = f"{where} sslmode=verify-full sslrootcert={papers.authority}"
        try:
            psycopg.connect(verified).close()
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(f"{where} sslmode=disable")
            proxy.inject(Fault.EXPIRED)
            with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
                psycopg.connect(verified)
        finally:
            proxy.close()


# ---- the checks ------------------------------------------------------------------------------------------------------


def card(summary: str, detail: str = "") -> dict[str, object]:
    findings: dict[str, list[str]] = {"org.magnesium-cds.findings": []}
    return {"uuid": summary, "summary": summary, "indicator": "info", "detail": detail, "extension": findings}


RIGHT = Answer(200, 0.1, {"cards": [card("low")]})
SILENT = Answer(200, 0.1, {"cards": []})
OTHER = Answer(200, 0.1, {"cards": [card("high")]})
HONEST = Answer(200, 0.1, {"cards": [card("low", LACKING)]})
REFUSED = Answer(412, 0.1, {"resourceType": "OperationOutcome"})
BARE = Answer(412, 0.1, None)
BROKEN = Answer(200, 0.1, {"cards": [{"uuid": [], "summary": "low", "indicator": "info", "extension": 7, "detail": 7}]})
STRANGE = Answer(200, 0.1, {"cards": ["low"]})
NOTHING = Answer(0, 0.1, None, "ConnectionResetError")


@pytest.mark.parametrize(
    ("found", "while_well", "while_broken"),
    [
        (RIGHT, "", ""),
        (SILENT, "WRONG CARD", "WRONG CARD"),
        (OTHER, "WRONG CARD", "WRONG CARD"),
        (HONEST, "data were said to lack", ""),
        (REFUSED, "answered 412", ""),
        (BARE, "answered 412", "412 without"),
        (NOTHING, "ConnectionResetError", "ConnectionResetError"),
        (BROKEN, "WRONG CARD", "WRONG CARD"),
        (STRANGE, "WRONG CARD", "WRONG CARD"),
    ],
)
def test_a_card_is_right_says_what_it_lacks_or_is_wrong(found: Answer, while_well: str, while_broken: str) -> None:
    ehr = Ehr("iss", "https://127.0.0.1", [], Ledger())
    ehr.right = [("low", "info", [])]
    for expected, said in (
        (while_well, ehr.fault_of(found)),
        (while_broken, ehr.fault_of(found, (412,), lacking=True)),
    ):
        assert expected in said
        assert bool(said) == bool(expected)


@pytest.mark.parametrize("line", [f'{{"patient": "{MARK}-17"}}', "Bearer eyJhbGciOiJFUzM4NCJ9.e30.x", "1952-11-13"])
def test_a_mark_in_a_log_is_found(line: str, tmp_path: Path) -> None:
    log = tmp_path / "replica-1.log"
    log.write_text('{"event": "decision"}\n')
    assert not traces(tmp_path)
    log.write_text(f'{{"event": "decision"}}\n{line}\n')
    assert "line 2" in traces(tmp_path)[0]


def test_a_mark_in_metrics_and_in_a_table_is_found(tmp_path: Path) -> None:
    (tmp_path / "replica-1.metrics").write_text(f'requests_total{{patient="{MARK}-1"}} 1\n')
    with closing(sqlite3.connect(tmp_path / "full.sqlite3")) as connection, connection:
        connection.execute("CREATE TABLE cards (detail TEXT)")
        connection.execute("INSERT INTO cards VALUES ('born 1952-11-13')")
    assert [found.partition(",")[0] for found in traces(tmp_path)] == ["full.sqlite3", "replica-1.metrics"]


def test_a_mark_in_a_row_of_postgresql_is_found(postgres_programs: Path) -> None:
    with postgres(postgres_programs) as database, psycopg.connect(database.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE cards (detail text)")
        connection.execute("INSERT INTO cards VALUES ('nothing')")
        assert in_tables(database.url) == (1, [])
        connection.execute("INSERT INTO cards VALUES (%s)", [f"{MARK}-17"])
        assert in_tables(database.url) == (2, ["table cards: 1 rows with a mark"])


def test_what_was_promised_and_is_not_in_the_database_is_missing(tmp_path: Path) -> None:
    url, ledger = f"sqlite:///{tmp_path}/store.sqlite3", Ledger()
    upgrade(url)
    assert ledger.missing(url) == (0, 0)
    ledger.shown(RIGHT)
    card = ledger.to_report()
    ledger.acknowledged(card, accepted=False)
    assert ledger.missing(url) == (1, 0)
    assert ledger.to_report() == card  # it has still to be reported
    ledger.acknowledged(card, accepted=True)
    assert ledger.missing(url) == (1, 1)


def test_a_reason_is_a_failure_and_none_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    assert report.check("this", "", "") == "ok"
    assert report.check("that", "was late", "was late") == "**FAILED**; was late"
    assert report.failures == ["that: was late"]
    report.row(1, "ok")
    assert capsys.readouterr().out == "| 1 | ok |\n"


@pytest.mark.parametrize(
    ("memory", "files", "to_fhir", "said"),
    [
        ([90.0, 140.0, 170.0] + [171.0] * 5, [40, 50, 60] + [61] * 5, [17] * 8, ""),  # what fills at first is no growth
        ([170.0] * 4 + [185.0] * 4, [60] * 8, [17] * 8, "memory grew by 15.0 MB"),
        ([170.0] * 8, [60 + 5 * number for number in range(8)], [17] * 8, "more descriptors: file 72 → 92"),
        ([170.0] * 8, [60] * 8, [11, 11, 11, 11, 22, 22, 33, 33], ""),  # the largest crowd so far
        ([170.0] * 8, [60] * 8, [17 + 10 * number for number in range(8)], "more descriptors: FHIR server 42 → 82"),
    ],
)
def test_what_goes_on_growing_is_a_leak(memory: list[float], files: list[int], to_fhir: list[int], said: str) -> None:
    looks = [Counter({"file": number, FHIR: kept}) for number, kept in zip(files, to_fhir, strict=True)]
    found = Samples(memory, looks).growth(calls=1000)
    assert said in " ".join(found)
    assert bool(found) == bool(said)


def test_descriptors_are_told_apart_by_who_is_at_the_other_end(tmp_path: Path) -> None:
    before = kinds([os.getpid()], {})
    with (
        (tmp_path / "file").open("w"),
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as ours,
        server.accept()[0],
    ):
        server_port, client_port = server.getsockname()[1], ours.getsockname()[1]
        more = kinds([os.getpid()], {server_port: "server", client_port: "client"}) - before
    assert more == {"file": 1, "server": 2, "client": 1}


def test_a_caller_that_breaks_and_a_call_never_made_are_faults() -> None:
    def breaks(_load: Load) -> None:
        raise KeyError("extension")

    with running([1], Caller(("all",), breaks)) as load:
        pass
    assert [(each.kind, each.fault) for each in load.faults] == [
        ("caller", "ended with KeyError: 'extension'"),
        ("all", "no such call was made"),
    ]


TOLD = 100.0  # when SIGTERM came


@pytest.mark.parametrize(
    ("kind", "began", "ended", "words", "reason"),
    [
        ("all", 99.0, 101.0, "", ""),
        ("all", 99.0, 101.0, "ConnectionResetError", "sent -1.00 s from SIGTERM"),
        ("all", 98.0, 99.0, "ConnectionResetError", "sent -2.00 s from SIGTERM"),  # over before: nothing excuses it
        ("all", 99.95, 100.1, "ConnectionResetError", ""),
        ("all", 100.5, 100.6, "ConnectionRefusedError", ""),
        ("read", 100.5, 100.6, "ConnectionResetError", "sent +0.50 s from SIGTERM"),  # it stands in the log
    ],
)
def test_what_was_read_before_the_end_is_owed_an_answer(
    kind: str, began: float, ended: float, words: str, reason: str
) -> None:
    def outcome(kind: str, began: float, ended: float, words: str) -> Outcome:
        return Outcome(kind, 1, Answer(0 if words else 200, ended - began, None, words, began), words, f"id-{kind}")

    waiting = outcome("none", 99.5, 100.5, "")
    stop = sort([waiting, outcome(kind, began, ended, words)], TOLD, "id-read")
    assert reason in " ".join(stop.reasons())
    assert bool(stop.reasons()) == bool(reason)
    assert "1 of them waiting" in stop.told()
    assert sort([], TOLD, "").reasons() == ["no call was waiting for the FHIR server at SIGTERM"]


@pytest.mark.parametrize(
    ("target", "fault", "answers", "felt"),
    [
        ("fhir", Fault.RESET, {"fallback": [RIGHT]}, False),
        ("fhir", Fault.RESET, {"fallback": [RIGHT, HONEST]}, True),
        ("fhir", Fault.RESET, {"fallback": [RIGHT], "feedback": [REFUSED]}, False),
        ("postgresql", Fault.LATENCY, {"feedback": [Answer(200, 2.1)]}, True),
        ("postgresql", Fault.RESET, {"feedback": [Answer(200, 2.1)]}, False),
        ("jwks", Fault.HUNG, {"new key": [Answer(401, 1.5)]}, True),
        ("jwks", Fault.HUNG, {}, False),
    ],
)
def test_a_fault_that_nobody_felt_is_a_failure(
    target: str, fault: Fault, answers: dict[str, list[Answer]], *, felt: bool
) -> None:
    cell, report = Cell(target, fault, 0.0, answers, dict.fromkeys(answers, 9.0)), Report()
    assert ("the fault was not felt" in cell.verdict(report)) == bool(report.failures) == (not felt)


def test_memory_is_that_of_master_and_worker_and_a_worker_that_ended_is_a_failure(tmp_path: Path) -> None:
    parent = [sys.executable, "-c", "import subprocess as s, sys; s.run(['sleep', '60']); sys.stdin.read()"]
    with subprocess.Popen(parent, stdin=subprocess.PIPE) as process:
        replica = Replica(Server(process, 0), tmp_path / "log", tmp_path / "metrics", ExitStack())
        while not replica.workers:
            time.sleep(0.02)
        memory = Memory([replica])
        assert not memory.reasons()
        assert memory.peak() < MEMORY_BOUND
        os.kill(replica.workers[0], signal.SIGKILL)
        while replica.workers:
            time.sleep(0.02)
        assert memory.reasons() == ["a worker ended"]
        process.kill()


def test_what_is_sent_is_marked_and_signed_for_one_place() -> None:
    chart = [{"resourceType": "Patient", "id": "x"}, {"resourceType": "Encounter", "id": "y"}]
    ehr = Ehr("https://iss.example", "https://127.0.0.1:1/fhir", chart, Ledger())
    bodies = [msgspec.json.decode(ehr.body(sent)) for sent in ("all", "half", "none")]
    assert [len(body.get("prefetch", {})) for body in bodies] == [len(BY_ID["magnesium-patient-view"].prefetch), 2, 0]
    assert all(body["context"]["patientId"].startswith(MARK) for body in bodies)
    assert len({ehr.token(), ehr.token(), ehr.token(FEEDBACK)}) == 3


def test_a_part_that_breaks_off_has_failed_and_the_next_is_run():
    report, done = Report(), []

    def breaks() -> None:
        raise subprocess.TimeoutExpired("serve", 60)

    _attempt("rolling", report, breaks)
    _attempt("disk", report, lambda: done.append(1))
    assert [failure.partition(" at ")[0] for failure in report.failures] == ["rolling: broke off with TimeoutExpired"]
    assert done == [1]
