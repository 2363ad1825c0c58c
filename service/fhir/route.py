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
        "local",  # where it is applied, and nowhere else; not the skin that a patch goes through
        re.compile(
            r"\b(?:topical\w*|ophthalm\w*|ocular|conjunctival|eye|eyes|eye ?drops?|otic|auricular|ears?|nasal|intranasal|"
            r"nostrils?|cutaneous|dermal|cream|ointment|lotion|shampoo|mouthwash|gargle|irrigation|bath|Augen\w*|Ohren\w*|"
            r"Nasen\w*|Salbe|Creme|6064005|54485002|10547007|46713006|20003000|20049000|20051000|20001000)\b|"
            r"\bместно|наружн|глазн|\bушн|назальн|\bв нос\b|\bв глаз|\bв ухо\b|\bмазь|\bкрем\b|"
            r"موضعی|چشمی|(?<!\w)(?:گوش|بینی|پماد|کرم)(?!\w)",
            re.IGNORECASE,
        ),
    ),
    (
        "other",
        re.compile(
            r"\b(?:im|i\.m\.?|intramusc\w*|inhal\w*|rectal|enema|transdermal|subcut\w*|sc|vaginal|78421000|34206005)\b|"
            r"внутримыш|подкожн|ингаляц|عضلانی",
            re.IGNORECASE,
        ),
    ),
)


def stated_route(dosage: Dosage) -> str:
    """The route of a dosage, coded or in its text."""
    return (coded_route(dosage.route) if dosage.route else "") or route_in(dosage.text)


@cached_by_bytes
def coded_route(raw: bytes) -> str:
    """oral, iv, local, other or "" from a coded route or dose form."""
    found = concepts(raw)
    words = [word for said in found for coding in said.codings for word in (coding.code, coding.display)]
    return next((route for word in (*words, *(said.text for said in found)) if (route := route_in(word))), "")


def route_in(words: str | None) -> str:
    """oral, iv, local, other or "" from words."""
    words = primitives.text(words)
    return next((route for route, pattern in _ROUTES if words and pattern.search(words)), "")
