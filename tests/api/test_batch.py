"""POST /v1/evaluate/batch: each line is answered as it would be alone, in order, in bounded memory, and stands alone."""

from __future__ import annotations

import socket
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from time import sleep
from typing import Any

import msgspec
import pytest
from structlog.contextvars import merge_contextvars
from structlog.testing import capture_logs

from service.api import batch
from tests.api.apps import RunningApp, bearer, locked_app, open_app
from tests.api.test_evaluate import WAYS
from tests.cli.test_server import port, serving  # noqa: F401  fixtures
from tests.contract.messages import LOW, PATIENT, bundle, evaluation
from tests.contract.openapi import CONTRACT, OUTCOME, problems
from tests.contract.test_openapi import plain

PATH, NDJSON = batch.PATH, "application/x-ndjson"
LINE = {"$ref": "#/components/schemas/BatchAnswer"}
WRONG = {
    "not JSON": b"{bad",
    "cut": msgspec.json.encode(evaluation())[:-9],
    "a number": b"3",
    "no bundle": b"{}",
    "wrong bundle": b'{"bundle": 3}',
    "wrong hook": msgspec.json.encode(evaluation(hook="x")),
    "two patients": msgspec.json.encode({"bundle": bundle(PATIENT, PATIENT | {"id": "p2"})}),
    "not UTF-8": b'{"bundle": "\xff"}',
    "deep": b'{"bundle":' + b"[" * 100_000,
}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with open_app(tmp_path_factory.mktemp("batch")) as house:
        yield house


def sent(house: RunningApp, *lines: bytes, end: bytes = b"\n", kind: str = NDJSON) -> Any:
    return house.client.post(PATH, data=b"\n".join(lines) + end, content_type=kind, buffered=True)


def answers(house: RunningApp, *lines: bytes, end: bytes = b"\n") -> list[Any]:
    """The answers, each of which fits the contract."""
    answer = sent(house, *lines, end=end)
    assert (answer.status_code, answer.mimetype) == (200, NDJSON)
    found = [msgspec.json.decode(line) for line in answer.data.splitlines()]
    assert [problems(LINE, line) for line in found] == [[]] * len(found)
    assert answer.headers["Batch-Lines"] == str(len(found))
    return found


def low(value: float) -> bytes:
    quantity = LOW["valueQuantity"] | {"value": value}
    return msgspec.json.encode(evaluation(bundle=bundle(PATIENT, LOW | {"valueQuantity": quantity})))


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_of_one_is_evaluate(house: RunningApp, way: str) -> None:
    body = {"asOf": "2026-03-10T10:00:00Z", "bundle": WAYS[way]}
    (found,) = answers(house, msgspec.json.encode(body))
    alone = house.post("/v1/evaluate", body).json
    assert plain(found) == plain({"line": 1, "status": 200, "answer": alone})
    assert alone["cards"]


def test_answers_come_in_the_order_of_the_lines(house: RunningApp) -> None:
    values = [round(0.7 + 0.1 * (7 * n % 20), 1) for n in range(20)]
    found = answers(house, *map(low, values))
    assert [line["answer"]["read"]["labs"][0]["value"] for line in found] == values
    assert [line["line"] for line in found] == [*range(1, 21)]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_broken_line_costs_itself_alone_and_is_refused_as_it_would_be_alone(house: RunningApp, wrong: str) -> None:
    first, broken, last = answers(house, low(1.1), WRONG[wrong], low(1.2))
    alone = house.client.post("/v1/evaluate", data=WRONG[wrong], content_type="application/json")
    assert alone.status_code == 400
    assert broken == {"line": 2, "status": alone.status_code, "outcome": alone.json}
    assert [line["answer"]["read"]["labs"][0]["value"] for line in (first, last)] == [1.1, 1.2]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n", b"\n\n \n"])
def test_blank_lines_are_skipped_and_lines_keep_their_numbers(house: RunningApp, end: bytes) -> None:
    found = answers(house, low(1.1), b"", b" \r", low(1.2), end=end)
    assert [line["line"] for line in found] == [1, 4]


@pytest.mark.parametrize("kind", [NDJSON, "application/ndjson", "application/fhir+ndjson", f"{NDJSON}; charset=utf-8"])
def test_ndjson_has_several_names(house: RunningApp, kind: str) -> None:
    assert sent(house, low(1.1), kind=kind).status_code == 200


@pytest.mark.parametrize("kind", ["application/json", "text/csv"])
def test_another_type_is_415_and_says_what_is_wanted(house: RunningApp, kind: str) -> None:
    answer = sent(house, low(1.1), kind=kind)
    assert answer.status_code == 415
    assert NDJSON in answer.json["issue"][0]["details"]["text"]


@pytest.mark.parametrize("body", [b"", b"\n \n"])
def test_a_batch_of_nothing_is_400(house: RunningApp, body: bytes) -> None:
    answer = house.client.post(PATH, data=body, content_type=NDJSON)
    assert (answer.status_code, problems(OUTCOME, answer.json)) == (400, [])


def test_more_lines_than_the_limit_are_413_and_none_is_answered(house: RunningApp) -> None:
    assert sent(house, *[b"3"] * batch.MAX_LINES).status_code == 200
    answer = sent(house, *[b"3"] * (batch.MAX_LINES + 1))
    assert (answer.status_code, problems(OUTCOME, answer.json)) == (413, [])
    assert f"{batch.MAX_LINES:,} lines" in CONTRACT["paths"][PATH]["post"]["description"]


def test_more_bytes_than_the_limit_are_413(house: RunningApp) -> None:
    line = b'{"bundle":"' + b"x" * 999_980 + b'"}'
    assert sent(house, *[line] * 20).status_code == 200
    assert sent(house, *[line] * 21).status_code == 413


