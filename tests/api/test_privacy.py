"""Nothing of a patient and no token is left behind: strings found nowhere else are sent everywhere, and looked for."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import structlog

from service.observability import logging as logs
from tests.api.apps import ISSUER, VIEW, RunningApp, bearer, locked_app, open_app
from tests.contract.messages import LOW, PATIENT, Json, bundle, hook_request, medication
from tests.fhir.servers import Answer, Request, deaf, nobody, raw, reply, serving

CANARY = "zqxcanary"
NUMBER = "7391846205"  # a medical record number
ID = f"{CANARY}-patient"
NAME = f"{CANARY}-Ivanova"
TOKEN = f"{CANARY}-access-token"
WORDS = f"{CANARY} free text, MRN {NUMBER}, ring +7 {NUMBER}, write to {CANARY}@mail.example"
PERSON = PATIENT | {
    "id": ID,
    "name": [{"family": NAME}],
    "identifier": [{"value": NUMBER}],
    "telecom": [{"value": NUMBER}],
}
OF_PERSON = {"subject": {"reference": f"Patient/{ID}", "display": NAME}, "note": [{"text": WORDS}]}
RESULT = LOW | OF_PERSON | {"id": f"{CANARY}-mg"}
DRUG = medication(f"{CANARY}-drug", "4603", WORDS, "draft") | OF_PERSON
OUTCOME = {
    "resourceType": "OperationOutcome",
    "issue": [{"severity": "error", "code": "exception", "diagnostics": WORDS, "details": {"text": NAME}}],
}
ACCESS = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 300, "scope": CANARY, "subject": CANARY}
HEADERS = {
    "X-Request-Id": f"{CANARY} {NAME}",
    "traceparent": CANARY,
    "Accept-Language": CANARY,
    "User-Agent": CANARY,
    "Referer": f"https://ehr.example/{ID}",
    "X-Forwarded-For": CANARY,
    "Origin": f"https://{CANARY}.example",
}


@dataclass
class Heard:
    """Everything that left the process by another way than the answer of a call that went well."""

    records: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)


class _Listener(logging.Handler):
    def __init__(self, heard: Heard) -> None:
        super().__init__(logging.DEBUG)
        self.heard = heard

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.records.append(f"{record.getMessage()} {record.exc_info} {record.__dict__}")


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Production's logs, and besides them whatever any library has to say at DEBUG."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    logs.log_to_stdout("DEBUG", readable=False)
    found = Heard()
    root.addHandler(_Listener(found))
    root.setLevel(logging.DEBUG)
    yield found
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)


def call(hook: str = "patient-view", prefetch: Any = None, **members: Any) -> Json:
    """A call in which everything that may be free is a canary."""
    body = hook_request(hook, prefetch=prefetch or {}, hookInstance=CANARY, fhirAuthorization=ACCESS, **members)
    body["context"] |= {"patientId": ID, "encounterId": f"{CANARY}-encounter", "userId": f"Practitioner/{CANARY}"}
    body["context"] |= {"zz": WORDS}
    if hook.startswith("order"):
        body["context"] |= {"draftOrders": bundle(DRUG), "selections": [f"MedicationRequest/{CANARY}-drug"]}
    return body | {"extension": {CANARY: WORDS}, "zz": WORDS}


WHOLE = {"patient": PERSON, "magnesium": bundle(RESULT), f"{CANARY} {NAME}": None, "conditions": OUTCOME}
REPORT = {
    "card": "4f6cb2a9-6c3e-4ab4-9b0e-2f3ad5c0a7d1",
    "outcome": "overridden",
    "outcomeTimestamp": "2026-11-20T08:58:00Z",
    "zz": WORDS,
}
WRONG_REPORT = {"card": {"x": WORDS}, "outcome": CANARY, "outcomeTimestamp": WORDS}
TEXT = msgspec.json.encode(call(prefetch=WHOLE))
JSON = "application/json"
BATCH, FHIR = "/v1/evaluate/batch", "/fhir/$evaluate-magnesium"
DATA = {"name": "data", "resource": bundle(PERSON, RESULT, DRUG)}
SUBJECT = {"name": "subject", "valueString": f"Patient/{ID}"}
SAID = {"name": CANARY, "valueString": WORDS}

Call = Callable[[RunningApp], Any]
CALLS: dict[str, Call] = {
    **{
        f"hook-{hook}": lambda house, hook=hook: house.post(f"/cds-services/magnesium-{hook}", call(hook, WHOLE))
        for hook in ("patient-view", "order-select", "order-sign", "encounter-start", "encounter-discharge")
    },
    "hook-no-data": lambda house: house.post(VIEW, call()),
    "hook-odd-prefetch": lambda house: house.post(VIEW, call(prefetch=dict.fromkeys(WHOLE, WORDS))),
    "hook-no-drafts": lambda house: house.post("/cds-services/magnesium-order-sign", call()),
    "hook-wrong-drafts": lambda house: house.post(
        "/cds-services/magnesium-order-sign",
        call("order-sign") | {"context": {"patientId": ID, "userId": NAME, "draftOrders": WORDS}},
    ),
    "hook-wrong-hook": lambda house: house.post(VIEW, call() | {"hook": NAME}),
    "hook-wrong-context": lambda house: house.post(VIEW, call() | {"context": WORDS}),
    "hook-wrong-context-member": lambda house: house.post(VIEW, call() | {"context": {"patientId": [WORDS]}}),
    "hook-wrong-prefetch": lambda house: house.post(VIEW, call() | {"prefetch": WORDS}),
    "hook-wrong-access": lambda house: house.post(VIEW, call() | {"fhirAuthorization": TOKEN}),
    "hook-cut": lambda house: house.client.post(VIEW, data=TEXT[:-5], headers=bearer(VIEW), content_type=JSON),
    "hook-latin-1": lambda house: house.client.post(VIEW, data=TEXT + b"\xe9", headers=bearer(VIEW), content_type=JSON),
    "hook-key-twice": lambda house: house.client.post(
        VIEW,
        data=TEXT.replace(b'"prefetch":{', b'"prefetch":{"' + NAME.encode() + b' x":1,"' + NAME.encode() + b' x":2,'),
        headers=bearer(VIEW),
        content_type=JSON,
    ),
    "hook-huge-number": lambda house: house.client.post(
        VIEW, data=TEXT.replace(b'"value":1.1', b'"value":' + b"1" * 5000), headers=bearer(VIEW), content_type=JSON
    ),
    "hook-too-large": lambda house: house.client.post(VIEW, data=TEXT * 200, headers=bearer(VIEW), content_type=JSON),
    "hook-wrong-type": lambda house: house.client.post(
        VIEW, data=TEXT, headers=bearer(VIEW), content_type=f"text/{CANARY}"
    ),
    "hook-unknown": lambda house: house.post(f"/cds-services/{NAME}", call()),
    "hook-wrong-method": lambda house: house.client.delete(f"{VIEW}?patient={ID}", headers=HEADERS),
    "headers": lambda house: house.post(
        VIEW, call(prefetch=WHOLE), **{k.replace("-", "_"): v for k, v in HEADERS.items()}
    ),
    "no-token": lambda house: house.client.post(VIEW, json=call(prefetch=WHOLE)),
    "token-no-jwt": lambda house: house.client.post(VIEW, json=call(), headers={"Authorization": f"Bearer {CANARY}"}),
    "token-basic": lambda house: house.client.post(VIEW, json=call(), headers={"Authorization": f"Basic {CANARY}"}),
    "token-expired": lambda house: house.client.post(VIEW, json=call(), headers=bearer(VIEW, exp=1, sub=CANARY)),
    "token-other-issuer": lambda house: house.client.post(
        VIEW, json=call(), headers=bearer(VIEW, iss=f"{ISSUER}/{CANARY}")
    ),
    "token-other-audience": lambda house: house.client.post(
        VIEW, json=call(), headers=bearer(VIEW, aud=CANARY, jti=CANARY)
    ),
    "feedback": lambda house: house.post(f"{VIEW}/feedback", {"feedback": [REPORT]}),
    "feedback-wrong-item": lambda house: house.post(f"{VIEW}/feedback", {"feedback": [WRONG_REPORT]}),
    "feedback-wrong": lambda house: house.post(f"{VIEW}/feedback", {"feedback": WORDS}),
    "evaluate": lambda house: house.post(
        "/v1/evaluate", {"bundle": bundle(PERSON, RESULT), "context": {"patientId": ID}}
    ),
    "evaluate-wrong-bundle": lambda house: house.post("/v1/evaluate", {"bundle": WORDS}),
    "evaluate-wrong-hook": lambda house: house.post("/v1/evaluate", {"bundle": bundle(PERSON), "hook": NAME}),
    "evaluate-wrong-date": lambda house: house.post("/v1/evaluate", {"bundle": bundle(PERSON), "asOf": NAME}),
    "evaluate-wrong-language": lambda house: house.post("/v1/evaluate", {"bundle": bundle(PERSON), "language": NAME}),
    "evaluate-wrong-profile": lambda house: house.post(
        "/v1/evaluate", {"bundle": bundle(PERSON), "options": {"referenceProfile": NAME}}
    ),
    "evaluate-two-patients": lambda house: house.post("/v1/evaluate", {"bundle": bundle(PERSON, PATIENT)}),
    "batch": lambda house: house.client.post(
        BATCH,
        data=b"\n".join([msgspec.json.encode({"bundle": bundle(PERSON, RESULT)}), WORDS.encode(), TEXT, TEXT[:-5]]),
        headers=bearer(BATCH),
        content_type="application/x-ndjson",
        buffered=True,
    ),
    "fhir": lambda house: house.post(FHIR, {"resourceType": "Parameters", "parameter": [DATA, SUBJECT, SAID]}),
    "fhir-wrong-hook": lambda house: house.post(
        FHIR, {"resourceType": "Parameters", "parameter": [DATA, {"name": "hook", "valueCode": NAME}]}
    ),
    "fhir-wrong-data": lambda house: house.post(FHIR, {"resourceType": NAME, "parameter": WORDS}),
    "explain": lambda house: house.post(f"/explain?iss=https://{CANARY}.example", {"bundle": bundle(PERSON, RESULT)}),
    "explain-sample": lambda house: house.client.get(f"/explain?sample={NAME}"),
    "smart-launch": lambda house: house.client.get(f"/smart/launch?iss=https://{CANARY}.example&launch={NAME}"),
    "smart-app": lambda house: house.client.get(f"/smart/app?code={TOKEN}&state={CANARY}"),
    "calculation-unknown": lambda house: house.post(f"/v1/calculations/{NAME}", {"zz": WORDS}),
    "calculation-wrong": lambda house: house.post(
        "/v1/calculations/egfr", {"creatinine": WORDS, "sex": NAME, "age": NUMBER}
    ),
    "rule-unknown": lambda house: house.client.get(f"/v1/rules/{NAME}"),
    "parameter-unknown": lambda house: house.client.get(f"/v1/parameters/{NAME}"),
    "summary-wrong": lambda house: house.client.get(
        f"/v1/feedback/summary?since={NAME}", headers=bearer("/v1/feedback/summary")
    ),
    "no-such-path": lambda house: house.client.get(f"/Patient/{ID}?name={NAME}"),
    "static": lambda house: house.client.get(f"/static/{NAME}"),
    "sample": lambda house: house.client.get(f"/samples/{NAME}"),
    "fault-of-ours": lambda house: house.client.get("/fault"),
}


def fault() -> str:
    """A fault whose message and cause quote a patient."""
    try:
        return {}[WORDS]
    except KeyError as cause:
        raise ValueError(f"{NAME} {TOKEN}") from cause


@pytest.fixture(scope="module")
def houses(tmp_path_factory) -> Iterator[dict[str, RunningApp]]:
    """One whose database works, and one whose database is not there."""
    here, gone = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("gone")
    lost = "sqlite:////proc/none/store.sqlite3"
    limit = "max_body_bytes = 100000"
    secret = {"MAGNESIUM_CDS_SECRET": "the repeat guard remembers under it"}
    with locked_app(here, service=limit, **secret) as one, locked_app(gone, service=limit, DATABASE_URL=lost) as other:
        for house in (one, other):
            house.app.add_url_rule("/fault", view_func=fault)
        yield {"here": one, "gone": other}
        other.app.extensions["dependencies"].store.close(0)
    stored_nothing(here)
    with closing(sqlite3.connect(here / "store.sqlite3")) as found:  # and it had something to look at
        assert found.execute("SELECT count(*) FROM sightings").fetchone() != (0,)


def silent(heard: Heard, house: RunningApp, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing that was heard holds a canary, nor do the metrics, nor the files of the database."""
    out, err = capsys.readouterr()
    records = [record for record in heard.records if "zqx" in record or NUMBER in record]
    assert records == []
    for text in (out, err, *heard.answers, house.client.get("/metrics").text):
        assert CANARY not in text.lower()
        assert NUMBER not in text
    stored_nothing(house.folder)


