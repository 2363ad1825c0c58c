"""Decision 46: on real charts every first abnormal and every critical magnesium, with nothing done about it, has a card."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from service.app import create_app
from service.settings import load
from service.site import site_schema
from service.store.database import upgrade

FOLDER = Path(__file__).parents[2] / "../shared/burden"
SERUM_MAGNESIUM = "50960"  # the laboratory's local code
LOW, HIGH = 1.6, 2.6  # its range, mg/dL
CRITICAL = (0.97, 4.87)  # 0.40 and 2.0 mmol/L
SAME_EPISODE = timedelta(hours=72)


def _replay() -> ModuleType:
    spec = importlib.util.spec_from_file_location("replay", FOLDER / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _abnormal(replay: ModuleType, export: Any) -> Iterator[tuple[str, datetime, float]]:
    """Each critical magnesium, and each abnormal one that no other on the same side precedes within three days."""
    for patient in sorted(export.patients):
        earlier: list[tuple[datetime, float]] = []
        for result in sorted(_magnesium(export, patient), key=lambda r: replay.when(r["effectiveDateTime"])):
            taken, value = replay.when(result["effectiveDateTime"]), result["valueQuantity"]["value"]
            again = any(taken - t < SAME_EPISODE and _side(v) == _side(value) for t, v in earlier)
            earlier.append((taken, value))
            if _side(value) and (not again or not CRITICAL[0] <= value < CRITICAL[1]):
                yield patient, taken, value


def _magnesium(export: Any, patient: str) -> list[Any]:
    labs = export.by[patient]["lab"]
    return [r for r in labs if r["code"]["coding"][0]["code"] == SERUM_MAGNESIUM and "valueQuantity" in r]


def _side(value: float) -> int:
    return -1 if value < LOW else 1 if value > HIGH else 0


def test_every_first_abnormal_and_every_critical_magnesium_has_a_card(
    tmp_path: Path,
) -> None:
    if not FOLDER.exists():
        pytest.skip("the real charts are not beside the project")
    url = f"sqlite:///{tmp_path}/store.sqlite3"
    upgrade(url)
    environment = {"DATABASE_URL": url, "MAGNESIUM_CDS_SITE": str(FOLDER / "site.toml")}
    client = create_app(load(environment, site_schema())).test_client()
    replay = _replay()
    export = replay.Export(FOLDER / "mimic-iv-demo")
    silent, asked = [], 0
    for patient, taken, value in _abnormal(replay, export):
        moment = taken + replay.LAG + timedelta(minutes=1)
        resources, encounter = export.chart(patient, moment)
        body = _body(patient, encounter, moment, resources)
        answer = client.post("/v1/evaluate", data=msgspec.json.encode(body), content_type="application/json")
        asked += 1
        if not answer.get_json()["cards"]:
            silent.append((patient, taken.isoformat(), value))
    assert asked > 50
    assert silent == []


def _body(patient: str, encounter: str, moment: datetime, resources: list[Any]) -> dict[str, Any]:
    entries = [{"resource": resource} for resource in resources]
    return {
        "hook": "patient-view",
        "asOf": moment.isoformat(),
        "context": {"patientId": patient, "encounterId": encounter},
        "bundle": {"resourceType": "Bundle", "type": "collection", "entry": entries},
    }
