"""The numbers of a replay as report.html: one file, no network, prints, in English, Russian and Persian."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Final

from babel.messages.pofile import read_po
from jinja2 import Environment, PackageLoader, StrictUndefined
from markdown_it import MarkdownIt
from markupsafe import Markup

from service.cds.i18n import Wording
from service.population.measure import HELD_BACK
from service.population.production import OPENING
from service.population.report import figures
from service.population.report.control import change_points, limits, subgroups
from service.population.report.figures import Bar

Json = dict[str, Any]
MOST_BARS: Final = 24
_DAYS: Final = (("cards", "Chart days with a card, %"), ("loud", "Chart days with a warning, %"))
_OPENINGS: Final = (("cards", "Chart openings with a card, %"), ("loud", "Chart openings with a warning, %"))
_MARKDOWN: Final = MarkdownIt("commonmark", {"html": False})


def report(summary: Json, wording: Wording, titles: Mapping[str, str]) -> str:
    """The whole page; `titles` say in words what the rules are called."""

    def say(message: str, **values: object) -> str:
        return translations(wording.language).get(message, message).format_map(values)

    environment = Environment(
        loader=PackageLoader("service.population.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["markdown"] = markdown
    environment.filters["level"] = lambda level: say({"info": "info", "warning": "warning"}.get(level, "critical"))
    return environment.get_template("page.html").render(
        _=say,
        told=summary,
        language=wording.language,
        number=lambda value: _number(value, wording),
        titles=titles,
        first_screen=_first_screen(summary),
        **_figures(summary, titles, say),
    )


def markdown(words: str) -> Markup:
    """Markdown of a card as HTML; HTML within it stays text, links of it do not lead anywhere from here."""
    return Markup(_MARKDOWN.render(words or ""))  # noqa: S704  rendered without HTML


@cache
def translations(language: str) -> Mapping[str, str]:
    """The words of the report by their English ones; what is not translated stays English."""
    if language == "en":
        return MappingProxyType({})
    with files(__name__).joinpath(f"languages/{language}.po").open("rb") as file:
        messages = read_po(file, locale=language)
    return MappingProxyType({str(m.id): str(m.string) for m in messages if m.id and m.string})


def _number(value: Any, wording: Wording) -> str:
    """Digits with the decimal sign of the language; a dash for what is not known."""
    if value is None:
        return "–"
    value = int(value) if isinstance(value, float) and value.is_integer() and value >= 10 else value
    return str(value).replace(".", ",") if wording.language == "ru" and isinstance(value, float) else str(value)


def _first_screen(summary: Json) -> Json:
    """What a clinician sees first: burden of a chart day, and the results that must not be missed."""
    per_100 = summary["burden"]["per100"]
    days = per_100.get(OPENING if "production" in summary else "days")
    critical = summary["sensitivity"].get("critical")
    return {
        "days": days,
        "words_a_day": round(days["words"]["all"] / days["events"]) if days and days["words"]["all"] else None,
        "critical": critical,
        "others": [
            {"days": other["burden"]["per100"].get("days"), "earlier": "earlier" in other}
            for other in summary["versus"]
        ],
    }


def _figures(summary: Json, titles: Mapping[str, str], say: Any) -> Json:
    kinds = list(summary["burden"]["kinds"].items())[:MOST_BARS]
    linked = {row["kind"] for row in summary["burden"]["frequent"]}
    rows = [
        Bar(
            _titled(kind, titles, say),
            _anchor(kind) if kind in linked else "",
            line.get("first", 0),
            line.get("again", 0),
        )
        for kind, line in kinds
    ]
    return {
        "bars": Markup(figures.bars(rows, say("Cards by what leads them"))),  # noqa: S704  escapes what it is given
        "charts": [
            (say(title), Markup(_over_time(summary, what, say(title))))  # noqa: S704
            for what, title in (_OPENINGS if "production" in summary else _DAYS)
        ],
        "picture": Markup,  # of a patient: drawn and escaped by service.pictures
        "shifted": _is_shifted(summary),
        "because": lambda reason: _because(reason, titles, say),
        "ward": lambda code: _ward(code, say),
        "sweep": Markup(_sweep(summary, say)),  # noqa: S704
        "titled": lambda kind: _titled(kind, titles, say),
    }


def _anchor(kind: str) -> str:
    return "card-" + kind.replace(" ", "-")


def _titled(kind: str, titles: Mapping[str, str], say: Any) -> str:
    """What leads a card in words; a result of several parts is said part by part."""
    rule, _, result = kind.partition(" ")
    parts = (say(part.replace("-", " ")) for part in result.split("+") if part)
    return " · ".join(word for word in (say(titles.get(rule, rule)), "; ".join(parts)) if word)


_CONTEXT: Final = re.compile(r"(R-\d+ \S+): context, no reason for a card")
_WARDS: Final = {
    "imp": "inpatient", "acute": "inpatient, acute", "nonac": "inpatient, non-acute", "amb": "ambulatory",
    "emer": "emergency", "obsenc": "observation", "ss": "short stay", "hh": "at home", "vr": "virtual", "fld": "field",
    "prenc": "before admission",
}  # fmt: skip


def _because(reason: str, titles: Mapping[str, str], say: Any) -> str:
    """Why a result got no card."""
    if context := _CONTEXT.fullmatch(reason):
        return str(say("{what}: told beside other findings, no card of its own", what=_titled(context[1], titles, say)))
    return str(say(reason) if reason == HELD_BACK else reason)


def _ward(code: str, say: Any) -> str:
    """A class of encounter in words (HL7 ActCode), with its code; one of a hospital's own as it is."""
    if not code:
        return str(say("not stated"))
    return f"{say(_WARDS[code])} ({code.upper()})" if code in _WARDS else code


def _over_time(summary: Json, what: str, title: str) -> str:
    groups = subgroups(summary["burden"]["months"], what)
    changes = change_points(groups)
    return figures.p_chart(groups, limits(groups, changes), changes, title) if len(groups) > 1 else ""


def _sweep(summary: Json, say: Any) -> str:
    """Burden across, sensitivity upwards, one point for each value of the threshold."""
    steps = (summary.get("sweep") or {}).get("steps", ())
    points = [(step["cards"], step["sensitivity"], str(step["value"])) for step in steps]
    return figures.trade_off(points, say("One threshold, its burden and its sensitivity")) if points else ""


def _is_shifted(summary: Json) -> bool:
    """Dates of the future: shifted to keep the patients unknown."""
    months = summary["burden"]["months"]
    return bool(months) and max(months) > f"{datetime.now(UTC).year + 1}"
