"""A real Chromium for tests of pages: opened once, its complaints kept; skipped loudly where there is none."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

WIDTHS = (254, 360, 1280)  # a side panel, a phone, a screen


@dataclass
class Seen:
    """What a page asked for and what it complained about."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def _without(reason: str) -> None:
    if os.environ.get("REQUIRE_BROWSER") == "1":
        pytest.fail(f"No browser: {reason}")
    pytest.skip(f"NO BROWSER, pages not tested in one: {reason}")


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser."""
    playwright = pytest.importorskip("playwright.sync_api", reason="NO BROWSER, pages not tested in one: no playwright")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        _without("no Chromium in the PATH (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


def page_of(browser: Any, width: int = 1280, **options: Any) -> tuple[Any, Seen]:
    """A page of its own profile, and what it asks for and complains about: errors, and breaches of its policy."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **options)
    page, seen = context.new_page(), Seen()
    page.on("request", lambda request: seen.requests.append(f"{request.method} {request.url}"))
    page.on("console", lambda line: seen.complaints.append(line.text) if line.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: seen.complaints.append(str(error)))
    return page, seen


AXE = Path(__file__).parent / "integration/node_modules/axe-core/axe.min.js"  # installed with the FHIR server


def violations(page: Any) -> list[str]:
    """What axe-core finds wrong with a page: rule, and where. The page needs no licence for it: it comes by the debugger."""
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then((result) => result.violations)")
    return [f"{item['id']}: {[node['target'] for node in item['nodes']][:3]}" for item in found]
