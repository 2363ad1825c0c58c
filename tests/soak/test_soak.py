"""That `make soak` runs, that its proxy breaks what it says, and that its checks can fail."""

from __future__ import annotations

import http.client
import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psycopg
import pytest

from bench.postgres import postgres, programs
from service.store import upgrade
from soak import certificates
from soak.calls import FEEDBACK, LACKING, Answer, Ehr, Ledger
from soak.chart import MARK
from soak.faults import Fault, Proxy
from soak.report import Report
from soak.run import main
from soak.steady import Samples
from soak.world import NOT_THERE, Dependency, host, traces

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
    code = main([*chosen, "--only", "matrix", "--only", "disk", "--margin", "3"])
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


def test_what_was_promised_and_is_not_in_the_database_is_missing(tmp_path: Path) -> None:
    url, ledger = f"sqlite:///{tmp_path}/store.sqlite3", Ledger()
    upgrade(url)
    assert ledger.missing(url) == (0, 0)
    ledger.shown(RIGHT)
    ledger.acknowledged("c1")
    assert ledger.missing(url) == (1, 1)


def test_a_reason_is_a_failure_and_none_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report()
    assert report.check("this", "", "") == "ok"
    assert report.check("that", "was late", "was late") == "**FAILED**; was late"
    assert report.failures == ["that: was late"]
    report.row(1, "ok")
    assert capsys.readouterr().out == "| 1 | ok |\n"


@pytest.mark.parametrize(
    ("memory", "descriptors", "said"),
    [
        ([90.0, 170.0] + [171.0] * 6, [40, 60] + [61] * 6, ""),  # what the warm-up takes is no growth
        ([170.0] * 4 + [185.0] * 4, [60] * 8, "memory grew by 15.0 MB"),
        ([170.0] * 8, [60 + 5 * number for number in range(8)], "more descriptors"),
    ],
)
def test_what_grows_after_the_warm_up_is_not_flat(memory: list[float], descriptors: list[int], said: str) -> None:
    found = Samples(memory, descriptors).growth(calls=1000)
    assert said in " ".join(found)
    assert bool(found) == bool(said)


def test_what_is_sent_is_marked_and_signed_for_one_place() -> None:
    chart = [{"resourceType": "Patient", "id": "x"}, {"resourceType": "Encounter", "id": "y"}]
    ehr = Ehr("https://iss.example", "https://127.0.0.1:1/fhir", chart, Ledger())
    bodies = [msgspec.json.decode(ehr.body(sent)) for sent in ("all", "half", "none")]
    assert [len(body.get("prefetch", {})) for body in bodies] == [17, 2, 0]
    assert all(body["context"]["patientId"].startswith(MARK) for body in bodies)
    assert len({ehr.token(), ehr.token(), ehr.token(FEEDBACK)}) == 3
