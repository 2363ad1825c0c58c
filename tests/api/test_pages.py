"""The start page keeps its promises (mode, policy, no outside help), and the sample patients are valid and current."""

import re
from datetime import UTC, datetime, timedelta, timezone
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import pytest
from fhir.resources.R4B import get_fhir_model_class

from service import __version__
from service.api.pages import start
from service.logic.knowledge import VERSION
from service.samples import Sample, expand, samples
from tests.api.apps import locked_app, open_app

NOW = datetime(2025, 6, 15, 10, 30, 59, tzinfo=UTC)
STATIC = Path(start.__file__).parent / "static"
PREFETCH_KEYS = {
    *("patient", "encounter", "magnesium", "rbcMagnesium", "ionizedMagnesium", "urineMagnesium", "creatinine"),
    *("urineCreatinine", "potassium", "calcium", "albumin", "bicarbonate", "qtc", "medicationRequests"),
    *("medicationStatements", "medicationAdministrations", "conditions"),
}
CONTEXT_KEYS = {
    "patient-view": {"userId", "patientId"},
    "order-select": {"userId", "patientId", "selections", "draftOrders"},
    "order-sign": {"userId", "patientId", "draftOrders"},
    "encounter-start": {"userId", "patientId", "encounterId"},
    "encounter-discharge": {"userId", "patientId", "encounterId"},
    "medication-refill": {"patientId", "medications"},
}
STATUSES = {  # fhir.resources does not hold codes to their required bindings
    "Encounter": {"in-progress"},
    "Observation": {"final"},
    "MedicationRequest": {"active", "draft"},
    "MedicationStatement": {"active"},
    "MedicationAdministration": {"completed"},
    "ServiceRequest": {"draft"},
}
SAMPLES = list(samples().values())
every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.id)


@pytest.fixture(scope="module")
def open_browser(tmp_path_factory):
    """A client in development mode, of a site that has changed a limit and silenced a rule."""
    folder = tmp_path_factory.mktemp("open")
    (folder / "site.toml").write_text('[thresholds]\nmg-severe = 0.45\n[rules]\nR-013 = "silent"\n', encoding="utf-8")
    with open_app(folder, NOW, MAGNESIUM_CDS_SITE=str(folder / "site.toml")) as house:
        yield house.client


@pytest.fixture(scope="module")
def locked_browser(tmp_path_factory):
    """A client without a token in production mode."""
    with locked_app(tmp_path_factory.mktemp("locked"), MAGNESIUM_CDS_MODE="production") as house:
        yield house.client


@pytest.fixture(params=["development", "production"])
def browser(request, open_browser, locked_browser):
    return {"development": open_browser, "production": locked_browser}[request.param]


def resources(value):
    """Every resource inside a request, Bundles and contained ones included."""
    if isinstance(value, dict):
        if "resourceType" in value:
            yield value
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from resources(item)


# --- expanding times ---


@pytest.mark.parametrize(
    ("written", "expanded"),
    [
        ("@-0min", "2025-06-15T10:30:00Z"),
        ("@-20min", "2025-06-15T10:10:00Z"),
        ("@-3h", "2025-06-15T07:30:00Z"),
        ("@-11h", "2025-06-14T23:30:00Z"),
        ("@-400d", "2024-05-11T10:30:00Z"),
        ("@-400d date", "2024-05-11"),
        ("@-3", "@-3"),
        ("mail me @-3h", "mail me @-3h"),
    ],
)
def test_a_relative_time_is_replaced_wherever_it_stands(written, expanded):
    sample = Sample("id", "title", "story", "service", {"a": [{"b": written}], "n": 1})
    assert expand(sample, NOW).request == {"a": [{"b": expanded}], "n": 1}
    assert sample.request == {"a": [{"b": written}], "n": 1}, "the sample itself must not change"


def test_times_are_given_in_utc_whatever_the_zone_of_the_clock():
    sample = Sample("id", "title", "story", "service", {"at": "@-3h"})
    tehran = NOW.astimezone(timezone(timedelta(hours=3.5)))
    assert expand(sample, tehran).request == {"at": "2025-06-15T07:30:00Z"}


# --- the samples ---


def test_there_are_samples_for_every_hook_each_with_its_own_id_and_title():
    assert {sample.request["hook"] for sample in SAMPLES} == set(CONTEXT_KEYS)
    assert len(SAMPLES) == len(list((STATIC.parents[2] / "samples").glob("*.json")))
    assert len({sample.title for sample in SAMPLES}) == len(SAMPLES)


