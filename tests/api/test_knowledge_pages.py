"""The knowledge as pages: who gets them, that each is there in each language, and that no link leads nowhere."""

from __future__ import annotations

import re
from datetime import UTC
from html.parser import HTMLParser
from urllib.parse import urljoin, urlsplit

import pytest

from service.cds.cards import Presentation, to_cards
from service.cds.i18n import Wording
from service.governance.paper import SECTIONS
from service.logic.evaluate import evaluate
from service.logic.knowledge import load
from service.logic.rules import RULES
from service.samples import expand, samples
from tests.api.apps import open_app
from tests.contract.messages import NOW
from tests.vignettes.files import read

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"
KNOWLEDGE = load()
LISTS = ["/v1/rules", "/v1/parameters", "/v1/references", "/v1/governance"]
PAGES = [
    *LISTS,
    *(f"/v1/rules/{rule.id}" for rule in RULES),
    *(f"/v1/parameters/{name}" for name in KNOWLEDGE.parameters),
    *(f"/v1/governance/{section.id}" for section in SECTIONS),
]


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with open_app(tmp_path_factory.mktemp("pages")) as house:
        yield house.client


def get(client, address, accept=BROWSER, **headers):
    return client.get(address, headers={"Accept": accept, **{k.replace("_", "-"): v for k, v in headers.items()}})


