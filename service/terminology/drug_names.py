"""How an ingredient is called in a language of the cards: the first name of its row in drugs.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType


def local_name(ingredient: str, language: str) -> str:
    """The INN in the spelling of a language, "furosemide" → "фуросемид"; as it came where no such name is known."""
    return _names(language).get(ingredient.casefold(), ingredient)


@cache
def _names(language: str) -> Mapping[str, str]:
    table = tomllib.loads(files("service.terminology").joinpath("drugs.toml").read_text("utf-8"))
    rows = ((name, row) for drugs in table["drug"].values() for name, row in drugs.items())
    return MappingProxyType({name.casefold(): row[language][0] for name, row in rows if row.get(language)})