def stored_nothing(folder: Path) -> None:
    """No file of the database holds a canary."""
    for path in folder.glob("store.sqlite3*"):
        stored = path.read_bytes()
        assert CANARY.encode() not in stored
        assert NUMBER.encode() not in stored


@pytest.mark.parametrize("database", ["here", "gone"])
@pytest.mark.parametrize("name", CALLS)
def test_nothing_is_left_behind_of_a_call(houses, heard, capsys, name, database):
    house = houses[database]
    answer = CALLS[name](house)
    heard.answers.append(str(answer.headers))
    if answer.status_code != 200:
        heard.answers.append(answer.text)
    assert ("fault" in name) is (answer.status_code == 500)
    silent(heard, house, capsys)


def test_the_words_of_a_comment_are_not_logged_and_no_number_in_them_is_stored(houses, heard, capsys):
    reason = {
        "reason": {"code": "other", "system": "urn:x", "display": "Other"},
        "userComment": f"MRN {NUMBER}, a@b.example: seen",
    }
    answer = houses["here"].post(f"{VIEW}/feedback", {"feedback": [REPORT | {"overrideReason": reason}]})
    assert answer.status_code == 200
    silent(heard, houses["here"], capsys)
    out = capsys.readouterr().out
    assert "seen" not in out


def echo(request: Request, sock: Any) -> None:
    """Says everything that it was told, and calls it an error."""
    body = repr(request).encode()
    sock.sendall(b"HTTP/1.1 500 " + CANARY.encode() + b"\r\ncontent-length: %d\r\n\r\n" % len(body) + body)


