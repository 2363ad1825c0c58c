"""What one caller may ask of the service: how often, how much, how deep, and nothing that has two meanings."""

from __future__ import annotations

import codecs
from io import BytesIO
from typing import Any

import msgspec
import pytest

from service.api.http.rate_limit import RateLimit
from service.api.http.request_body import CALCULATION_BYTES, DISCARDED
from service.errors import TooManyRequests
from service.fhir.decode import MAX_ENTRIES
from tests.api.apps import VIEW, locked_app, open_app
from tests.contract.messages import LOW, PATIENT, bundle, evaluation, having, hook_request, without

LIMIT = 200_000


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    with open_app(tmp_path_factory.mktemp("limits")) as house:
        yield house


# --- how often ---


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def taken(limit: RateLimit, caller: str, calls: int) -> int:
    """How many of so many calls were let in."""
    done = 0
    for _ in range(calls):
        try:
            limit.take(caller)
            done += 1
        except TooManyRequests:
            pass
    return done


def test_a_full_bucket_lets_the_calls_of_a_minute_in_at_once_and_no_more():
    assert taken(RateLimit(120, Clock()), "clinic", 200) == 120


def test_calls_come_back_evenly_and_never_beyond_the_bucket():
    clock = Clock()
    limit = RateLimit(120, clock)
    taken(limit, "clinic", 120)
    clock.now = 10
    assert taken(limit, "clinic", 100) == 20
    clock.now = 10_000
    assert taken(limit, "clinic", 500) == 120


def test_one_caller_does_not_use_up_the_calls_of_another():
    limit = RateLimit(3, Clock())
    assert [taken(limit, name, 5) for name in ("a", "b")] == [3, 3]


@pytest.mark.parametrize(("per_minute", "seconds"), [(1, 60), (6, 10), (120, 1), (1_000_000, 1)])
def test_the_caller_is_told_when_to_come_back(per_minute, seconds):
    clock = Clock()
    limit = RateLimit(per_minute, clock)
    taken(limit, "clinic", per_minute)
    with pytest.raises(TooManyRequests) as refusal:
        limit.take("clinic")
    assert refusal.value.retry_after == seconds
    clock.now += seconds
    limit.take("clinic")


def test_a_burst_of_proved_callers_is_answered_with_429(tmp_path):
    with locked_app(tmp_path, service="rate_limit_per_minute = 3") as house:
        answers = [house.post(VIEW, hook_request()) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        assert int(answers[-1].headers["Retry-After"]) in range(1, 21)
        assert answers[-1].json["issue"][0]["code"] == "throttled"
        assert house.post("/v1/evaluate", evaluation()).status_code == 429
        assert house.client.get("/health/ready").status_code == 200


def test_callers_without_a_token_use_up_nobodys_calls(tmp_path):
    with locked_app(tmp_path, service="rate_limit_per_minute = 1") as house:
        assert {house.client.post(VIEW, json=hook_request()).status_code for _ in range(5)} == {401}
        assert house.post(VIEW, hook_request()).status_code == 200


# --- how much ---


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    with locked_app(tmp_path_factory.mktemp("small"), service=f"max_body_bytes = {LIMIT}") as house:
        yield house


def sent(house, body: bytes, stated: bool) -> tuple[Any, int]:
    """The answer to a body whose length is stated, or that comes in chunks; and how much of it was read."""
    stream = BytesIO(body)
    length = {"CONTENT_LENGTH": str(len(body))} if stated else {"wsgi.input_terminated": True}
    answer = house.client.post(VIEW, input_stream=stream, environ_overrides=length, content_type="application/json")
    return answer, stream.tell()


@pytest.mark.parametrize("stated", [True, False])
@pytest.mark.parametrize(("size", "status"), [(LIMIT, 401), (LIMIT + 1, 413), (3 * LIMIT, 413), (20 * LIMIT, 413)])
def test_a_body_over_the_limit_is_413_and_one_at_the_limit_is_not(small, size, status, stated):
    answer, read = sent(small, b" " * size, stated)
    assert answer.status_code == status
    assert read >= min(size, DISCARDED * LIMIT)  # so that the client gets to read the answer
    assert read <= (DISCARDED + 2) * LIMIT


@pytest.mark.parametrize("first", [b"{}", b"null", b"1", b'{"resource":[]}'])
def test_a_bundle_of_too_many_entries_is_413_and_names_it(house, first):
    many = b'{"resourceType":"Bundle","entry":[' + b",".join([first] + [b"{}"] * MAX_ENTRIES) + b"]}"
    body = having(hook_request(), msgspec.Raw(many), "prefetch", "potassium")
    answer = house.client.post(VIEW, data=msgspec.json.encode(body), content_type="application/json")
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (413, ["$.prefetch.potassium.entry"])
    answer = house.client.post("/v1/evaluate", data=b'{"bundle":' + many + b"}", content_type="application/json")
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (413, ["$.bundle.entry"])


def test_a_bundle_of_many_entries_is_read(house):
    many = bundle(PATIENT, *({**LOW, "id": f"mg{n}"} for n in range(2000)))
    assert house.post("/v1/evaluate", {"bundle": many}).status_code == 200


# --- how deep, how odd ---


def test_a_byte_order_mark_before_the_body_is_passed_over(house):
    body = codecs.BOM_UTF8 + msgspec.json.encode({"bundle": bundle(PATIENT, LOW)})
    answer = house.client.post("/v1/evaluate", data=body, content_type="application/json")
    assert (answer.status_code, len(answer.json["read"]["labs"])) == (200, 1)


@pytest.mark.parametrize("wrapped", [False, True])
def test_an_outcome_instead_of_data_is_refused(house, wrapped):
    failed = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "timeout"}]}
    answer = house.post("/v1/evaluate", {"bundle": bundle(failed) if wrapped else failed})
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (400, ["$.bundle"])
    assert "OperationOutcome" in answer.text


