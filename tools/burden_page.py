"""Writes docs/burden.md, and the figures of each rule for its page: a back-test of this version on the MIMIC-IV demo.

python -m tools.burden_page EXPORT_DIR   (about two minutes on two cores)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from service.logic.knowledge import VERSION, load

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "burden.md"
FIGURES = ROOT / "service" / "api" / "pages" / "burden.json"
SITE = "docs/examples/mimic-iv-demo.toml"
Json = dict[str, Any]
_WORDS = {
    "days": "chart days (each inpatient day at 08:00)",
    "results": "new magnesium results",
    "orders": "groups of orders signed",
    "lab-orders": "laboratory orders",
    "encounters": "admissions and discharges",
}


def main() -> None:
    """Replay twice, with the repeat guard and without, and write the page."""
    export = sys.argv[1]
    with tempfile.TemporaryDirectory() as place:
        guarded = _replay(export, Path(place) / "guarded")
        bare = _replay(export, Path(place) / "bare", "--no-repeat-guard")
    PAGE.write_text("\n".join(_page(guarded, bare)) + "\n", encoding="utf-8")
    FIGURES.write_bytes(msgspec.json.format(msgspec.json.encode(_figures(guarded)), indent=1) + b"\n")


def _figures(told: Json) -> Json:
    """What the page of a rule says of how often it spoke: on how many cards, first or again, loud, and as their lead."""
    return {
        "knowledge": VERSION,
        "patients": told["patients"],
        "events": told["events"],
        "rules": told["burden"]["rules"],
    }


def _replay(export: str, folder: Path, *options: str) -> Json:
    command = [sys.executable, "-m", "service", "backtest", export, "-o", str(folder), "--site", SITE, *options]
    subprocess.run(command, cwd=ROOT, check=True)  # noqa: S603  our own command
    told: Json = msgspec.json.decode((folder / "summary.json").read_bytes())
    return told


def _page(guarded: Json, bare: Json) -> Iterator[str]:
    yield from _head(guarded)
    yield from _burden(guarded, bare)
    yield from _leads(guarded)
    yield from _sensitivity(guarded, bare)
    yield from _practice(guarded["practice"])
    yield from _caveats(guarded)


def _head(told: Json) -> Iterator[str]:
    yield "# What the service says on real charts"
    yield ""
    yield f"Written by `python -m tools.burden_page EXPORT_DIR`. Knowledge {VERSION}."
    yield ""
    yield (
        f"{told['patients']} patients of the MIMIC-IV Clinical Database Demo on FHIR 2.1.0 (PhysioNet, doi "
        "10.13026/c2f9-3y63; Open Database License 1.0), all of whom were in intensive care: sicker than a ward. "
        f"{told['events']} moments, each chart as it was then:"
    )
    yield ""
    yield f"    magnesium-cds backtest EXPORT_DIR -o backtest --site {SITE}"
    yield ""
    yield (
        "Results rebuilt from the MEDS edition of the same demo (no flags, no comments); serum magnesium carries the "
        "range 1.6–2.6 mg/dL by which that laboratory flags."
    )
    yield ""


def _burden(guarded: Json, bare: Json) -> Iterator[str]:
    yield "## How often, how loud"
    yield ""
    yield "| per 100 | number | with a card | warning or critical | critical | words: median, longest | without the guard |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    for kind, line in guarded["burden"]["per100"].items():
        other = bare["burden"]["per100"][kind]
        yield (
            f"| {_WORDS[kind]} | {line['events']} | {line['cards']} | {line['loud']} | {line['critical']} | "
            f"{line['words']['median']:g}, {line['words']['longest']} | {other['cards']}, loud {other['loud']} |"
        )
    yield ""
    yield "Orenstein's four measures (JAMIA 2021; all interrupting alerts of six hospitals: 22–106 per 100 inpatient-days):"
    yield ""
    for name, line in guarded["burden"]["orenstein"].items():
        said = {"per100ChartOpenings": "chart openings", "per100Encounters": "encounters",
                "per100InpatientDays": "inpatient-days", "per100Orders": "orders"}[name]  # fmt: skip
        yield f"- per 100 {said} (of {line['of']}): {line['cards']} cards, {line['loud']} loud"
    yield ""


def _leads(told: Json) -> Iterator[str]:
    titles = {rule: entry.title for rule, entry in load().rules.items()}
    yield "## What leads the cards"
    yield ""
    yield "| what | first | again | loud |"
    yield "| --- | --- | --- | --- |"
    for kind, line in list(told["burden"]["kinds"].items())[:12]:
        rule, _, result = kind.partition(" ")
        loud = line.get("warning", 0) + line.get("critical", 0)
        yield f"| {rule} {titles.get(rule, '')}: {result} | {line.get('first', 0)} | {line.get('again', 0)} | {loud} |"
    yield ""


def _sensitivity(guarded: Json, bare: Json) -> Iterator[str]:
    yield "## Results outside the range, and whether there was a card when they came"
    yield ""
    yield "| result | number | with a card | with a card, without the guard | without one: the reason |"
    yield "| --- | --- | --- | --- | --- |"
    for grade, line in guarded["sensitivity"].items():
        reasons = "; ".join(f"{number} × {reason}" for reason, number in list(line["withoutCard"].items())[:4])
        other = bare["sensitivity"][grade]["withCard"]
        yield f"| {grade} | {line['results']} | {line['withCard']} | {other} | {reasons} |"
    yield ""
    yield "Critical: below 0.40 or from 2.0 mmol/L."
    yield ""


def _practice(practice: Json) -> Iterator[str]:
    doses, tests, lows = practice["intravenousDoses"], practice["tests"], practice["inpatientLows"]
    yield "## What was done, whatever would have been said"
    yield ""
    yield f"- Intravenous doses: {doses['all']}; {doses['normal']} of them at a magnesium in range, {doses['low']} at a low one."
    yield (
        f"- Magnesium measured {tests['all']} times; {tests['within48h']} within 48 h of the one before, "
        f"{tests['within48hAfterNormal']} of these after a normal one."
    )
    yield (
        f"- Low in hospital: {lows['treatedWithin24h']} got magnesium within 24 h, {lows['untreatedAfter24h']} did not. "
        f"From the first low to a value in range: median {practice['hoursToRepletion']['median']} h."
    )
    yield ""


def _caveats(told: Json) -> Iterator[str]:
    yield "## What these figures are not"
    yield ""
    yield "- One hospital, one de-identified demo; times are shifted and the patients were chosen, not drawn."
    yield "- Diagnoses were coded at the end of a stay: while it ran, a chart knew only earlier ones."
    yield "- All who open a chart count as one reader: in truth the guard holds back less. Nobody overrides anything."
    yield "- A card that would have been shown is counted. Whether it would have helped nobody has measured."
    placed = ", ".join(f"{number} {kind}" for kind, number in told["notPlacedInTime"].items()) or "none"
    yield f"- Resources without a usable time, on no chart: {placed}."
    if told["failedRules"] or told["patientsNotJudged"]:
        yield f"- **Failed: {told['failedRules']} {told['patientsNotJudged']}**"


if __name__ == "__main__":
    main()
