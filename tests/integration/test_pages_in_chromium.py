"""The pages in a real Chromium: no violation, no request elsewhere, at every width, in the dark, by keyboard."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import msgspec
import pytest
from werkzeug.serving import make_server

from service.logic.knowledge import load
from service.samples import expand, samples
from service.site import now
from tests.api.apps import open_app
from tests.chromium import WIDTHS, chromium, page_of, violations
from tests.contract.messages import PATIENT, bundle, observation

pytestmark = pytest.mark.usefixtures("node")  # axe-core is among its packages
PAGES = [
    "",
    "v1/rules",
    "v1/rules/R-011?also=R-041,R-055",
    "v1/rules/R-094",
    "v1/parameters",
    "v1/parameters/mg-severe",
    "v1/references",
    "docs",
]
SAMPLE = "three-days-on-the-ward"
NEWEST = "sample-19-magnesium-6"


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Iterator[str]:
    """Development mode, served to a browser; a rule is silent and a limit is changed."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "site.toml").write_text('[thresholds]\nmg-severe = 0.45\n[rules]\nR-013 = "silent"\n', encoding="utf-8")
    with open_app(folder, now(), MAGNESIUM_CDS_SITE=str(folder / "site.toml")) as house:
        server = make_server("127.0.0.1", 0, house.app, threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


def opened(browser: Any, address: str, width: int = 1280, **options: Any) -> tuple[Any, Any]:
    page, seen = page_of(browser, width, reduced_motion="reduce", **options)
    page.goto(address)
    if page.locator("#services").count():
        page.locator("#services article").first.wait_for()
    return page, seen


# ---- every page ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("width", "language", "scheme"),
    [(254, "fa", "dark"), (254, "en", "light"), (360, "ru", "dark"), (1280, "fa", "light"), (1280, "en", "dark")],
)
@pytest.mark.parametrize("path", PAGES)
def test_axe_finds_nothing_and_nothing_comes_from_elsewhere(browser, base, path, width, language, scheme):
    page, seen = opened(browser, base + path, width, locale=language, color_scheme=scheme)
    assert page.evaluate("document.documentElement.lang") == language
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [line for line in seen.requests if not line.split(" ")[1].startswith(base)] == []
    assert seen.complaints == []
    page.context.close()


@pytest.mark.parametrize("path", PAGES)
def test_every_link_is_reached_by_the_keyboard_and_the_first_skips_to_the_content(browser, base, path):
    page, _ = opened(browser, base + path)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    unreachable = (
        "[...document.querySelectorAll('a[href], button, input, select, summary')].filter(e => e.tabIndex < 0)"
    )
    assert page.evaluate(f"{unreachable}.length") == 0
    page.context.close()


def test_a_rule_is_printed_whole_and_without_its_navigation(browser, base):
    page, _ = opened(browser, f"{base}v1/rules/R-011", 800)
    page.emulate_media(media="print")
    assert not page.locator("header nav").first.is_visible()
    assert page.locator("#numbers").is_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= 800
    page.context.close()


@pytest.mark.parametrize("path", ["", f"explain?sample={SAMPLE}"])
def test_a_picture_is_enlarged_within_its_frame(browser, base, path):
    page, _ = opened(browser, base + path, 360)
    picture = page.locator(".picture svg:visible").first
    before = picture.bounding_box()["width"]
    page.locator(".enlarge input").first.check()
    assert picture.bounding_box()["width"] > 2 * before
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.context.close()


# ---- from a card to its page ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "fa"])
def test_from_a_card_to_the_page_of_its_rule_to_the_source(browser, base, language):
    page, _ = opened(browser, f"{base}?lang={language}")
    page.locator(".card-side .links a").first.click()
    page.wait_for_url(re.compile(rf"/v1/rules/R-011\?lang={language}&also="))
    assert page.locator("h1").inner_text().startswith("R-011")
    assert page.evaluate("document.documentElement.dir") == ("rtl" if language == "fa" else "ltr")
    page.locator("#mg-severe .cited a").nth(1).click()
    page.wait_for_url(re.compile(rf"/v1/references\?lang={language}#hedayati-2024"))
    source = load().references["hedayati-2024"]
    assert page.locator("#hedayati-2024").is_visible()
    assert page.locator(f'#hedayati-2024 a[href="{source.url}"]').is_visible()
    page.context.close()


# ---- the runner ------------------------------------------------------------------------------------------------------


