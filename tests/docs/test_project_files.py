"""The files by which the project lives outside: they parse, and the workflows make the README's calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
FORMS = [path for path in sorted((ROOT / ".github/ISSUE_TEMPLATE").glob("*.yml")) if path.name != "config.yml"]


def _steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in yaml.safe_load(path.read_text("utf-8"))["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_checks_and_tests_as_the_readme_says(path: Path) -> None:
    said = [step.get("run", "") for step in _steps(path)]
    assert {"make check", "make test"} <= set(said)
    assert all("uses" in step or "run" in step for step in _steps(path))


def test_every_supported_python_is_tested() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/check.yml").read_text("utf-8"))["jobs"]["test"]
    assert job["strategy"]["matrix"]["python"] == ["3.11", "3.12", "3.13", "3.14"]


def test_a_release_holds_wheel_and_sbom_and_pushes_the_image_that_it_built() -> None:
    job = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text("utf-8"))["jobs"]["release"]
    said = {step.get("name"): step.get("run", "") for step in job["steps"]}
    assert {"dist/*.whl", "dist/sbom.cdx.json"} <= set(said["Release"].split())
    assert "> dist/sbom.cdx.json" in said["Image with its SBOM"]
    assert "--preserve-env=IMAGE make image" in said["Image with its SBOM"]
    assert 'podman push "$IMAGE" ' in said["Push the image"]
    assert job["env"]["IMAGE"].startswith("localhost/")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_a_form_needs_and_warns_of_patient_data(path: Path) -> None:
    form = yaml.safe_load(path.read_text("utf-8"))
    assert {"name", "description", "body"} <= form.keys()
    ids = [field["id"] for field in form["body"] if "id" in field]
    assert len(ids) == len(set(ids)) > 2
    assert "No patient data" in form["body"][0]["attributes"]["value"]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "docs/deprecation.md", "CODE_OF_CONDUCT.md"])
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    page = ROOT / name
    linked = [part.partition(")")[0] for part in page.read_text("utf-8").split("](")[1:]]
    missing = [link for link in linked if "://" not in link and not (page.parent / link.partition("#")[0]).exists()]
    assert missing == []
