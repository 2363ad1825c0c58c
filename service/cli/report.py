"""The answer of an evaluation as plain text for a terminal: cards, findings, what was read, what could not be used."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from service.cli import terminal
from service.cli.terminal import STYLES, printable, styled, table

Json = Mapping[str, Any]
_ESCAPED = re.compile(r"\\([\\`*_{}\[\]<>&|~#!])")


def report(body: Json, width: int | None = None) -> str:
    """The text of an answer of `explain`; `width` in characters, by default that of the terminal."""
    body, width = printable(body), terminal.width(width)
    blocks = [_heading(body), *_cards(body, width), *_findings(body, width), *_read(body, width), *_issues(body, width)]
    return "\n\n".join(blocks)


def cards_text(answer: Json, width: int | None = None) -> str:
    """The cards of a hook's answer, each with what can be done about it, as a clinician reads them."""
    answer, width = printable(answer), terminal.width(width)
    offers = [_offers(card, width) for card in answer["cards"]] or [""]
    blocks = (card + offered for card, offered in zip(_cards(answer, width), offers, strict=True))
    return "\n\n".join(blocks)


def _offers(card: Json, width: int) -> str:
    """Links, reasons to override and whose card it is."""
    lines = [f"Link: {link['label']} {link['url']}" for link in card.get("links", ())]
    if reasons := card.get("overrideReasons"):
        lines.append("To override: " + "; ".join(reason.get("display", reason["code"]) for reason in reasons))
    if label := card.get("source", {}).get("label"):
        lines.append(f"From: {label}")
    wrapped = (textwrap.wrap(line, width, initial_indent="    ", subsequent_indent="      ") for line in lines)
    return "".join(f"\n{part}" for parts in wrapped for part in parts)


def _heading(body: Json) -> str:
    return " · ".join([body["patient"], body["hook"], body["asOf"], f"knowledge {body['knowledge']['version']}"])


# ---- cards ----------------------------------------------------------------------------------------------------------


def _cards(body: Json, width: int) -> Iterator[str]:
    if not body["cards"]:
        yield "No card."
    for card in body["cards"]:
        title = f"CARD · {card['indicator'].upper()} · {card['summary']}"
        lines = [line for raw in card.get("detail", "").splitlines() for line in _plain(raw, width)]
        lines += [f"    Suggests: {suggestion['label']}" for suggestion in card.get("suggestions", ())]
        yield "\n".join([styled("\n".join(textwrap.wrap(title, width)), STYLES.get(card["indicator"], "")), *lines])


def _plain(markdown: str, width: int) -> list[str]:
    """A line of a card without its marks; blank lines go."""
    mark = "- " if markdown.startswith("- ") else ""
    words = _ESCAPED.sub(r"\1", markdown.removeprefix("- ").replace("**", ""))
    return textwrap.wrap(words, width, initial_indent=f"    {mark}", subsequent_indent="    " + " " * len(mark))


# ---- tables ---------------------------------------------------------------------------------------------------------


def _findings(body: Json, width: int) -> Iterator[str]:
    told = [finding for finding in body["findings"] if finding["outcome"] not in {"not-met", "off"}]
    rows = [(_rule(f), f["outcome"], f.get("result", ""), _why(f)) for f in told]
    yield table("Findings (* stated on a card)", ("rule", "outcome", "result", "why"), rows, width)
    quiet = ", ".join(finding["rule"] for finding in body["findings"] if finding["outcome"] == "not-met")
    if quiet:
        yield "\n".join([styled("Not met"), *textwrap.wrap(quiet, width, initial_indent="  ", subsequent_indent="  ")])


def _rule(finding: Json) -> str:
    return f"{finding['rule']}{'*' if finding['shown'] else ''}"


def _why(finding: Json) -> str:
    if finding["outcome"] == "lacking":
        return f"not known: {', '.join(finding['lacking'])}"
    if finding["outcome"] == "withheld":
        return f"kept back by a gate: {finding['gate']}"
    if finding["outcome"] == "failed":
        return f"a fault of ours: {finding['error']}"
    return f"{finding['text']} {finding.get('why', '')}".strip()


def _read(body: Json, width: int) -> Iterator[str]:
    read = body["read"]
    labs = [(lab["analyte"], _amount(lab), lab["takenAt"] or "", lab["reference"]) for lab in read["labs"]]
    drugs = [
        (", ".join(m["ingredients"]), m["exposure"], m["recognisedBy"], m["reference"]) for m in read["medications"]
    ]
    problems = [(", ".join(c["tags"]), _state(c), c["recognisedBy"], c["reference"]) for c in read["conditions"]]
    yield table("Results read", ("measured", "value", "taken", "resource"), labs, width)
    yield table("Medications read", ("drug", "taken", "known by", "resource"), drugs, width)
    yield table("Conditions read", ("condition", "state", "known by", "resource"), problems, width)


def _amount(lab: Json) -> str:
    return f"{lab.get('comparator', '')}{'' if lab['value'] is None else lab['value']} {lab['unit'] or ''}".strip()


def _state(condition: Json) -> str:
    return "active" if condition["active"] else "not active"


def _issues(body: Json, width: int) -> Iterator[str]:
    rows = [(issue["reference"], issue["problem"]) for issue in body["issues"]]
    yield table("Could not be used", ("resource", "because"), rows, width)
