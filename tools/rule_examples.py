"""Writes the examples of each rule's page from the tests' vignettes, so that they cannot drift: `make docs`; a test compares."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from service.logic.rules import RULES

ROOT = Path(__file__).parents[1]
VIGNETTES = ROOT / "tests" / "vignettes"
PAGE_DATA = ROOT / "service" / "api" / "pages" / "examples.json"
MOST = 6  # of each rule where it holds, and half of it where it does not
Json = dict[str, Any]
_WORDS = {
    "mg": "serum Mg",
    "rbc_mg": "erythrocyte Mg",
    "ionised_mg": "ionised Mg",
    "urine_mg": "urine Mg",
    "urine_mg_24h": "24-hour urine Mg",
    "urine_creatinine": "urine creatinine",
    "egfr": "eGFR",
    "k": "K",
    "ca": "total Ca",
    "adjusted_ca": "adjusted Ca",
    "ionised_ca": "ionised Ca",
    "qtc": "QTc",
}
_UNITS = {"min": "min", "h": "h", "d": "days"}


def render() -> bytes:
    """All examples by rule: what the vignette shows, what its chart holds, and the result, "" where the rule is silent."""
    cases = [*_cases()]
    chosen = {rule.id: [*_holding(rule.id, cases), *_silent(rule.id, cases)] for rule in RULES}
    return msgspec.json.format(msgspec.json.encode(chosen), indent=1) + b"\n"


def _cases() -> Iterator[Json]:
    for path in sorted(VIGNETTES.glob("*.toml")):
        yield from tomllib.loads(path.read_text(encoding="utf-8"))["case"]


def _holding(rule: str, cases: list[Json]) -> list[Json]:
    """One vignette for each result first, then others, in the order of the files."""
    holding = [case for case in cases if rule in case.get("finds", {})]
    first = {case["finds"][rule]: case for case in reversed(holding)}
    ordered = [case for case in holding if case in first.values()]
    ordered += [case for case in holding if case not in ordered]
    return [_example(case, case["finds"][rule]) for case in ordered[:MOST]]


def _silent(rule: str, cases: list[Json]) -> list[Json]:
    """Vignettes that ask for this rule's silence before much else: the nearest misses."""
    silent = sorted((case for case in cases if rule in case.get("silent", ())), key=lambda case: len(case["silent"]))
    return [_example(case, "") for case in silent[: MOST // 2]]


def _example(case: Json, result: str) -> Json:
    title = re.sub(r" \([\d, ]+\)$", "", case["title"])  # the numbers of decisions are no reader's
    return {"title": title, "chart": [*_chart(case)], "result": result}


def _chart(case: Json) -> Iterator[str]:
    for line in case.get("labs", ()):
        name, _, rest = line.partition(" ")
        yield f"{_WORDS.get(name, name)} {_ago(rest)}"
    for kind in ("drugs", "conditions", "orders"):
        for line in case.get(kind, ()):
            words = _ago(line).replace("_", " ")
            yield f"ordered: {words}" if kind == "orders" else words
    if "born" in case:
        yield f"born {case['born']} (the day is 2026-03-10)" if case["born"] else "birth date unknown"


def _ago(line: str) -> str:
    """Times as a reader says them: "-20h" is 20 h before, "since -400d" for 400 days."""
    line = re.sub(r"\bsince (?:day )?-(\d+(?:\.\d+)?)(min|h|d)\b", lambda m: f"for {m[1]} {_UNITS[m[2]]}", line)
    line = line.replace("umol/L", "µmol/L")
    return re.sub(r"(?<![\w.])-(\d+(?:\.\d+)?)(min|h|d)\b", lambda m: f"{m[1]} {_UNITS[m[2]]} before", line)


if __name__ == "__main__":
    PAGE_DATA.write_bytes(render())
