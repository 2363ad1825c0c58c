"""The vignettes: worked patients in TOML, one file per group of rules, and what the service must say of each."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from service.logic.model import PatientSnapshot
from tests.vignettes.patients import NOW, patient

_PATIENT = ("drugs", "conditions", "orders", "born", "sex", "hook", "setting", "pending", "profile", "research")
_EXPECTED = (
    *("finds", "urgency", "silent", "withheld", "lacking", "shown", "not_shown", "indicator"),
    *("values", "gives", "tests", "offers", "says", "on_card", "never_says"),
)
_KEYS = {"title", "labs", "now", "unavailable", "wire", *_PATIENT, *_EXPECTED}


@dataclass(frozen=True)
class Vignette:
    """One worked patient: `expected` holds the members of the file that say what must come out."""

    group: str
    title: str
    patient: PatientSnapshot
    expected: dict[str, Any]
    wire: bool  # also sent through the whole path as FHIR
    direct: bool  # judged from the words; False where it is the reader of FHIR that decides

    def __str__(self) -> str:
        return f"{self.group}: {self.title}"


def read(folder: Path = Path(__file__).parent) -> list[Vignette]:
    """Every vignette. ValueError on a member that nothing reads, so that no expectation is lost in silence."""
    return [
        _vignette(path.stem, case)
        for path in sorted(folder.glob("*.toml"))
        for case in tomllib.loads(path.read_text(encoding="utf-8"), parse_float=Decimal)["case"]
    ]


def _vignette(group: str, case: dict[str, Any]) -> Vignette:
    if unknown := case.keys() - _KEYS:
        raise ValueError(f"{case.get('title')!r} has unknown members: {', '.join(sorted(unknown))}")
    given = {key: case[key] for key in _PATIENT if key in case}
    if "born" in case:
        given["born"] = case["born"] or None
    if "unavailable" in case:
        given["unavailable"] = dict.fromkeys(case["unavailable"], "not sent")
    now: datetime = case.get("now", NOW)
    return Vignette(
        group=group,
        title=case["title"],
        patient=patient(*case.get("labs", ()), now=now, **given),
        expected={key: case[key] for key in _EXPECTED if key in case},
        wire=bool(case.get("wire", False)),
        direct=case.get("wire") != "only",
    )