@every_sample
def test_the_request_is_a_complete_cds_hooks_request(sample):
    request = sample.request
    assert sample.service == f"magnesium-{request['hook']}"
    assert set(request["context"]) >= CONTEXT_KEYS[request["hook"]]
    assert set(request["prefetch"]) >= PREFETCH_KEYS
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", request["hookInstance"])


@every_sample
def test_every_prefetch_value_is_null_a_searchset_a_failure_or_the_resource_itself(sample):
    for key, value in sample.request["prefetch"].items():
        if key in {"patient", "encounter"}:
            assert value["resourceType"].lower() == key
        elif value is not None and value["resourceType"] != "OperationOutcome":
            assert (value["resourceType"], value["type"]) == ("Bundle", "searchset")
            assert value["total"] == len(value["entry"])


@every_sample
def test_every_resource_is_valid_r4_and_about_the_one_patient(sample):
    request = expand(sample, NOW).request
    patient = f"Patient/{request['context']['patientId']}"
    found = list(resources(request))
    for resource in found:
        get_fhir_model_class(resource["resourceType"]).model_validate(resource)
        assert resource.get("status") in STATUSES.get(resource["resourceType"], {None})
        assert resource.get("subject", {"reference": patient}) == {"reference": patient}
    named = [resource["id"] for resource in found if "id" in resource and resource["resourceType"] != "Specimen"]
    assert len(named) == len(set(named)), "ids are unique"
    drafts = {f"{r['resourceType']}/{r['id']}" for r in found if r.get("status") == "draft"}
    assert set(request["context"].get("selections", ())) <= drafts


@every_sample
def test_no_time_is_fixed_and_none_lies_ahead(sample):
    assert not re.search(r"\d{4}-\d\d-\d\d", msgspec.json.encode(sample.request["prefetch"]).decode())
    text = msgspec.json.encode(expand(sample, NOW).request).decode()
    assert "@-" not in text
    assert all(moment <= f"{NOW:%Y-%m-%dT%H:%M:%SZ}" for moment in re.findall(r"\d{4}-\d\d-\d\dT[\d:]+Z", text))


@every_sample
def test_every_result_has_a_real_loinc_code_and_its_range_the_unit_of_the_value(sample):
    for resource in resources(sample.request):
        if resource["resourceType"] != "Observation":
            continue
        assert all(luhn(coding["code"]) for coding in resource["code"]["coding"])
        unit = resource["valueQuantity"].get("code")
        limits = [limit for part in resource.get("referenceRange", ()) for limit in part.values()]
        assert [limit.get("code") for limit in limits] == [unit] * len(limits)
        assert unit or sample.id == "unit-missing"


def luhn(loinc):
    """True if the last digit of a LOINC code is its Luhn (mod 10) check digit."""
    digits, check = loinc.split("-")
    doubled = "".join(str(int(digit) * (2 - place % 2)) for place, digit in enumerate(reversed(digits)))
    return (10 - sum(map(int, doubled)) % 10) % 10 == int(check)


@every_sample
def test_the_story_is_two_sentences_that_name_the_age_of_the_patient(sample):
    patient = expand(sample, NOW).request["prefetch"]["patient"]
    years = int((NOW.date() - datetime.fromisoformat(patient["birthDate"]).date()).days / 365.2425)
    assert f" {years}-year-old " in sample.story
    assert len(re.findall(r"[.?](?= |$)", sample.story)) == 2


# --- the page ---


class Seen(HTMLParser):
    """Collects what a strict policy would block and what the page would load."""

    def __init__(self):
        super().__init__()
        self.inline, self.loaded, self.script = [], [], False

    def handle_starttag(self, tag, attrs):
        self.inline += [name for name, _ in attrs if name == "style" or name.startswith("on")]
        self.inline += ["style element"] if tag == "style" else []
        self.loaded += [value for name, value in attrs if name in {"src", "href"} and value and tag != "a"]
        self.script = tag == "script"

    def handle_data(self, data):
        if self.script and data.strip():
            self.inline.append("script")


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
def test_the_page_obeys_its_own_policy_and_loads_only_its_own_files(browser, language):
    answer = browser.get(f"/?lang={language}")
    seen = Seen()
    seen.feed(answer.text)
    assert (answer.status_code, answer.mimetype) == (200, "text/html")
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "unsafe" not in answer.headers["Content-Security-Policy"]
    assert seen.inline == []
    own = {name for name in seen.loaded if not name.startswith("#")}
    assert own == {"static/mark.svg", "static/style.css", "static/app.js"}
    assert {browser.get(f"/{name}").status_code for name in own} == {200}