def test_a_line_has_the_limit_of_a_body(tmp_path: Path) -> None:
    (tmp_path / "site.toml").write_text("[service]\nmax_body_bytes = 10000\n", encoding="utf-8")
    with open_app(tmp_path, MAGNESIUM_CDS_SITE=str(tmp_path / "site.toml")) as small:
        found = answers(small, low(1.1), low(1.1)[:-1] + b" " * 10_000 + b"}", low(1.1))
    assert [line["status"] for line in found] == [200, 413, 200]


def test_an_upload_that_broke_off_is_refused_whole(house: RunningApp) -> None:
    body = b"\n".join([low(1.1)] * 3)
    answer = house.client.post(
        PATH, data=body, content_type=NDJSON, environ_overrides={"CONTENT_LENGTH": str(2 * len(body))}
    )
    assert (answer.status_code, problems(OUTCOME, answer.json)) == (400, [])


def test_three_hundred_patients_need_no_more_memory_than_thirty(house: RunningApp) -> None:
    def peak(lines: int) -> int:
        body = b"\n".join([low(1.1)] * lines)
        answer = house.client.post(PATH, data=body, content_type=NDJSON, buffered=False)
        tracemalloc.start()
        assert sum(b'"status":200' in line for line in answer.response) == lines
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        answer.close()
        return found

    peak(30)
    assert peak(300) < peak(30) + 1_000_000  # the answers alone are 300 times 13 kB


def test_the_first_answer_leaves_before_the_last_line_is_judged(house: RunningApp) -> None:
    with capture_logs() as log:
        answer = house.client.post(PATH, data=b"\n".join([low(1.1)] * 9), content_type=NDJSON, buffered=False)
        next(iter(answer.response))
        assert sum(line["event"] == "decision" for line in log) == 1
        answer.close()


def test_one_batch_at_a_time_and_the_next_once_it_is_done_or_left(house: RunningApp) -> None:
    under_way = house.client.post(PATH, data=low(1.1), content_type=NDJSON, buffered=False)
    busy = sent(house, low(1.1))
    assert (busy.status_code, busy.headers["Retry-After"]) == (503, "5")
    assert house.post("/v1/evaluate", evaluation()).status_code == 200
    under_way.close()
    assert sent(house, low(1.1)).status_code == 200


def test_each_patient_has_a_line_in_the_log_under_the_name_of_the_request(house: RunningApp) -> None:
    with capture_logs(processors=[merge_contextvars]) as log:
        answer = sent(house, low(1.1), b"3", low(1.2))
    named = [(line["event"], line["request_id"]) for line in log if line["event"] in {"decision", "refused"}]
    assert named == [(word, answer.headers["X-Request-Id"]) for word in ("decision", "refused", "decision")]


def test_a_token_is_needed_and_is_good_for_one_batch(tmp_path: Path) -> None:
    with locked_app(tmp_path) as house:
        proof, body = bearer(PATH), low(1.1) + b"\n" + low(1.2)
        codes = [
            house.client.post(PATH, data=body, content_type=NDJSON, headers=headers).status_code
            for headers in ({}, bearer("/v1/evaluate"), proof, proof)
        ]
    assert codes == [401, 401, 200, 401]


# --- a real server, and what becomes of connections ---


def said(at: int, *parts: bytes, cut: bool = False) -> bytes:
    """All that the server answers to these bytes; `cut`: after them the client says that no more will come."""
    with socket.create_connection(("127.0.0.1", at), timeout=20) as link:
        for part in parts:
            link.sendall(part)
        if cut:
            link.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: link.recv(65_536), b""))


def head(at: int, more: str) -> bytes:
    return (
        f"POST {PATH} HTTP/1.1\r\nHost: localhost:{at}\r\nContent-Type: {NDJSON}\r\nConnection: close\r\n{more}\r\n\r\n"
    ).encode()


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def test_a_server_streams_whole_answers_and_refuses_half_a_batch(serving: Any, port: int) -> None:  # noqa: F811
    body = b"\n".join([low(1.1)] * 40)
    with serving(threads=8):
        plain_one = said(port, head(port, f"Content-Length: {len(body)}"), body)
        in_chunks = said(
            port, head(port, "Transfer-Encoding: chunked"), chunk(body[:5000]), chunk(body[5000:]), chunk(b"")
        )
        half = said(port, head(port, f"Content-Length: {len(body)}"), body[: len(body) // 2], cut=True)
        half_in_chunks = said(port, head(port, "Transfer-Encoding: chunked"), chunk(body[:5000]), cut=True)
    for answer in (plain_one, in_chunks):
        assert answer.startswith(b"HTTP/1.1 200")
        assert answer.count(b'"status":200') == 40
        assert answer.endswith(b"\r\n0\r\n\r\n")  # the end of an answer in chunks: it has not broken off
    for answer in (half, half_in_chunks):
        assert answer.startswith(b"HTTP/1.1 400")
        assert b'"status":200' not in answer


def test_a_client_that_leaves_in_the_middle_lets_the_next_batch_in(serving: Any, port: int) -> None:  # noqa: F811
    body = b"\n".join([low(1.1)] * 2000)
    with serving(threads=8):
        with socket.create_connection(("127.0.0.1", port), timeout=20) as link:
            link.sendall(head(port, f"Content-Length: {len(body)}") + body)
            assert link.recv(4096).startswith(b"HTTP/1.1 200")
            assert said(port, head(port, "Content-Length: 12"), b'{"bundle":1}').startswith(b"HTTP/1.1 503")
        for _ in range(100):
            answer = said(port, head(port, "Content-Length: 12"), b'{"bundle":1}')
            if answer.startswith(b"HTTP/1.1 200"):
                break
            sleep(0.1)
        assert b'"status":400' in answer
