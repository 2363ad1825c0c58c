"""Which way a product goes, from a coded route or dose form and from words."""

from __future__ import annotations

import re

from service.fhir import primitives
from service.fhir.decode import cached_by_bytes, concepts
from service.fhir.resources import Dosage

_ROUTES = (
    (
        "iv",
        re.compile(
            r"\b(?:iv|i\.v\.?|ivpb|intraven\w*|infusi\w*|drip|injection|injektion\w*|47625008|"
            r"20045)\b|в/в|внутривен|инфузи|капельн|وریدی|تزریق",
            re.IGNORECASE,
        ),
    ),
    (
        "oral",
        re.compile(
            r"\b(?:po|p\.o\.?|oral\w*|by mouth|per os|ng|og|sublingual|tab\w*|cap\w*|chewable|"
            r"26643006|20053|418136008|127492001)\b|внутрь|перорал|таблет|капсул|خوراکی|"
            r"قرص|کپسول",
            re.IGNORECASE,
        ),
    ),
    (
        "other",
        re.compile(
            r"\b(?:im|i\.m\.?|intramusc\w*|topical|ophthalm\w*|otic|nasal|inhal\w*|rectal|"
            r"enema|transdermal|subcut\w*|sc|vaginal|cream|ointment|eye drops?|irrigation|"
            r"78421000|34206005)\b|внутримыш|местно|подкожн|ингаляц|глазн|عضلانی|موضعی",
            re.IGNORECASE,
        ),
    ),
)


def stated_route(dosage: Dosage) -> str:
    """The route of a dosage, coded or in its text."""
    return (coded_route(dosage.route) if dosage.route else "") or route_in(dosage.text)


@cached_by_bytes
def coded_route(raw: bytes) -> str:
    """oral, iv, other or "" from a coded route or dose form."""
    found = concepts(raw)
    words = [word for said in found for coding in said.codings for word in (coding.code, coding.display)]
    return next((route for word in (*words, *(said.text for said in found)) if (route := route_in(word))), "")


def route_in(words: str | None) -> str:
    """oral, iv, other or "" from words."""
    words = primitives.text(words)
    return next((route for route, pattern in _ROUTES if words and pattern.search(words)), "")
