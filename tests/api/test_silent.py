"""Silent mode: everything is computed and logged, no card is shown; going live, nobody has seen anything yet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from tests.api.apps import VIEW, RunningApp, bearer, locked_app
from tests.api.test_hooks import EVERYTHING
from tests.contract.messages import bundle, hook_request, observation

SECRET = "a secret of the site, for tests alone"
NORMAL = EVERYTHING | {"magnesium": bundle(observation("mg2", "2601-3", 0.85, "mmol/L"))}


@contextmanager
def clinic(folder: Path, service: str = "", tenant: str = "") -> Iterator[RunningApp]:
    with locked_app(folder, service=service, tenant=tenant, MAGNESIUM_CDS_SECRET=SECRET) as app:
        yield app


def asked(app: RunningApp, **prefetch: Any) -> tuple[list[Any], dict[str, Any]]:
    """The cards of a call, and the line that the log has of it."""
    with capture_logs() as lines:
        answer = app.post(VIEW, hook_request(prefetch=prefetch))
    assert answer.status_code == 200, answer.json
    return answer.json["cards"], next(line for line in lines if line["event"] == "decision")


@pytest.mark.parametrize("where", ["service", "tenant"])
def test_no_card_is_shown_and_the_log_tells_which_would_have_been(tmp_path: Path, where: str) -> None:
    with clinic(tmp_path, **{where: "silent = true"}) as app:
        cards, line = asked(app, **EVERYTHING)
        assert cards == []
        assert (line["silent"], "R-011" in line["rules"], len(line["indicators"])) == (True, True, 1)
        _, line = asked(app, **NORMAL)
        assert (line["silent"], line["rules"]) == (True, [])
        rows = app.client.get("/v1/feedback/summary", headers=bearer("/v1/feedback/summary")).json["rows"]
        assert rows == [], "what was not shown is no card whose feedback is waited for"


@pytest.mark.parametrize("where", ["service", "tenant"])
def test_the_start_page_says_so(tmp_path: Path, where: str) -> None:
    with clinic(tmp_path, **{where: "silent = true"}) as app:
        assert "Silent mode, no card is shown: " in app.client.get("/").text
    with clinic(tmp_path) as app:
        assert "Silent mode" not in app.client.get("/").text


def test_the_guard_plays_along_and_what_was_held_back_in_silence_is_shown_once_cards_are(tmp_path: Path) -> None:
    with clinic(tmp_path, service="silent = true") as app:
        assert asked(app, **EVERYTHING)[1]["rules"]
        _, again = asked(app, **EVERYTHING)
        assert (again["rules"], "R-011" in again["repeated"]) == ([], True)
    with clinic(tmp_path) as app:
        cards, line = asked(app, **EVERYTHING)
        assert (len(cards), line["silent"], line["repeated"]) == (1, False, [])


def test_the_lines_of_silent_mode_are_the_report(tmp_path: Path, run: Any) -> None:
    with clinic(tmp_path, service="silent = true") as app:
        lines = [asked(app, **prefetch)[1] for prefetch in (EVERYTHING, NORMAL, NORMAL, EVERYTHING)]
    log = tmp_path / "service.log"
    times = (f"2026-03-0{day}T10:00:00Z" for day in range(1, 9))
    written = [msgspec.json.encode(line | {"time": next(times)}) for line in lines]
    log.write_bytes(b"\n".join([b"Booting worker", b'{"event": "feedback"}', *written]))
    done = run("report", log, "-o", tmp_path / "report.html")
    assert done.exit_code == 0, done.stderr
    assert "4 calls, 4 of them in silent mode" in done.stdout
    assert "patient-view: 4; per 100: 25.0 with a card" in done.stdout
    page = (tmp_path / "report.html").read_text()
    assert "What Magnesium CDS would have said: silent mode" in page
    assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