@pytest.mark.parametrize(("language", "level"), [("en", "Critical"), ("ru", "Mg"), ("fa", "Mg")])
def test_it_shows_a_picture_and_a_card_and_three_doors_without_a_script(browser, language, level):
    page = browser.get(f"/?lang={language}").text
    assert page.count("<figure") == 2
    assert page.count('<div class="picture') == 2
    assert page.count('<article class="card critical">') == 1
    assert page.count('<article class="door">') == 3
    assert level in page
    assert f"/v1/rules/R-011?lang={language}" in page.replace("&amp;", "&")


def test_every_link_of_the_page_leads_somewhere(browser):
    links = re.findall(r'<a [^>]*href="([^"]+)"', browser.get("/").text)
    ids = set(re.findall(r' id="([^"]+)"', browser.get("/").text))
    inside, outside = [link for link in links if link[0] == "#"], [link for link in links if link[0] != "#"]
    assert {link[1:] for link in inside} <= ids
    for link in outside:
        address = urlsplit(unescape(link))
        with browser.get(f"/{address.path.lstrip('/.')}?{address.query}") as answer:
            assert answer.status_code == 200, link


def test_development_mode_is_said_loudly_and_offers_the_runner(open_browser):
    page = open_browser.get("/").text
    assert "Development mode: no authentication." in page
    assert 'id="runner"' in page
    assert 'id="own-form"' in page


def test_production_has_no_runner_no_own_patient_and_no_samples(locked_browser):
    page = locked_browser.get("/").text
    assert "no authentication" not in page
    assert 'id="runner"' not in page
    assert 'id="own-form"' not in page
    assert 'id="services"' in page
    assert locked_browser.get("/samples").status_code == 404
    assert locked_browser.get(f"/samples/{SAMPLES[0].id}").status_code == 404


def test_the_page_states_versions_and_what_the_site_changed(open_browser):
    page = open_browser.get("/").text
    assert f"Version {__version__}, knowledge {VERSION}" in page
    assert "Changed by the site: mg-severe = 0.45" in page
    assert "Rule R-013: silent" in page


@pytest.mark.parametrize("path", ["/", "/static/app.js", "/static/style.css", "/static/mark.svg"])
def test_an_unchanged_file_is_not_sent_twice(browser, path):
    first = browser.get(path)
    second = browser.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert "no-cache" in first.headers["Cache-Control"]
    assert first.headers["X-Content-Type-Options"] == "nosniff"
    assert (second.status_code, second.data) == (304, b"")


@pytest.mark.parametrize("path", ["/static/start.html", "/static/page.py", "/static/none.js", "/samples/none"])
def test_an_unknown_file_or_sample_is_refused(open_browser, path):
    assert open_browser.get(path).status_code == 404


def test_the_script_never_parses_a_string_as_html():
    script = (STATIC / "app.js").read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "DOMParser", "eval(", "Function("):
        assert way not in script
    addresses = set(re.findall(r"https?://[a-z][^\s\"'`]*", script))
    assert addresses == {"http://www.w3.org/2000/svg"}, "nothing outside is fetched"


# --- the sample routes ---


def test_the_list_names_every_sample_in_order(open_browser):
    answer = open_browser.get("/samples")
    listed = answer.json
    assert (listed["mode"], listed["version"]) == ("development", __version__)
    assert listed["notes"] == ["Changed by the site: mg-severe = 0.45", "Rule R-013: silent"]
    assert [line["id"] for line in listed["samples"]] == [sample.id for sample in SAMPLES]
    assert set(listed["samples"][0]) == {"id", "title", "story", "hook", "service"}
    assert answer.headers["Cache-Control"] == "no-store"


@every_sample
def test_one_sample_comes_with_its_times_expanded_by_the_clock(open_browser, sample):
    answer = open_browser.get(f"/samples/{sample.id}").json
    assert answer["request"] == expand(sample, NOW).request
    assert (answer["id"], answer["title"], answer["story"]) == (sample.id, sample.title, sample.story)
