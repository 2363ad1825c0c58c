"""The translations: complete, true to names and numbers, in their own letters, and short enough for a summary."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from string import Formatter
from typing import Any

import msgspec
import pytest
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po

from service.api import hook_request
from service.cds.cards import Presentation, to_cards
from service.cds.i18n import LANGUAGES, Wording
from service.cds.services import BY_ID
from service.decide import Call, Decision, decide_call
from service.errors import MissingData
from service.fhir.snapshot import Site
from service.logic.evaluate import evaluate
from service.logic.knowledge import load
from service.logic.model import Finding, Medication, PartialDateTime, PatientSnapshot
from service.logic.rules import RULES
from service.samples import Sample, expand, samples
from tests.vignettes.files import read
from tests.vignettes.patients import patient

SERVICE = Path(__file__).parents[2] / "service"
NOW = datetime(2026, 9, 20, 9, tzinfo=UTC)  # a month with a long name in every language
SITE = Site(zone=UTC, knowledge=load(), research=True)
TRANSLATED = [language for language in LANGUAGES if language != "en"]
# Names that stay in Latin letters in any language; Persian clinicians write units and these abbreviations so, too.
_NAMES = {
    *("API", "Bundle", "Ca", "K", "LOINC", "Mg"),
    *("CKD-EPI", "CTCAE", "DSTU2", "EGFR", "FDA", "FEMg", "FHIR", "H2", "MgSO4"),
    *("QT", "QTc", "R4", "bedside", "TRPM6", "mTOR", "v5"),
}
_GROUPS = set("ABCDEFGHIJ")  # of rules, by which their ids are found in the catalogue
IN_LATIN = {
    "ru": _NAMES | _GROUPS,
    "fa": _NAMES
    | _GROUPS
    | {"mmol", "mol", "mg", "g", "mEq", "L", "dL", "mL", "m", "min", "h", "ms", "s", "cm", "kg"}
    | {"CKD", "ECG", "EDTA", "NPO", "PPI", "PTH", "SGLT2", "Schwartz", "Torsades", "hook", "de", "eGFR", "pointes"},
}
_DECIMAL = re.compile(r"(?<=\d)[,٫](?=\d)")
_DIGITS = str.maketrans("۰۱۲۳۴۵۶۷۸۹٠١٢٣٤٥٦٧٨٩", "01234567890123456789")

in_each_translation = pytest.mark.parametrize("language", TRANSLATED)
in_each_language = pytest.mark.parametrize("language", LANGUAGES)


# ---- the catalogues ---------------------------------------------------------------------------------------------


@cache
def messages() -> frozenset[str]:
    """Every English message in the code and in the templates of the pages, but for the report of a back-test."""
    places = [("population/report/**", "ignore"), ("**.py", "python"), ("api/pages/templates/**.html", "jinja2")]
    found = extract_from_dir(SERVICE, places, keywords={"Message": None, "translate": None, "say": None, "_": None})
    return frozenset(str(message) for _, _, message, *_ in found)


@cache
def catalog(language: str) -> Catalog:
    """The file of a language as it stands, obsolete and fuzzy entries included."""
    with (SERVICE / f"cds/languages/{language}.po").open("rb") as file:
        return read_po(file, locale=language, abort_invalid=True)


def translations(language: str) -> Iterator[tuple[str, str]]:
    """Message and translation, for every message that has one."""
    return ((str(entry.id), str(entry.string)) for entry in catalog(language) if entry.id and entry.string)


def placeholders(template: str) -> list[str]:
    return sorted(name for _, name, _, _ in Formatter().parse(template) if name is not None)


def without_placeholders(template: str) -> str:
    return "\n".join(literal for literal, *_ in Formatter().parse(template))


def numbers(template: str) -> list[str]:
    words = without_placeholders(template).translate(_DIGITS)
    return sorted(re.findall(r"\d+(?:\.\d+)?", _DECIMAL.sub(".", words)))


def test_the_code_is_searched_for_messages() -> None:
    assert {"Why, sources", "serum magnesium", "{low} to {high} {unit}", "Sources: {labels}."} <= messages()


@in_each_translation
def test_every_message_is_translated(language: str) -> None:
    assert messages() - {message for message, _ in translations(language)} == set()


@in_each_translation
def test_nothing_is_left_over_from_former_messages(language: str) -> None:
    found = catalog(language)
    assert {str(entry.id) for entry in found if entry.id} - messages() == set()
    assert list(found.obsolete) == []


@in_each_translation
def test_no_translation_is_a_guess(language: str) -> None:
    assert [entry.id for entry in catalog(language) if entry.fuzzy] == []


@in_each_translation
def test_a_catalogue_names_its_language(language: str) -> None:
    header = (SERVICE / f"cds/languages/{language}.po").read_text(encoding="utf-8").split("\n\n", 1)[0]
    assert f'"Language: {language}\\n"' in header
    assert '"Plural-Forms: nplurals=' in header


@in_each_translation
def test_a_translation_has_the_same_placeholders(language: str) -> None:
    assert [m for m, said in translations(language) if placeholders(m) != placeholders(said)] == []


@in_each_translation
def test_a_translation_has_the_same_numbers(language: str) -> None:
    assert [(m, said) for m, said in translations(language) if numbers(m) != numbers(said)] == []


@in_each_translation
def test_a_translation_is_written_in_its_own_letters(language: str) -> None:
    def foreign(said: str) -> set[str]:
        return set(re.findall(r"[A-Za-z][A-Za-z0-9]*(?:-[A-Z]+)*", without_placeholders(said))) - IN_LATIN[language]

    assert [(sorted(foreign(said)), said) for _, said in translations(language) if foreign(said)] == []


@in_each_translation
def test_a_translation_adds_no_markup(language: str) -> None:
    def markup(template: str) -> list[str]:
        return sorted(re.findall(r"[\\`*_\[\]<>&|~#!]", without_placeholders(template)))

    assert [said for m, said in translations(language) if markup(m) != markup(said)] == []


@in_each_translation
def test_a_sentence_stays_a_sentence(language: str) -> None:
    assert [(m, said) for m, said in translations(language) if m.endswith(".") != said.endswith(".")] == []


@pytest.mark.parametrize(
    ("message", "said"),
    [("1 to 3 g over 0.5 h", "1–3 г за 0,5 ч"), ("above 12 mg", "بیش از ۱۲ میلی‌گرم"), ("0.75", "۰٫۷۵")],
)
def test_the_same_numbers_in_other_digits_are_the_same(message: str, said: str) -> None:
    assert numbers(message) == numbers(said)


def test_another_number_is_noticed() -> None:
    assert numbers("maximum 2 g") != numbers("максимум 20 г")
    assert numbers("0.75 mmol/L") != numbers("0,57 ммоль/л")
    assert numbers("{low} to 2") == numbers("2 {high}")


# ---- summaries --------------------------------------------------------------------------------------------------

# The longest lists: every group of drugs that waste magnesium, and every test that belongs beside a magnesium.
_LONG_LISTS = [
    patient(drugs=["furosemide", "omeprazole", "cisplatin", "cetuximab", "tacrolimus", "gentamicin"]),
    patient("mg 0.5 mmol/L", conditions=["depression"], orders=["test mg"], hook="order-select"),
]
_PATIENTS = [*(vignette.patient for vignette in read()), *_LONG_LISTS]
_RULES = frozenset(rule.id for rule in RULES)


def summaries(snapshot: PatientSnapshot, language: str) -> Iterator[str]:
    """What a card about a patient may be headed by: each finding leads one when all other rules are silent."""
    assessment = evaluate(snapshot, SITE.knowledge)
    for judgement in assessment.judgements:
        if isinstance(judgement.outcome, Finding):
            how = Presentation(Wording(language, UTC), silent=_RULES - {judgement.rule.id})
            yield from (card.body["summary"] for card in to_cards(assessment, SITE.knowledge, how, lambda _: None))


def unfit(language: str, snapshots: Iterable[PatientSnapshot]) -> list[tuple[int, str]]:
    """Summaries that CDS Hooks does not accept, longest first."""
    said = {summary for snapshot in snapshots for summary in summaries(snapshot, language)}
    return sorted(((len(words), words) for words in said if not 0 < len(words) < 140), reverse=True)


def crowded(snapshot: PatientSnapshot) -> PatientSnapshot:
    """The same patient with each drug four times, by a long name that nothing but words identifies."""
    drugs = tuple(copy for drug in snapshot.medications for copy in _copies(drug))
    tests = [order for order in snapshot.orders if order.medication is None]
    drafts = [
        replace(order, reference=copy.reference, medication=copy)
        for order in snapshot.orders
        if order.medication is not None
        for copy in _copies(order.medication)
    ]
    return replace(snapshot, medications=drugs, orders=(*tests, *drafts))


def _copies(drug: Medication) -> Iterator[Medication]:
    for letter in "abcd":
        name = f"Compound-ratiopharm {letter} 40 mg oral tablets".ljust(40, "*")
        yield replace(drug, reference=f"{drug.reference}{letter}", name=name, recognised_by="name")


def beyond_the_instrument(snapshot: PatientSnapshot) -> PatientSnapshot:
    """The same patient, every result below what the laboratory can measure."""
    return replace(snapshot, labs=tuple(replace(lab, comparator="<", raw=f"<{lab.raw}") for lab in snapshot.labs))


def in_autumn(snapshot: PatientSnapshot) -> PatientSnapshot:
    """The same patient on a day whose name is long: two digits, and a month that few languages abbreviate well."""
    later = datetime(2026, 9, 28, 10, tzinfo=UTC) - snapshot.as_of

    def moved(when: PartialDateTime | None) -> PartialDateTime | None:
        return None if when is None else PartialDateTime(when.start + later, when.end + later)

    return replace(
        snapshot,
        as_of=snapshot.as_of + later,
        labs=tuple(replace(lab, taken=moved(lab.taken)) for lab in snapshot.labs),
        medications=tuple(replace(d, start=moved(d.start), end=moved(d.end)) for d in snapshot.medications),
    )


def test_the_patients_speak_in_many_sentences() -> None:
    judged = [evaluate(snapshot, SITE.knowledge).judgements for snapshot in _PATIENTS]
    found = [j.outcome for judgements in judged for j in judgements if isinstance(j.outcome, Finding)]
    assert len({finding.text.template for finding in found}) > 90


@in_each_language
@pytest.mark.parametrize(
    "change",
    [lambda snapshot: snapshot, in_autumn, beyond_the_instrument, crowded],
    ids=["as they are", "long dates", "beyond the instrument", "many drugs with long names"],
)
def test_every_finding_fits_a_summary(change: Callable[[PatientSnapshot], PatientSnapshot], language: str) -> None:
    assert unfit(language, map(change, _PATIENTS)) == []


@in_each_language
@pytest.mark.parametrize("sample", samples().values(), ids=lambda sample: sample.id)
def test_the_cards_of_a_sample_have_a_short_summary(sample: Sample, language: str) -> None:
    summaries = [card["summary"] for card in cards(sample, language)]
    assert [summary for summary in summaries if not 0 < len(summary) < 140] == []


# ---- what does not vary -----------------------------------------------------------------------------------------


def decided(sample: Sample, language: str) -> Decision:
    """What the service says of a sample patient in a language."""
    request = expand(sample, NOW).request
    service = BY_ID[sample.service]
    raw = {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in request["context"].items()}
    call = Call(
        hook=service.hook,
        as_of=NOW,
        context=hook_request.context(raw, service),
        templates=service.prefetch,
        prefetch={key: msgspec.json.encode(value) for key, value in request["prefetch"].items()},
        drafts=tuple(hook_request.drafts(raw, service.hook)),
        selections=hook_request.selections(raw, service.hook),
    )
    how = Presentation(Wording(language, UTC), base_url="https://cds.example", new_id=lambda: "one")
    return decide_call(call, SITE, how)


def cards(sample: Sample, language: str) -> list[dict[str, Any]]:
    """The cards of a sample patient; none where the service refuses to answer."""
    try:
        return [card.body for card in decided(sample, language).cards]
    except MissingData:
        return []


_SENTENCES = {"summary", "detail", "label", "description"}


def fixed(part: Any) -> Any:
    """A card without its sentences: what an EHR, not a reader, acts on."""
    if isinstance(part, list):
        return [fixed(item) for item in part]
    if not isinstance(part, dict):
        return part
    if part.keys() == {"system", "code", "display"}:  # an override reason or a topic: the words may vary
        return {"system": part["system"], "code": part["code"]}
    kept = {name: value for name, value in part.items() if name not in _SENTENCES}
    if "url" in kept:  # a page opens in the language of the card
        kept["url"] = re.sub(r"\?lang=\w\w", "", kept["url"])
    return {name: value if name == "resource" else fixed(value) for name, value in kept.items()}


WITH_CARDS = [sample for sample in samples().values() if cards(sample, "en")]


def test_most_samples_have_cards() -> None:
    assert len(WITH_CARDS) >= 12


@in_each_translation
@pytest.mark.parametrize("sample", WITH_CARDS, ids=lambda sample: sample.id)
def test_only_the_sentences_of_a_card_vary_with_the_language(sample: Sample, language: str) -> None:
    ours, theirs = cards(sample, "en"), cards(sample, language)
    assert fixed(theirs) == fixed(ours)
    for english, other in zip(ours, theirs, strict=True):
        assert other["summary"] != english["summary"]
        assert other["detail"] != english["detail"]