def test_a_resource_with_a_member_twice_is_named(house):
    twice = msgspec.json.encode({"bundle": bundle(PATIENT, LOW)}).replace(
        b'"status":', b'"status":"final","status":', 1
    )
    answer = house.client.post("/v1/evaluate", data=twice, content_type="application/json")
    assert answer.json["read"]["labs"] == []
    assert "stands twice" in answer.text


BODY = msgspec.json.encode(hook_request())
DEEP = b"[" * 100_000 + b"]" * 100_000


def with_value(raw: bytes) -> bytes:
    """The usual call, in which the value of the potassium is this."""
    assert BODY.count(b'"value":3.2') == 1
    return BODY.replace(b'"value":3.2', b'"value":' + raw)


REFUSED = {
    "deep": DEEP,
    "deep-in-prefetch": BODY.replace(b'"conditions":null', b'"conditions":' + DEEP),
    "deep-and-open": b'{"a":' * 100_000,
    "nan": with_value(b"NaN"),
    "infinity": with_value(b"Infinity"),
    "minus-infinity": with_value(b"-Infinity"),
    "leading-zero": with_value(b"03.2"),
    "hexadecimal": with_value(b"0x3"),
    "not-utf-8": BODY.replace(b"Practitioner/1", b"Practitioner/\xff"),
    "not-utf-8-in-prefetch": BODY.replace(b"Omeprazole", b"Omepraz\xf3l"),
    "utf-16": BODY.decode().encode("utf-16"),
    "comment": b"/* hello */" + BODY,
    "trailing-comma": BODY[:-1] + b",}",
    "two-objects": BODY + BODY,
    "a-list": b"[" + BODY + b"]",
    "a-string": b'"hello"',
    "nothing": b"",
    "blanks": b" \n",
}


@pytest.mark.parametrize("path", [VIEW, f"{VIEW}/feedback", "/v1/evaluate", "/v1/calculations/egfr"])
@pytest.mark.parametrize("body", REFUSED)
def test_what_is_no_json_is_400(house, body, path):
    answer = house.client.post(path, data=REFUSED[body], content_type="application/json")
    too_long = "calculations" in path and len(REFUSED[body]) > CALCULATION_BYTES
    assert answer.status_code == (413 if too_long else 400)
    assert answer.json["resourceType"] == "OperationOutcome"


HUGE = (b"1e400", b"-1e400", b"1e99999999999999999999", b"-1e-99999999999999999999", b"9" * 5000)


