"""`make site`: every page is in it, every link leads somewhere, and the service shows it under a strict policy."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import flask
import pytest
from flask.testing import FlaskClient

from service.api import guide
from service.api.http import error_handlers

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", "-d", str(folder / "trees"), str(DOCS)]
    built = subprocess.run([*command, str(folder / "html")], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return folder / "html"


def client_of(site: Path) -> FlaskClient:
    app = flask.Flask("guide", static_folder=None)
    error_handlers.register(app)
    app.register_blueprint(guide.blueprint(site))
    return app.test_client()


def test_every_page_is_in_the_site_and_in_its_contents(site: Path) -> None:
    contents = (site / "index.html").read_text(encoding="utf-8")
    for page in DOCS.glob("**/*.md"):
        name = page.relative_to(DOCS).with_suffix(".html").as_posix()
        assert (site / name).exists(), name
        assert f'href="{name}"' in contents or name == "index.html", f"{name} is in no list of docs/index.md"


def test_every_link_within_the_site_leads_to_a_file_and_a_place_of_it(site: Path) -> None:
    pages = {page: page.read_text(encoding="utf-8") for page in site.glob("**/*.html")}
    for page, text in pages.items():
        for link in re.findall(r'href="([^":]+)"', text):
            path, _, place = link.partition("?")[0].partition("#")
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {link}"
            if place and target in pages:
                assert f'id="{place}"' in pages[target], f"{page.name}: {link}"


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for page in site.glob("**/*.html"):
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"|<link[^>]*\shref="([^"]+)"', page.read_text())
        assert not [each for pair in loaded for each in pair if each.startswith(("http", "//"))], page.name


def test_the_service_shows_it_under_a_policy_that_knows_its_one_script(site: Path) -> None:
    client = client_of(site)
    with client.get("/docs/guide/integrating.html") as page:
        assert page.status_code == 200
        assert "Integrating an EHR" in page.text
        policy = page.headers["Content-Security-Policy"]
    assert policy.count("sha256-") == 1
    assert "script-src 'self' 'sha256-" in policy
    for name, status in (("searchindex.js", 200), ("../../pyproject.toml", 404), ("none.html", 404)):
        with client.get(f"/docs/guide/{name}") as answer:
            assert answer.status_code == status, name


def test_where_it_was_not_built_the_answer_says_how(tmp_path: Path) -> None:
    answer = client_of(tmp_path).get("/docs/guide/index.html")
    assert answer.status_code == 404
    assert "make site" in answer.text