PAGE = msgspec.json.encode(
    {"resourceType": "Bundle", "link": [{"relation": "next", "url": f"http://{CANARY}.example/{ID}"}]}
)
SERVERS: dict[str, Answer] = {
    "refuses": reply(msgspec.json.encode(OUTCOME), 401, www_authenticate=CANARY),
    "echoes": echo,
    "redirects": reply(WORDS.encode(), 302, location=f"http://127.0.0.1:1/{ID}"),
    "html": reply(f"<html>{WORDS}".encode()),
    "outcome": reply(msgspec.json.encode(OUTCOME)),
    "page-elsewhere": reply(PAGE),
    "garbage": raw(WORDS.encode() + b"\r\n\r\n"),
    "wrong-length": reply(PAGE, content_length=CANARY),
    "hangs-up": raw(b""),
    "finds": reply(msgspec.json.encode(bundle(PERSON, RESULT))),
}


ABSENT: dict[str, Callable[[], Any]] = {"nobody": nobody, "deaf": deaf}


@pytest.mark.parametrize("name", [*SERVERS, *ABSENT, "https"])
def test_nothing_is_left_behind_of_reading_a_fhir_server(tmp_path, heard, capsys, name):
    with serving(SERVERS.get(name, reply())) as server, ABSENT.get(name, nullcontext)() as other:
        base = {"https": server.base.replace("http:", "https:")}.get(name, other or server.base)
        with open_app(tmp_path) as house:
            body = call() | {"fhirServer": base}
            body["fhirAuthorization"] = ACCESS | {"expires_in": 1 if name in {"deaf", "hangs-up"} else 300}
            answer = house.post(VIEW, body)
            assert answer.status_code == (200 if name == "finds" else 412)
            if answer.status_code != 200:
                heard.answers.append(answer.text)
        silent(heard, house, capsys)


def test_the_canaries_are_sent_and_would_be_found(houses, heard, capsys, tmp_path: Path):
    """The test of the test: what is said aloud is heard."""
    logging.getLogger("some.library").debug("read %s", ID)
    print(NAME)
    (tmp_path / "store.sqlite3").write_bytes(NAME.encode())
    for house in (houses["here"], RunningApp(houses["here"].app, tmp_path, locked=True)):
        with pytest.raises(AssertionError):
            silent(heard, house, capsys)
        heard.records.clear()