@pytest.mark.parametrize("number", HUGE)
def test_a_huge_number_breaks_nothing(house, number):
    bundled = msgspec.json.encode(evaluation()).replace(b'"value":1.1', b'"value":' + number)
    for path, body in ((VIEW, with_value(number)), ("/v1/evaluate", bundled)):
        assert number in body
        assert house.client.post(path, data=body, content_type="application/json").status_code in {200, 400}


# --- one meaning only ---


def twice(outer: bytes, key: bytes, first: bytes, second: bytes) -> bytes:
    """The usual call with a key of one of its objects given two values."""
    start = b"{" if not outer else b'"' + outer + b'":{'
    assert start in BODY
    return BODY.replace(start, start + b'"' + key + b'":' + first + b',"' + key + b'":' + second + b",", 1)


TWICE = {
    "fhirServer": twice(b"", b"fhirServer", b'"https://a.example"', b'"https://b.example"'),
    "the-same-value": twice(b"", b"fhirServer", b'"https://a.example"', b'"https://a.example"'),
    "one-a-part-of-the-other": twice(b"", b"fhirServer", b"12", b"1"),
    "escaped": BODY.replace(b'"hook":', rb'"\u0068ook":"order-sign","hook":', 1),
    "last": BODY[:-1] + b',"hook":"patient-view"}',
    "hidden-in-blanks": BODY[:-1] + b' , "hook" : "patient-view" \n }',
}


@pytest.mark.parametrize("name", TWICE)
def test_a_key_of_the_envelope_that_occurs_twice_is_named(house, name):
    answer = house.client.post(VIEW, data=TWICE[name], content_type="application/json")
    assert answer.status_code == 400
    (issue,) = answer.json["issue"]
    assert issue["details"]["text"].removesuffix(" occurs twice") in {"hook", "fhirServer"}
    assert issue["expression"] == ["$"]


@pytest.mark.parametrize(
    ("outer", "key"), [("context", "patientId"), ("context", "encounterId"), ("prefetch", "magnesium")]
)
def test_a_key_of_an_inner_object_that_occurs_twice_is_named_with_its_place(house, outer, key):
    body = twice(outer.encode(), key.encode(), b"null", b"null")
    answer = house.client.post(VIEW, data=body, content_type="application/json")
    assert answer.status_code == 400
    assert answer.json["issue"][0]["details"]["text"] == f"{key} occurs twice"
    assert answer.json["issue"][0]["expression"] == [f"$.{outer}"]


@pytest.mark.parametrize("decoy", [b'{"prefetch":%s}', b'{"extension":{"prefetch":%s}}'])
@pytest.mark.parametrize("first", [True, False])
def test_another_object_called_prefetch_does_not_hide_a_key_that_occurs_twice(house, decoy, first):
    """Whichever of the two is met first, and although the other one is in order."""
    sent, broken = BODY, twice(b"prefetch", b"magnesium", b"null", b"null")
    hidden = b'"extension":' + decoy % msgspec.json.encode(msgspec.json.decode(sent)["prefetch"])
    body = broken.replace(b"{", b"{" + hidden + b",", 1) if first else broken[:-1] + b"," + hidden + b"}"
    answer = house.client.post(VIEW, data=body, content_type="application/json")
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (400, ["$.prefetch"])


def test_a_whole_prefetch_that_occurs_twice_is_named(house):
    again = b',"prefetch":' + msgspec.json.encode(msgspec.json.decode(BODY)["prefetch"]) + b"}"
    answer = house.client.post(VIEW, data=BODY[:-1] + again, content_type="application/json")
    assert answer.json["issue"][0]["details"]["text"] == "prefetch occurs twice"


def test_a_key_is_named_also_where_its_second_value_is_as_long_as_the_way_into_another(house):
    start = b'{"hook":1,"context":{"x":1'
    body = start + b',"y":2},"hook":"' + b"x" * (len(start) - len(b'{"hook":') - 2) + b'"}'
    answer = house.client.post(VIEW, data=body, content_type="application/json")
    assert answer.json["issue"][0]["details"]["text"] == "hook occurs twice"


