"""The worked patients that are published beside the project, sent to the application as its check script does."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from service.app import create_app
from service.settings import load
from service.site import site_schema
from service.store.database import upgrade

FOLDER = Path(__file__).parents[2] / "../shared/clinical"
SCRIPT, PATIENTS = FOLDER / "check_vignettes.py", FOLDER / "vignettes_public.json"


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("check_vignettes", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _vignettes() -> list[Any]:
    if not PATIENTS.exists():
        why = "the published vignettes are not beside the project"
        return [pytest.param({}, marks=pytest.mark.skip(reason=why), id="absent")]
    listed = msgspec.json.decode(PATIENTS.read_bytes())["vignettes"]
    return [pytest.param(vignette, id=f"{vignette['id']} {vignette['title']}") for vignette in listed]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/store.sqlite3"
    upgrade(url)
    return create_app(load({"DATABASE_URL": url}, site_schema())).test_client()


@pytest.fixture(scope="module")
def script() -> ModuleType:
    return _script()


@pytest.fixture(scope="module")
def codes(script: ModuleType) -> tuple[Any, Any]:
    """The codes by which the script expresses conditions and drugs."""
    return script.load_tags(), script.load_drugs()


@pytest.mark.parametrize("vignette", _vignettes())
def test_a_published_patient_gets_the_answer_that_is_expected(
    vignette: dict[str, Any], client: FlaskClient, script: ModuleType, codes: tuple[Any, Any]
) -> None:
    body, _ = script.build_request(vignette, *codes)
    answer = client.post("/v1/evaluate", json=body)
    assert answer.status_code == 200, answer.get_data(as_text=True)
    assert script.compare(vignette, answer.get_json()) == []
