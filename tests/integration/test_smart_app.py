"""The SMART app in a real Chromium, against a real FHIR server behind a real authorization flow (PKCE, introspection)."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from structlog.testing import capture_logs
from werkzeug.serving import make_server

from service.app import create_app
from service.settings import load
from service.site import site_schema
from tests.chromium import WIDTHS, chromium, page_of, violations
from tests.contract.messages import PATIENT, bundle, medication, observation
from tests.integration.ehr import CLIENT, SECRET, Ehr, an_ehr

CARD = '{"card":"R011","rules":["R-011","R-092"]}'


@dataclass
class House:
    """The service with one EHR, as it serves."""

    base: str
    ehr: Ehr
    patient: str


SITE = """
[service]
public_urls = ["{base}"]
{service}
[[tenant]]
name = "clinic"
iss = "https://ehr.hospital.example"
jku = ["https://ehr.hospital.example/jwks"]
[tenant.smart]
client_id = "{client}"
iss = ["{ehr.base}"]
hosts = ["{ehr.origin}"]
{proof}
"""
INTROSPECTION = """
introspection = "{ehr.origin}/auth/introspect"
introspection_client = "introspector"
introspection_secret_file = "secret"
"""
KEYS = 'jwks = "{ehr.origin}/auth/jwks"\nissuer = "{ehr.origin}"'


@pytest.fixture(scope="module")
def patient(fhir_server) -> str:
    """A synthetic patient with a magnesium that fell within weeks, on omeprazole."""
    ident = fhir_server.new_id()
    subject = {"subject": {"reference": f"Patient/{ident}"}}
    fhir_server.put(PATIENT | {"id": ident})
    for days, magnesium in ((40, 1.9), (20, 1.5), (1, 1.10)):
        taken = (datetime.now(UTC) - timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")
        for loinc, value, unit in (
            ("19123-9", magnesium, "mg/dL"),
            ("2160-0", 1.2, "mg/dL"),
            ("2823-3", 3.1, "mmol/L"),
        ):
            result = observation(fhir_server.new_id(), loinc, value, unit, effectiveDateTime=taken)
            fhir_server.put(result | subject)
    fhir_server.put(medication(fhir_server.new_id(), "7646", "Omeprazole") | subject)
    return ident


@pytest.fixture(scope="module")
def ehr(fhir_server, patient) -> Iterator[Ehr]:
    with an_ehr(fhir_server.base, fhir_server.token) as running:
        running.standalone = {"patient": patient}
        running.launches["from-card"] = {"patient": patient, "appContext": CARD}
        running.launches["from-menu"] = {"patient": patient}
        yield running


def serving(
    folder: Path, ehr: Ehr, proof: str = INTROSPECTION, service: str = "", *, site: bool = True
) -> Iterator[str]:
    """The service on a free port, where the site file names the EHR; without one, open development."""
    (folder / "secret").write_text(SECRET + "\n")
    server = make_server("127.0.0.1", 0, lambda *_: [], threaded=True)
    base = f"http://127.0.0.1:{server.server_port}"
    text = SITE.format(base=base, client=CLIENT, ehr=ehr, proof=proof.format(ehr=ehr), service=service)
    (folder / "site.toml").write_text(text)
    environ = {"DATABASE_URL": f"sqlite:///{folder}/store.sqlite3", "MAGNESIUM_CDS_SITE": str(folder / "site.toml")}
    if not site:
        del environ["MAGNESIUM_CDS_SITE"]
    app = create_app(load(environ, site_schema()))
    server.app = app
    ehr.redirects.add(f"{base}/smart/app")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield base
    finally:
        server.shutdown()
        server.server_close()
        app.extensions["dependencies"].close()


@pytest.fixture(scope="module")
def house(tmp_path_factory, ehr, patient) -> Iterator[House]:
    for base in serving(tmp_path_factory.mktemp("house"), ehr):
        yield House(base, ehr, patient)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def opened(browser: Any, house: House, query: str, **options: Any) -> tuple[Any, Any]:
    page, seen = page_of(browser, **options)
    page.goto(f"{house.base}/smart/launch{query}")
    page.wait_for_selector("#explanation", timeout=20_000)
    return page, seen


# ---- the flow --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", WIDTHS)
def test_from_the_card_to_the_timeline_and_every_rule(browser, house, width):
    page, seen = opened(browser, house, f"?iss={house.ehr.base}&launch=from-card", width=width)
    text = page.inner_text("body")
    assert "1.1 mg/dL" in text
    assert "omeprazole" in text.lower()
    assert page.locator("svg.timeline:visible").count() == 1
    assert page.locator("#R-011.asked").count() == 1, "the rule of the card is marked"
    assert "R-092" in page.inner_text("#said"), "what the card spoke of and does not hold now is named"
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert seen.complaints == []
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/smart-{width}.png", full_page=True)


def test_alone_the_patient_is_chosen_at_the_ehr(browser, house):
    page, seen = opened(browser, house, "")
    assert house.patient in page.inner_text("#explanation")
    assert seen.complaints == []


def test_nobody_else_is_asked_and_no_token_stands_in_an_address(browser, house):
    _, seen = opened(browser, house, f"?iss={house.ehr.base}&launch=from-menu")
    hosts = {urlsplit(line.partition(" ")[2]).netloc for line in seen.requests}
    assert hosts == {urlsplit(house.base).netloc, urlsplit(house.ehr.origin).netloc}
    addresses = "\n".join((*seen.requests, *house.ehr.seen))
    assert [token for token in house.ehr.tokens if token in addresses] == []


def test_nothing_of_the_patient_stays_in_the_browser(browser, house):
    page, _ = opened(browser, house, f"?iss={house.ehr.base}&launch=from-menu")
    assert page.evaluate("[sessionStorage.length, localStorage.length, document.cookie]") == [0, 0, ""]
    assert urlsplit(page.url).query == ""
    page.reload()
    page.locator("#said", has_text="could not be opened").wait_for()
    assert house.patient not in page.content()


def test_no_patient_and_no_token_reach_the_log(browser, house):
    with capture_logs() as logs:
        opened(browser, house, f"?iss={house.ehr.base}&launch=from-menu")
    said = str(logs)
    assert any(line["event"] == "decision" for line in logs)
    assert house.patient not in said
    assert [token for token in house.ehr.tokens if token in said] == []


def test_what_the_reader_may_not_see_is_said_and_not_taken_for_nothing(browser, house):
    house.ehr.refused.add("MedicationRequest")
    try:
        page, _ = opened(browser, house, f"?iss={house.ehr.base}&launch=from-menu")
        assert "medication orders" in page.inner_text("section.problem")
    finally:
        house.ehr.refused.clear()


@pytest.fixture(scope="module")
def on_many_drugs(fhir_server, ehr) -> str:
    """A synthetic patient with more prescriptions than a page of the FHIR server holds, one of which wastes magnesium."""
    ident = fhir_server.new_id()
    subject = {"subject": {"reference": f"Patient/{ident}"}}
    fhir_server.put(PATIENT | {"id": ident})
    taken = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    fhir_server.put(observation(fhir_server.new_id(), "19123-9", 1.1, "mg/dL", effectiveDateTime=taken) | subject)
    for _ in range(23):
        fhir_server.put(medication(fhir_server.new_id(), "161", "Paracetamol") | subject)
    for code, name in (("4603", "Furosemide"), ("7646", "Omeprazole")):
        fhir_server.put(medication(fhir_server.new_id(), code, name) | subject)
    ehr.launches["many"] = {"patient": ident}
    return ident


def test_every_page_of_a_search_is_read(browser, house, on_many_drugs):
    page, _ = opened(browser, house, f"?iss={house.ehr.base}&launch=many")
    assert on_many_drugs in page.inner_text("#explanation")
    assert page.locator("section.problem").count() == 0
    assert {"furosemide", "omeprazole"} <= set(page.inner_text("#explanation").lower().split())


def test_a_page_that_cannot_be_had_is_said(browser, house, on_many_drugs):
    house.ehr.pages = False
    try:
        page, _ = opened(browser, house, f"?iss={house.ehr.base}&launch=many")
        assert on_many_drugs in page.inner_text("#explanation")
        assert "medication orders: only a part could be read" in page.inner_text("section.problem")
    finally:
        house.ehr.pages = True


def test_what_stands_in_the_address_besides_iss_and_launch_changes_nothing(browser, house):
    odd = "&fhirServiceUrl=https://elsewhere.example&clientId=other&patientId=x&iss=https://elsewhere.example"
    page, seen = opened(browser, house, f"?iss={house.ehr.base}&launch=from-menu{odd}")
    assert house.patient in page.inner_text("#explanation")
    assert not any(line.split(" ")[1].startswith("https://elsewhere.example") for line in seen.requests)


def test_without_any_magnesium_result_readable_nothing_is_judged(browser, house):
    house.ehr.refused.add("Observation")
    try:
        page, _ = page_of(browser)
        page.goto(f"{house.base}/smart/launch?iss={house.ehr.base}&launch=from-menu")
        page.locator("#said", has_text="magnesium: the EHR could not read it").wait_for()
        assert page.locator("#explanation").count() == 0
    finally:
        house.ehr.refused.clear()


@pytest.mark.parametrize(("language", "direction"), [("ru", "ltr"), ("fa", "rtl")])
def test_the_reader_s_language_and_direction(browser, house, language, direction):
    page, seen = opened(
        browser, house, f"?iss={house.ehr.base}&launch=from-menu", locale=language, color_scheme="dark", width=360
    )
    assert page.get_attribute("#explanation", "dir") == direction
    assert seen.complaints == []
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=f"{folder}/smart-{language}.png", full_page=True)


# ---- who is refused --------------------------------------------------------------------------------------------------


def test_an_ehr_that_is_not_on_the_list_is_refused_before_anything_is_fetched(browser, house):
    with an_ehr(house.ehr.upstream, house.ehr.upstream_token) as other:
        page, _ = page_of(browser)
        answer = page.goto(f"{house.base}/smart/launch?iss={other.base}&launch=from-card")
        assert answer.status == 403
        assert other.seen == []
        token = other.issue()
        assert explain(house, token, other.base).status_code == 401
        assert other.seen == []


def explain(house: House, token: str | None, iss: str | None = None) -> requests.Response:
    headers = {"Accept": "text/html"} | ({"Authorization": f"Bearer {token}"} if token else {})
    params = {"iss": house.ehr.base if iss is None else iss}
    return requests.post(
        f"{house.base}/explain", json={"bundle": bundle(PATIENT)}, params=params, headers=headers, timeout=10
    )


def test_a_token_of_the_ehr_opens_the_explanation(house):
    assert explain(house, house.ehr.issue()).status_code == 200


@pytest.mark.parametrize("token", ["", "forged", "not a token", "x" * 20_000])
def test_no_token_or_a_forged_one_is_401(house, token):
    assert explain(house, token).status_code == 401


def test_an_expired_token_or_one_of_another_app_is_401(house):
    assert explain(house, house.ehr.issue(lives=-120)).status_code == 401
    assert explain(house, house.ehr.issue(client="another-app")).status_code == 401
    assert explain(house, house.ehr.issue(), iss="").status_code == 401


def test_an_authorization_server_that_does_not_answer_proves_nobody(fhir_server, tmp_path):
    with an_ehr(fhir_server.base, fhir_server.token) as gone:
        token = gone.issue()
    for base in serving(tmp_path, gone):
        assert explain(House(base, gone, ""), token).status_code == 503


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({}, 200),
        ({"aud": ["https://elsewhere.example", "{base}"]}, 200),
        ({"exp": 1}, 401),
        ({"client_id": "another-app"}, 401),
        ({"aud": "https://elsewhere.example"}, 401),
        ({"iss": "https://elsewhere.example"}, 401),
    ],
)
def test_tokens_that_are_jwts_are_verified_by_the_keys_of_the_issuer(ehr, tmp_path, claims, status):
    if isinstance(claims.get("aud"), list):
        claims = {"aud": [value.format(base=ehr.base) for value in claims["aud"]]}
    for base in serving(tmp_path, ehr, KEYS):
        assert explain(House(base, ehr, ""), ehr.signed(**claims)).status_code == status


# ---- the page of the app ---------------------------------------------------------------------------------------------


def test_the_policy_names_the_ehr_alone_and_who_may_frame_the_page(ehr, tmp_path):
    for base in serving(tmp_path, ehr, INTROSPECTION + 'embedded_in = ["https://ehr.hospital.example"]'):
        policy = requests.get(f"{base}/smart/app", timeout=10).headers["Content-Security-Policy"]
    assert f"connect-src 'self' {ehr.base}/ {ehr.origin};" in policy
    assert "frame-ancestors https://ehr.hospital.example" in policy
    assert "unsafe" not in policy


def test_a_fhir_server_whose_authorization_server_is_not_listed_leads_nowhere(browser, ehr, tmp_path):
    """What a FHIR server says of its authorization server is not enough: hosts are those of the site file."""
    for base in serving(tmp_path, ehr):
        ehr.endpoints = "https://elsewhere.example"
        page, seen = page_of(browser)
        page.goto(f"{base}/smart/launch?iss={ehr.base}&launch=from-menu")
        page.locator("#said", has_text="https://elsewhere.example is not an authorization server").wait_for()
        ehr.endpoints = ""
    assert not any("elsewhere.example" in line for line in seen.requests)


def test_readers_have_a_limit_of_their_own(ehr, tmp_path):
    for base in serving(tmp_path, ehr, service="rate_limit_per_minute = 2"):
        statuses = [explain(House(base, ehr, ""), ehr.issue()).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]


def test_in_open_development_any_ehr_of_this_machine_opens_it(browser, ehr, patient, tmp_path):
    for base in serving(tmp_path, ehr, site=False):
        page, seen = opened(browser, House(base, ehr, patient), f"?iss={ehr.base}&launch=from-card")
        assert patient in page.inner_text("#explanation")
        assert seen.complaints == []
        card = requests.get(f"{base}/explain?sample=torsades", timeout=10)
        assert card.status_code == 200


def test_axe_finds_what_is_wrong(browser):
    page, _ = page_of(browser)
    page.set_content("<p>A picture: <img src='x.png'>")
    assert any(found.startswith("image-alt") for found in violations(page))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "language"), [(254, "en"), (1280, "en"), (360, "fa")])
def test_axe_finds_nothing_wrong_with_the_explanation(browser, house, width, language, scheme):
    query = f"?iss={house.ehr.base}&launch=from-card"
    page, _ = opened(browser, house, query, width=width, locale=language, color_scheme=scheme, reduced_motion="reduce")
    for details in page.locator("summary").all():
        details.click()
    assert violations(page) == []


def test_axe_finds_nothing_wrong_with_the_page_to_ask(browser, ehr, tmp_path):
    for base in serving(tmp_path, ehr, site=False):
        page, seen = page_of(browser, 254)
        page.goto(f"{base}/explain")
        page.locator("#paste:visible").wait_for()
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 254
        page.fill("#chart", '{"resourceType":"Patient","id":"p1","gender":"female","birthDate":"1957-03-02"}')
        page.keyboard.press("Tab")
        page.locator("#paste button").press("Enter")
        page.wait_for_selector("#explanation")
        assert "Serum magnesium is not known" in page.inner_text("h1 >> nth=-1")
        page.fill("#chart", "{")
        page.locator("#paste button").click()
        page.locator("#said", has_text="not JSON").wait_for()
        assert page.locator("#explanation").count() == 0, "no former answer stands beside an error"
        assert seen.complaints == []
