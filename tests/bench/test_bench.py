"""`make bench`: its bodies are what they are said to be, a short run ends well, and it leaves nothing behind."""

import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import msgspec
import pytest

from bench import instructions, report
from bench.bodies import PATIENT, body, large, small
from bench.calls import SIGNED
from bench.fhir_server import answer, chart_of
from bench.report import Figure, of_rounds
from bench.servers import ROOT, family
from service.cds.services import SERVICES

NOW = datetime(2026, 3, 18, 10, 0, tzinfo=UTC)
RUN = [sys.executable, "-m", "bench.run", "--rounds", "1", "--only", "small", "--bodies", "ours"]
# Every line of a section: its name, and what it is a ratio to.
BOTH = [
    *(("CPU per call", f"x {name}") for name in ("echo", "parse", "rule", "drain")),
    ("p50", "x echo"),
    ("p99", "x echo"),
]
LINES = {
    "1 connection": [*BOTH, *((f"CPU with {how}", "x echo") for how in SIGNED), ("p99", "x p50")],
    "4 connections": BOTH,
}


@pytest.mark.parametrize(("make", "resources"), [(small, 60), (large, 1210)])
def test_a_body_holds_what_is_promised_and_is_the_same_for_the_same_time(make, resources):
    assert len(chart_of(make(NOW))) == resources + 1  # the encounter is named, not sent
    assert make(NOW) == make(NOW)
    assert make(NOW) != make(NOW.replace(hour=11))


def test_a_body_grows_by_what_is_asked_for():
    kinds = [resource["resourceType"] for resource in chart_of(body(50, 5, NOW))]
    assert (kinds.count("Observation"), kinds.count("MedicationRequest"), kinds.count("Patient")) == (50, 5, 1)


def test_the_fhir_server_answers_every_advertised_query_with_what_it_asks_for():
    chart = chart_of(small(NOW))
    encounter = next(resource["id"] for resource in chart if resource["resourceType"] == "Encounter")
    found = {}
    for key, template in SERVICES[0].prefetch.items():
        filled = template.replace("{{context.patientId}}", PATIENT).replace("{{context.encounterId}}", encounter)
        head, _, content = answer(chart, f"/fhir/{quote(filled, safe='/?&=')}").partition(b"\r\n\r\n")
        assert head.endswith(b"Content-Length: %d" % len(content))
        said = msgspec.json.decode(content)
        found[key] = len(said["entry"]) if said["resourceType"] == "Bundle" else said["id"]
    assert found["patient"] == PATIENT
    assert found["encounter"] == encounter
    assert found["magnesium"] == 6  # every tenth result in mg/dL and in mmol/L
    asked = ("chemistry", "measurements", "medicationRequests", "conditions")
    assert tuple(found[key] for key in asked) == (12, 0, 10, 9)


@pytest.mark.parametrize(("goal", "verdict"), [(2.0, "met"), (1.9, "missed"), (None, "")])
def test_the_median_is_held_to_the_goal(goal, verdict):
    figure = of_rounds("section", "name", [9.0, 2.0, 1.0], "x echo", goal)
    assert (figure.value, figure.low, figure.high, figure.verdict) == (2.0, 1.0, 9.0, verdict)


def test_a_short_run_prints_every_line_and_keeps_it(tmp_path):
    kept = tmp_path / "figures.json"
    run = subprocess.run([*RUN, "--json", kept], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (run.returncode, run.stderr) == (0, "")
    figures = msgspec.convert(msgspec.json.decode(kept.read_bytes())["figures"], list[Figure])
    by_section = {name: [(f.name, f.unit) for f in figures if f.section.endswith(name)] for name in LINES}
    assert by_section == LINES
    printed = [line.split() for line in run.stdout.splitlines()]
    for figure in figures:
        assert any(
            line[: len(figure.name.split())] == figure.name.split() and f"{figure.value:.2f}" in line
            for line in printed
        )
        assert bool(figure.goal) == (figure.verdict in {"met", "missed", "not measurable here"})
    assert sum(bool(figure.goal) for figure in figures) == 4  # unsigned, signed with the guard, p99, 4 connections


def test_without_valgrind_no_number_stands_in_for_instructions(monkeypatch):
    monkeypatch.setattr(instructions.shutil, "which", lambda _program: None)
    (figure,) = instructions.measure({"small body": b"{}"})
    assert (figure.name, figure.value, figure.note) == ("not measured", None, "valgrind and vgdb not installed")
    assert " 0.00" not in report._line(figure)


def test_the_totals_of_all_dumps_of_a_worker_are_its_instructions(tmp_path):
    (tmp_path / "7").write_text("summary: 0\n\ntotals: 0\n")
    (tmp_path / "7.1").write_text("summary: 30\n\ntotals: 4000000\n")
    (tmp_path / "8").write_text("totals: 9\n")
    assert instructions.counted(tmp_path, 7) == 4_000_000


@pytest.mark.parametrize(("told", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_that_is_broken_off_ends_what_it_started(told, status):
    with subprocess.Popen(RUN, cwd=ROOT, stdout=subprocess.DEVNULL) as run:
        started = _when(lambda: family(run.pid) - {run.pid}, run)
        run.send_signal(told)
        assert run.wait(60) == status
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


def _when(seen, run):
    """What is seen as soon as there are three servers, each with its worker."""
    until = time.monotonic() + 60
    while time.monotonic() < until and run.poll() is None:
        if len(found := seen()) >= 6:
            return found
        time.sleep(0.05)
    raise AssertionError("the servers did not start")
