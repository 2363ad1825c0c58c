"""Every card of every vignette, in every language: read in ten seconds, said once, with its sources (decisions 43-45)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from datetime import UTC
from functools import cache

import pytest

from service.cds.cards import FINDINGS, Card, Presentation, to_cards
from service.cds.i18n import LANGUAGES, Wording
from service.logic.evaluate import evaluate
from service.logic.knowledge import load
from service.logic.model import Finding
from tests.vignettes.files import Vignette, read

ISOLATES = re.compile("[\u2066-\u2069]")
WORDS = {"info": 80, "warning": 80, "critical": 110}
in_each_language = pytest.mark.parametrize("language", LANGUAGES)


@cache
def written(language: str) -> tuple[tuple[Vignette, Card], ...]:
    how = Presentation(Wording(language, UTC), base_url="https://cds.example")
    return tuple(
        (vignette, card)
        for vignette in read()
        for card in to_cards(evaluate(vignette.patient, load()), load(), how, lambda _: None)
    )


def lines(card: Card) -> list[str]:
    """The lines of the detail as a reader sees them: without marks of direction and addresses of links."""
    shown = re.sub(r"\]\(\S+?\)", "]", ISOLATES.sub("", card.body["detail"]))
    return [line.removeprefix("- ") for line in shown.split("\n") if line]


def words(card: Card) -> int:
    return sum(len(line.split()) for line in lines(card))


def sentences(card: Card) -> Iterator[str]:
    for line in lines(card):
        yield from (sentence.strip(" .") for sentence in re.split(r"(?<=[.?؟])\s+(?=[^\d])", line))


def test_the_vignettes_write_many_cards() -> None:
    assert len(written("en")) > 300


@in_each_language
def test_a_card_is_at_most_five_lines(language: str) -> None:
    assert [v.title for v, card in written(language) if not 1 <= len(lines(card)) <= 5] == []


@in_each_language
def test_a_card_keeps_to_its_words(language: str) -> None:
    counted = [(words(card), card.body["indicator"], v.title) for v, card in written(language)]
    assert [one for one in counted if one[0] > WORDS[one[1]]] == []


@in_each_language
def test_a_summary_is_what_cds_hooks_accepts(language: str) -> None:
    assert [card.body["summary"] for _, card in written(language) if not 0 < len(card.body["summary"]) < 140] == []


@in_each_language
def test_the_summary_is_not_repeated(language: str) -> None:
    for vignette, card in written(language):
        headline = ISOLATES.sub("", card.body["summary"]).strip(" .")
        assert headline not in set(sentences(card)), vignette.title


@in_each_language
def test_the_action_is_always_said(language: str) -> None:
    wording = Wording(language, UTC)
    for vignette, card in written(language):
        outcomes = {r.rule.id: r.outcome for r in evaluate(vignette.patient, load()).judgements}
        lead = outcomes[card.body["source"]["topic"]["code"].replace("R", "R-")]
        assert isinstance(lead, Finding)
        if lead.action is not None:
            action = ISOLATES.sub("", wording.plain(lead.action)).rstrip(".")
            said = ISOLATES.sub("", card.body["summary"] + card.body["detail"])
            assert action.casefold() in said.casefold(), (vignette.title, action)


@in_each_language
def test_nothing_is_said_twice(language: str) -> None:
    said = [(v.title, [one for one in sentences(card) if len(one.split()) > 3]) for v, card in written(language)]
    assert [(title, found) for title, found in said if len(found) != len(set(found))] == []


@in_each_language
def test_one_card_an_answer(language: str) -> None:
    titles = [(vignette.group, vignette.title) for vignette, _ in written(language)]
    assert len(titles) == len(set(titles))


@in_each_language
def test_the_last_line_names_at_most_three_sources_and_links_to_the_page_of_the_rule(language: str) -> None:
    label = Wording(language, UTC).translate("Sources: {labels}.").split("{")[0].strip()
    for vignette, card in written(language):
        last = ISOLATES.sub("", card.body["detail"].split("\n")[-1]).removeprefix("- ")
        assert last.startswith(label), vignette.title
        page = rf"\]\(https://cds\.example/v1/rules/R-\d{{3}}\?lang={language}(&also=R-\d{{3}}(,R-\d{{3}})*)?\)$"
        assert re.search(page, last), vignette.title
        named = last.removeprefix(label).split(". ")[0]
        assert len(re.split("[,،]", named)) <= 3, named


def test_the_extension_lists_all_findings_and_marks_those_in_words() -> None:
    for vignette, card in written("en"):
        listed = card.body["extension"][FINDINGS]
        marked = {one["rule"] for one in listed if one.get("stated")}
        assert marked == card.worded, vignette.title
        assert marked <= {one["rule"] for one in listed} == set(card.stated), vignette.title
        assert card.body["source"]["topic"]["code"].replace("R", "R-") in marked, vignette.title


def test_every_language_words_the_same_findings() -> None:
    worded = [[(v.title, card.worded) for v, card in written(language)] for language in LANGUAGES]
    assert worded[1] == worded[0]
    assert worded[2] == worded[0]


def test_a_result_that_is_stated_as_a_reason_is_listed_with_the_result_of_its_rule() -> None:
    for vignette, card in written("en"):
        outcomes = {r.rule.id: r.outcome for r in evaluate(vignette.patient, load()).judgements}
        for one in card.body["extension"][FINDINGS]:
            outcome = outcomes[one["rule"]]
            assert isinstance(outcome, Finding), vignette.title
            assert outcome.result == one["result"], vignette.title


# ---- Persian --------------------------------------------------------------------------------------------------------


def texts(card: Card) -> list[str]:
    return [card.body["summary"], *(line.removeprefix("- ") for line in card.body["detail"].split("\n"))]


def test_a_persian_line_is_isolated_and_every_isolate_is_closed() -> None:
    for vignette, card in written("fa"):
        for text in texts(card):
            assert text[0] == "\u2067", vignette.title
            assert text[-1] == "\u2069", vignette.title
            assert len(re.findall("[\u2066\u2067]", text)) == text.count("\u2069"), vignette.title


def test_a_persian_headline_begins_with_a_persian_word() -> None:
    def first(text: str) -> str:
        return next(unicodedata.bidirectional(sign) for sign in text if unicodedata.bidirectional(sign) in "LRAL")

    headlines = [ISOLATES.sub("", card.body["summary"]) for _, card in written("fa")]
    assert [one for one in headlines if first(one) != "AL"] == []


def test_not_shown_never_reads_not_indicated() -> None:
    russian = [sentence for _, card in written("ru") for sentence in sentences(card)]
    assert [one for one in russian if re.search(r"не показан|доза .*показан", one, re.IGNORECASE)] == []
