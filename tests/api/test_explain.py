"""/explain: the page says why, which number, from when, from where, and what was not known; and is never open."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from service.samples import samples
from tests.api.apps import locked_app, open_app
from tests.contract.messages import LOW, PATIENT, bundle, hook_request, medication, observation

RESTS = "What it rests on"
HTML = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FAILED = {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "exception"}]}


class Read(HTMLParser):
    """The words of a page, section by section, and what a strict policy would block."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.inline: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.inline += [name for name, _ in attrs if name == "style" or name.startswith("on")]
        self.links += [value for name, value in attrs if tag == "a" and name == "href" and value]

    def handle_data(self, data):
        if data.strip():
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words)


def explained(house, body, **headers) -> Read:
    answer = house.client.post("/explain", json=body, headers=HTML | headers)
    assert (answer.status_code, answer.mimetype) == (200, "text/html"), answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    return Read(answer.text)


CHART = {"bundle": bundle(PATIENT, LOW, medication("m1", "7646", "Omeprazole"), kind="collection")}


def test_the_page_says_which_number_from_when_from_where_and_by_which_source(tmp_path: Path) -> None:
    with open_app(tmp_path) as house:
        page = explained(house, CHART)
    start = page.text.index(RESTS)
    assert re.search(r"serum magnesium 1\.1 mg/dL 20 Nov 2026 06:30 Observation/mg1", page.text[start:])
    assert "omeprazole" in page.text[start:].lower()
    assert "MedicationRequest/m1" in page.text
    assert "Hedayati 2024" in page.text
    assert any(re.search(r"^v1/rules/R-011\b", link) for link in page.links)
    assert page.inline == []


def test_what_was_not_known_names_the_input_and_the_rules_that_want_it(tmp_path: Path) -> None:
    with open_app(tmp_path) as house:
        page = explained(house, CHART)
    assert re.search(r"creatinine – needed by (R-\d{3} ?,? ?)+", page.text)


def test_what_could_not_be_read_of_a_chart_is_said_first(tmp_path: Path) -> None:
    body = hook_request()
    body["prefetch"] = body["prefetch"] | {"medicationRequests": FAILED}
    with open_app(tmp_path) as house:
        page = explained(house, body)
    assert page.text.index("medication orders") < page.text.index(RESTS)
    assert "the EHR could not read it" in page.text


def test_what_was_read_in_part_is_no_whole(tmp_path: Path) -> None:
    body = hook_request()
    part = body["prefetch"]["medicationRequests"] | {"link": [{"relation": "next", "url": "https://ehr.example/p2"}]}
    body["prefetch"] = body["prefetch"] | {"medicationRequests": part}
    with open_app(tmp_path) as house:
        page = explained(house, body)
    assert "medication orders : only a part could be read" in page.text


def test_a_chart_of_which_magnesium_could_not_be_read_is_no_page_but_412(tmp_path: Path) -> None:
    body = hook_request()
    body["prefetch"] = body["prefetch"] | {"magnesium": FAILED}
    with open_app(tmp_path) as house:
        answer = house.client.post("/explain", json=body, headers=HTML)
    assert (answer.status_code, answer.json["issue"][0]["expression"]) == (412, ["$.prefetch.magnesium"])


def test_calculations_stand_with_the_numbers_put_in(tmp_path: Path) -> None:
    creatinine = observation("cr1", "2160-0", 1.4, "mg/dL")
    with open_app(tmp_path) as house:
        page = explained(house, {"bundle": bundle(PATIENT, LOW, creatinine, kind="collection")})
    assert "142 × min(1.4/0.7, 1)^−0.241 × max(1.4/0.7, 1)^−1.200 × 0.9938^69 × 1.012" in page.text
    assert "creatinine 1.4 mg/dL" in page.text


def test_without_a_card_the_page_says_so_and_names_the_last_magnesium(tmp_path: Path) -> None:
    normal = observation("mg1", "19123-9", 2.0, "mg/dL")
    with open_app(tmp_path) as house:
        assert (
            "No card. Last serum magnesium 2.0 mg/dL"
            in explained(house, {"bundle": bundle(PATIENT, normal, kind="collection")}).text
        )
        assert (
            "No card. Serum magnesium is not known."
            in explained(house, {"bundle": bundle(PATIENT, kind="collection")}).text
        )


def test_words_of_the_chart_cannot_become_markup(tmp_path: Path) -> None:
    drug = medication("m1", "7646", "<img src=x onerror=alert(1)>")
    with open_app(tmp_path) as house:
        answer = house.client.post("/explain", json={"bundle": bundle(PATIENT, LOW, drug)}, headers=HTML)
    assert "<img src=x" not in answer.text
    assert "onerror" not in Read(answer.text).inline


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
def test_the_page_speaks_the_language_of_its_reader(tmp_path: Path, language: str) -> None:
    with open_app(tmp_path) as house:
        answer = house.client.post("/explain", json=CHART | {"language": language}, headers=HTML)
    direction = "rtl" if language == "fa" else "ltr"
    assert f'<html lang="{language}" dir="{direction}">' in answer.text
    assert answer.headers["Content-Language"] == language


def test_every_sample_is_explained_or_refused_by_name(tmp_path: Path) -> None:
    with open_app(tmp_path) as house:
        for name in samples():
            answer = house.client.get(f"/explain?sample={name}", headers=HTML)
            refused = name == "magnesium-not-available"  # the sample of a query that failed
            assert answer.status_code == (412 if refused else 200), name
        assert house.client.get("/explain?sample=none", headers=HTML).status_code == 404


def test_the_page_to_ask_offers_every_sample_and_loads_only_its_own_files(tmp_path: Path) -> None:
    with open_app(tmp_path) as house:
        page = house.client.get("/explain", headers=HTML).text
        for name in samples():
            assert f"explain?sample={name}" in page
        for file in re.findall(r'(?:src|href)="(static/[^"]+)"', page):
            assert house.client.get(f"/{file}").status_code == 200
        assert Read(page).inline == []


def test_nothing_is_explained_where_callers_must_be_proved_and_no_ehr_is_configured(tmp_path: Path) -> None:
    with locked_app(tmp_path) as house:
        asked = house.client.get("/explain", headers=HTML)
        sent = house.client.post("/explain", json=CHART, headers=HTML)
    assert (asked.status_code, sent.status_code) == (404, 401)
    assert "SMART" in asked.json["issue"][0]["details"]["text"]