class Page(HTMLParser):
    """The ids and links of a page, its elements in balance, and what a strict policy would block."""

    VOID = frozenset({"meta", "link", "img", "input", "br", "path", "circle", "use"})

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.files, self.inline, self.open, self.html = [], [], [], [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.html = given if tag == "html" else self.html
        self.inline += [name for name in given if name == "style" or name.startswith("on")] + [tag] * (tag == "style")
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        self.files += [given[n] for n in ("src", "href") if n in given] if tag != "a" else []
        self.open += [tag] if tag not in self.VOID else []

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag, f"</{tag}> closes nothing"


# ---- negotiation ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [*LISTS, "/v1/rules/R-011", "/v1/parameters/mg-severe"])
@pytest.mark.parametrize(
    ("accept", "given"),
    [
        (BROWSER, "text/html"),
        ("text/html", "text/html"),
        ("text/*", "text/html"),
        ("application/json;q=0.5, text/html", "text/html"),
        ("*/*", "application/json"),
        ("", "application/json"),
        ("application/json", "application/json"),
        ("application/json, text/html;q=0.9", "application/json"),
        ("application/json, text/html", "application/json"),
        ("application/fhir+json", "application/json"),
        ("text/html;q=0, */*", "application/json"),
        ("nonsense", "application/json"),
    ],
)
def test_a_browser_gets_a_page_and_everybody_else_json(client, address, accept, given):
    answer = get(client, address, accept)
    assert (answer.status_code, answer.mimetype) == (200, given)
    assert "Accept" in answer.vary


def test_a_client_that_names_no_type_gets_json(client):
    assert client.get("/v1/rules/R-011").json["id"] == "R-011"


def test_an_unchanged_page_is_not_sent_twice_and_each_language_has_its_own(client):
    first = get(client, "/v1/rules/R-011", Accept_Language="fa")
    again = get(client, "/v1/rules/R-011", Accept_Language="fa", If_None_Match=first.headers["ETag"])
    other = get(client, "/v1/rules/R-011", Accept_Language="ru", If_None_Match=first.headers["ETag"])
    assert {"Accept", "Accept-Language"} <= set(first.vary)
    assert (again.status_code, again.data, other.status_code) == (304, b"", 200)


@pytest.mark.parametrize(
    ("address", "header", "language"),
    [
        ("/v1/rules", "", "en"),
        ("/v1/rules", "fa-IR,fa;q=0.9,en;q=0.8", "fa"),
        ("/v1/rules?lang=ru", "fa", "ru"),
        ("/v1/rules?lang=de", "fa", "fa"),
        ("/v1/rules?lang=", "ru", "ru"),
    ],
)
def test_the_language_of_the_address_goes_before_that_of_the_browser(client, address, header, language):
    answer = get(client, address, Accept_Language=header)
    assert answer.headers["Content-Language"] == language
    assert Page(answer.text).html == {"lang": language, "dir": "rtl" if language == "fa" else "ltr"}


@pytest.mark.parametrize("address", ["/v1/rules/R-999", "/v1/parameters/none"])
def test_what_does_not_exist_is_an_operation_outcome_for_a_browser_too(client, address):
    answer = get(client, address)
    assert (answer.status_code, answer.json["resourceType"]) == (404, "OperationOutcome")


# ---- every page -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
def test_every_page_is_whole_obeys_its_policy_and_leads_only_where_something_is(client, language):
    targets: dict[str, Page] = {}

    def page(address):
        if address not in targets:
            answer = get(client, address)
            assert (answer.status_code, answer.mimetype) == (200, "text/html"), address
            targets[address] = Page(answer.text)
        return targets[address]

    for address in PAGES:
        here = f"{address}?lang={language}"
        answer, seen = get(client, here), page(here)
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert (seen.open, seen.inline) == ([], []), here
        assert len(set(seen.ids)) == len(seen.ids), here
        for file in seen.files:
            assert client.get(urljoin(here, file)).status_code == 200, (here, file)
        for link in seen.links:
            to = urlsplit(urljoin(here, link))
            if to.scheme:
                assert to.scheme == "https", (here, link)
                continue
            target = page(to.path + (f"?{to.query}" if to.query else "")) if to.path.startswith("/v1/") else None
            assert target is None or not to.fragment or to.fragment in target.ids, (here, link)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_a_rule_says_its_question_its_condition_its_numbers_and_its_sources(client, rule):
    entry = KNOWLEDGE.rules[rule.id]
    text = plain(get(client, f"/v1/rules/{rule.id}").text)
    for said in (entry.title, entry.question, entry.condition, entry.suggests, entry.guards, entry.limits):
        assert said in text
    for name in entry.parameters:
        if parameter := KNOWLEDGE.parameters.get(name):
            assert parameter.meaning in text
            assert all(str(value) in text for value in parameter.values.values())
    for citation in entry.citations:
        assert KNOWLEDGE.references[citation.source].label in text


def plain(markup):
    """The words of a page."""
    words = re.sub(r"<[^>]+>", "", markup)
    for entity, letter in {"&lt;": "<", "&gt;": ">", "&#39;": "'", "&#34;": '"', "&amp;": "&"}.items():
        words = words.replace(entity, letter)
    return words


# ---- the way from a card ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
@pytest.mark.parametrize("sample", samples().values(), ids=lambda sample: sample.id)
def test_every_link_of_a_card_opens_a_page_in_its_language_that_names_what_the_card_says(client, sample, language):
    answer = client.post(
        f"/cds-services/{sample.service}", json=expand(sample, NOW).request, headers={"Accept-Language": language}
    )
    for card in answer.json.get("cards", []):
        stated = [found["rule"] for found in card["extension"]["org.magnesium-cds.findings"] if found.get("stated")]
        links = [link["url"] for link in card["links"] if link["type"] == "absolute"]
        opened = [opens_in(client, link, language) for link in links]
        assert links == re.findall(r"\]\((http[^)]+)\)", card["detail"])
        assert [rule for rule in stated if not all(rule in page for page in opened)] == []
        assert "nejm" in opens_in(client, card["source"]["url"], language).lower()


@pytest.mark.parametrize("language", ["en", "ru", "fa"])
def test_every_link_of_the_vignettes_opens_a_page_that_names_the_rules_of_its_card(client, language):
    how = Presentation(Wording(language, UTC), base_url="http://localhost")
    opened = 0
    for vignette in read():
        for card in to_cards(evaluate(vignette.patient, KNOWLEDGE), KNOWLEDGE, how, lambda _: None):
            for link in card.body.get("links", ()):
                page = opens_in(client, link["url"], language)
                assert [rule for rule in card.worded if rule not in page] == [], vignette.title
                opened += 1
    assert opened > 200


def opens_in(client, url, language):
    """What a reader's browser shows at an address of a card, whatever language the browser wants."""
    answer = get(client, url.removeprefix("http://localhost"), Accept_Language="de")
    assert (answer.status_code, answer.mimetype, answer.headers["Content-Language"]) == (200, "text/html", language)
    return plain(answer.text)


def test_a_page_that_a_card_opens_names_the_other_rules_of_the_card_and_nothing_that_is_no_rule(client):
    text = plain(get(client, "/v1/rules/R-011?also=R-041,R-011,R-999,<b>x</b>,R-041").text)
    assert text.count(KNOWLEDGE.rules["R-041"].title) == 1
    assert "R-999" not in text
    assert "x</b>" not in text


def test_every_source_has_a_link_or_says_that_there_is_none(client):
    page = get(client, "/v1/references")
    for reference in KNOWLEDGE.references.values():
        assert reference.url.startswith("https://") != reference.link.startswith("none: "), reference.id
        assert reference.link.removeprefix("none: ") in plain(page.text)
        assert f'href="{reference.url.replace("&", "&amp;")}"' in page.text or not reference.url
    assert len({r.url for r in KNOWLEDGE.references.values() if r.url}) == sum(
        1 for r in KNOWLEDGE.references.values() if r.url
    )


def test_the_digest_says_which_review_its_link_opens():
    digest = KNOWLEDGE.references["hedayati-2024"]
    assert "digest of the review article Touyz" in digest.title
    assert "N Engl J Med 2024;390:1998" in digest.title
    assert digest.link == "opens the review article; the digest itself has no address"