def test_a_key_that_could_be_anything_is_not_quoted(house):
    body = twice(b"prefetch", b"Ivanova, Maria", b"null", b"null")
    answer = house.client.post(VIEW, data=body, content_type="application/json")
    assert answer.json["issue"][0]["details"]["text"] == "a key occurs twice"


ONCE = {
    "blanks": msgspec.json.format(BODY, indent=4),
    "escaped-key": BODY.replace(b'"hook"', rb'"\u0068ook"', 1),
    "key-in-a-string": BODY.replace(b'"hookInstance":"', rb'"hookInstance":"\"hook\":\"x\",', 1),
    "empty-objects": msgspec.json.encode(hook_request(fhirAuthorization={}, extension={})),
}


@pytest.mark.parametrize("name", ONCE)
def test_keys_that_occur_once_are_let_through(house, name):
    assert house.client.post(VIEW, data=ONCE[name], content_type="application/json").status_code == 200


# --- what is not there, what is not known ---


def said(answer: Any) -> Any:
    """The cards without what differs from call to call."""
    assert answer.status_code == 200, answer.json
    return [without(card, "uuid") | {"suggestions": len(card.get("suggestions", ()))} for card in answer.json["cards"]]


OPTIONAL = ("fhirServer", "fhirAuthorization", "extension")


@pytest.mark.parametrize("name", OPTIONAL)
def test_null_is_as_good_as_absent(house, name):
    assert said(house.post(VIEW, hook_request(**{name: None}))) == said(house.post(VIEW, hook_request()))


def test_null_for_prefetch_and_in_the_context_is_as_good_as_absent(house):
    assert house.post(VIEW, hook_request(prefetch=None)).status_code == 412
    assert said(house.post(VIEW, having(hook_request(), None, "context", "encounterId"))) == said(
        house.post(VIEW, hook_request())
    )


@pytest.mark.parametrize(
    "where",
    [("zz",), ("context", "zz"), ("fhirAuthorization", "zz"), ("prefetch", "potassium", "zz"), ("extension", "zz")],
)
@pytest.mark.parametrize("value", [1, {"a": []}, None, "x"])
def test_members_that_are_not_known_change_nothing(house, where, value):
    plain = hook_request(fhirAuthorization={"access_token": "t", "token_type": "Bearer"}, extension={"a": 1})
    assert said(house.post(VIEW, having(plain, value, *where))) == said(house.post(VIEW, hook_request()))


@pytest.mark.parametrize("value", [1, "x", [], [{}], True])
def test_an_extension_of_another_shape_is_let_be(house, value):
    assert said(house.post(VIEW, hook_request(extension=value))) == said(house.post(VIEW, hook_request()))


@pytest.mark.parametrize("name", ["patientId", "encounterId", "userId"])
@pytest.mark.parametrize("value", [".", "..", "Patient/..", "../Patient/1", "a/./b"])
def test_an_id_that_is_a_path_is_400(house, name, value):
    answer = house.post(VIEW, having(hook_request(), value, "context", name))
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (400, [f"$.context.{name}"])


def test_an_id_may_hold_dots(house):
    assert house.post(VIEW, having(hook_request(), "enc.1..2", "context", "encounterId")).status_code == 200


@pytest.mark.parametrize("member", ["prefetch", "context"])
@pytest.mark.parametrize(("number", "status"), [(190, 200), (450, 400)])
def test_more_keys_than_any_ehr_sends_are_400(house, member, number, status):
    body = hook_request()
    body[member] = body[member] | {f"k{n}": None for n in range(number)}
    assert house.post(VIEW, body).status_code == status


def test_a_rule_that_the_site_switched_off_says_so(tmp_path):
    (tmp_path / "site.toml").write_text('[rules]\nR-011 = "off"\n', encoding="utf-8")
    with open_app(tmp_path, MAGNESIUM_CDS_SITE=str(tmp_path / "site.toml")) as app:
        found = app.client.post("/v1/evaluate", json=evaluation()).json["findings"]
    assert [finding for finding in found if finding["rule"] == "R-011"] == [
        {"rule": "R-011", "name": "hypomagnesaemia-severity", "outcome": "off", "shown": False}
    ]
    assert [finding["rule"] for finding in found if finding["outcome"] == "off"] == ["R-011"]