def test_a_changed_value_changes_the_card_at_once_and_its_address_brings_it_back(browser, base):
    page, seen = opened(browser, f"{base}#{SAMPLE}")
    page.locator("#cards .card.critical").wait_for()
    field = page.locator("#chart input").first
    field.fill("1.9")
    page.locator("#cards .card.critical").wait_for(state="detached")
    assert f"{NEWEST}=1.9" in page.url
    assert page.evaluate("document.activeElement.tagName") == "INPUT", "the field that is edited keeps the focus"
    assert page.locator("#timeline svg:visible").count() == 1
    words = page.locator("#cards").inner_text()
    again, _ = opened(browser, page.url)
    again.locator("#answer:not([aria-busy])").wait_for()
    assert again.locator("#chart input").first.input_value() == "1.9"
    assert again.locator("#cards h4").inner_text() in words
    assert seen.complaints == []
    page.context.close()
    again.context.close()


def test_a_patient_of_ones_own_is_judged_follows_a_change_and_stands_in_no_address(browser, base):
    prefetch = expand(samples()[SAMPLE], now()).request["prefetch"]
    entries = [entry for value in prefetch.values() if value for entry in value.get("entry", [{"resource": value}])]
    chart = {"resourceType": "Bundle", "type": "collection", "entry": entries}
    page, seen = opened(browser, f"{base}#{SAMPLE}")
    page.locator("#cards .card.critical").wait_for()
    page.locator("#own > summary").click()
    page.fill("#own-text", msgspec.json.encode(chart).decode())
    page.locator("#own-form button").click()
    page.locator("#patient-title", has_text="Your own patient").wait_for()
    page.locator("#answer:not([aria-busy]) .card.critical").wait_for()
    page.locator("#chart input").first.fill("1.9")
    page.locator("#cards .card.critical").wait_for(state="detached")
    assert page.url == base
    assert not page.locator("#share").is_visible()
    assert all("sample-19" not in line for line in seen.requests)
    page.context.close()


class FhirServer(BaseHTTPRequestHandler):
    """One patient with a magnesium of 1.1 mg/dL of three hours ago; whoever brings no token is refused, but for metadata."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        taken = (now() - timedelta(hours=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
        low = observation("mg1", "19123-9", 1.1, "mg/dL", effectiveDateTime=taken)
        found = bundle(low) if path.endswith("/Observation") and "19123-9" in query else bundle()
        body = {"/fhir/metadata": {"resourceType": "CapabilityStatement"}, "/fhir/Patient/p1": PATIENT}.get(path, found)
        proved = path.endswith("metadata") or self.headers.get("Authorization") == "Bearer good"
        self.send_response(200 if proved else 401)
        self.send_header("Content-Type", "application/fhir+json")
        self.end_headers()
        self.wfile.write(msgspec.json.encode(body if proved else {}))

    def log_message(self, *_: Any) -> None:
        """Nothing."""


def test_a_patient_of_a_fhir_server_is_read_by_the_service_itself(browser, base):
    server = ThreadingHTTPServer(("127.0.0.1", 0), FhirServer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    page, seen = opened(browser, base)
    page.locator("#own > summary").click()
    page.fill("#server-base", f"http://127.0.0.1:{server.server_port}/fhir")
    page.fill("#server-patient", "p1")
    page.fill("#server-token", "good")
    page.locator("#server-form button").click()
    page.locator("#answer:not([aria-busy]) .card", has_text="1.1 mg/dL").wait_for(timeout=9_000)
    assert page.url == base
    assert [line for line in seen.requests if not line.split(" ")[1].startswith(base)] == []
    page.context.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("text", ["not JSON", "[1, 2]", "null", '{"a": 1}'])
def test_what_is_no_chart_is_refused_in_words(browser, base, text):
    page, _ = opened(browser, base)
    page.locator("#own > summary").click()
    page.fill("#own-text", text)
    page.locator("#own-form button").click()
    page.locator("#said", has_text=re.compile("JSON|Status 400")).wait_for()
    page.context.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_fired_patient_fits_and_has_no_violation(browser, base, width):
    page, _ = opened(browser, f"{base}#{SAMPLE},fa", width)
    page.locator("#cards .card.critical").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert violations(page) == []
    page.context.close()


def test_a_patient_can_be_chosen_and_fired_by_the_keyboard_alone(browser, base):
    page, _ = opened(browser, base)
    page.locator("#patient-list input:checked").focus()
    page.keyboard.press("ArrowDown")
    page.locator("#patient-title", has_text="torsades").wait_for()
    page.locator("#fire").focus()
    page.keyboard.press("Enter")
    page.locator("#cards .card.critical").wait_for()
    page.context.close()
