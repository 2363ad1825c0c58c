"""What is asked of an EHR: every input that a rule names, on the hooks that need it, and nothing else."""

from __future__ import annotations

import pytest

from service.cds.services import SERVICES, Service
from service.logic.knowledge import load
from service.logic.model import Analyte, Hook
from service.logic.rules import RULES
from service.terminology.analytes import LAB_CODES
from service.terminology.queries import INPUTS, MERGED, NOT_ASKED, PREFETCH_KEYS, QUERIES, members, template

NAMED = {name for rule in RULES for name in load().rules[rule.id].inputs}
# The keys of the published interface: an EHR that is set up with these goes on as it is.
PUBLISHED = {
    "patient", "encounter", "magnesium", "rbcMagnesium", "ionizedMagnesium", "urineMagnesium", "creatinine",
    "urineCreatinine", "potassium", "calcium", "albumin", "bicarbonate", "qtc", "medicationRequests",
    "medicationStatements", "medicationAdministrations", "conditions",
}  # fmt: skip


def test_every_input_that_a_rule_names_is_asked_for_or_listed_with_the_reason_why_not() -> None:
    assert NAMED - INPUTS.keys() - NOT_ASKED.keys() == set()
    assert (INPUTS.keys() | NOT_ASKED.keys()) - NAMED == set()
    assert INPUTS.keys() & NOT_ASKED.keys() == set()
    assert all(NOT_ASKED.values())


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.id)
def test_each_service_asks_what_its_rules_need_and_no_more(service: Service) -> None:
    asked = {single for key in service.prefetch for single in members(key)}
    inputs = {name for rule in RULES if service.hook in rule.hooks for name in load().rules[rule.id].inputs}
    needed = {key for name in inputs for key in INPUTS.get(name, ())}
    assert needed <= asked
    idle = [k for k in service.prefetch if k != "encounter" and needed.isdisjoint(members(k)) and k != "patient"]
    assert idle == []
    assert len(service.prefetch) <= (6 if service.hook is Hook.MEDICATION_REFILL else 11)


def test_every_analyte_is_asked_for_once_in_a_single_key_and_in_one_search() -> None:
    single = [analyte for query in QUERIES.values() for analyte in query.analytes]
    assert sorted(single) == sorted(Analyte)
    merged = [key for _, keys in MERGED.values() for key in keys]
    assert len(merged) == len(set(merged))


@pytest.mark.parametrize("key", PREFETCH_KEYS)
def test_a_query_asks_for_codes_that_mean_its_analytes(key: str) -> None:
    wanted = {analyte for single in members(key) for analyte in QUERIES[single].analytes}
    codes = [c.split("|")[1] for c in template(key).partition("code=")[2].partition("&")[0].split(",") if "|" in c]
    assert {LAB_CODES.codes["loinc", code].analyte for code in codes} == wanted
    assert len(template(key)) < 1500  # some servers refuse longer addresses


def test_the_published_keys_are_accepted() -> None:
    assert set(PREFETCH_KEYS) >= PUBLISHED


@pytest.mark.parametrize("code", ["8302-2", "29463-7", "98979-8", "2731-8", "14879-1", "6768-6"])
def test_height_weight_egfr_pth_phosphate_and_alp_are_on_a_query_of_the_chart(code: str) -> None:
    assert any(f"|{code}" in query for query in SERVICES[0].prefetch.values())
