"""`backtest`: the same cards in any order and after any interruption; every number of the summary counted by hand."""

import os
import re
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from time import sleep

import msgspec
import pytest

from tests.population.records import condition, patient, write_export

ROOT = Path(__file__).parents[2]
FILES = ("cards.ndjson", "summary.json", "report.html")
RXNORM = "http://www.nlm.nih.gov/research/umls/rxnorm"


def rows(folder, name="cards.ndjson"):
    return [msgspec.json.decode(line) for line in (folder / name).read_bytes().splitlines()]


def summary(folder):
    return msgspec.json.decode((folder / "summary.json").read_bytes())


def stay(ident, start, days):
    begin = datetime.fromisoformat(start)
    period = {"start": start, "end": (begin + timedelta(days=days)).isoformat()}
    whose = {"reference": f"Patient/{ident}"}
    return {
        "resourceType": "Encounter", "id": f"{ident}-e", "status": "finished", "class": {"code": "IMP"},
        "subject": whose, "period": period,
    }  # fmt: skip


def result(ident, number, loinc, value, unit, when):
    return {
        "resourceType": "Observation", "id": f"{ident}-{loinc}-{number}", "status": "final",
        "code": {"coding": [{"system": "http://loinc.org", "code": loinc}]},
        "subject": {"reference": f"Patient/{ident}"}, "effectiveDateTime": when,
        "valueQuantity": {"value": value, "unit": unit},
    }  # fmt: skip


def order(ident, number, code, name, when):
    return {
        "resourceType": "MedicationRequest", "id": f"{ident}-m{number}", "status": "completed", "intent": "order",
        "medicationCodeableConcept": {"coding": [{"system": RXNORM, "code": code, "display": name}]},
        "subject": {"reference": f"Patient/{ident}"}, "authoredOn": when,
    }  # fmt: skip


def inpatient(ident):
    """Four days in hospital, as chance has it, the same for the same id."""
    chance = Random(ident)  # noqa: S311
    begin = datetime(2140 + chance.randint(0, 40), chance.randint(1, 12), 3, 10, tzinfo=UTC)
    found = [patient(ident, "2090-01-01"), stay(ident, begin.isoformat(), 4), condition(f"{ident}-c", ident, "I50.0")]
    for number in range(4):
        when = (begin + timedelta(hours=20 * number)).isoformat()
        found.append(result(ident, number, "2601-3", round(chance.uniform(0.3, 1.3), 2), "mmol/L", when))
        found.append(result(ident, number, "2823-3", round(chance.uniform(2.6, 5.0), 1), "mmol/L", when))
        found.append(result(ident, number, "2160-0", round(chance.uniform(0.6, 3.5), 1), "mg/dL", when))
        code, name = chance.choice([("4603", "furosemide"), ("7646", "omeprazole"), ("3407", "digoxin")])
        found.append(order(ident, number, code, name, (begin + timedelta(hours=20 * number + 3)).isoformat()))
    return found


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    charts = [resource for number in range(40) for resource in inpatient(f"p{number}")]
    return write_export(tmp_path_factory.mktemp("export"), charts, compressed=("Observation",))


@pytest.fixture(scope="module")
def whole(export, tmp_path_factory):
    """One run without interruption."""
    folder = tmp_path_factory.mktemp("whole")
    subprocess.run(command(export, folder, "--jobs", "1"), cwd=ROOT, check=True, capture_output=True)
    return folder


def command(export, folder, *options):
    return [sys.executable, "-m", "service", "backtest", str(export), "-o", str(folder), *options]


def same(one, other):
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in FILES)


def test_the_number_of_processes_changes_nothing(run, export, whole, tmp_path):
    done = run("backtest", export, "-o", tmp_path / "two", "--jobs", 2)
    assert done.exit_code == 0, done.stderr
    assert same(tmp_path / "two", whole)
    assert not (tmp_path / "two" / "work").exists(), "copies of patient data are removed"


def test_a_run_killed_ten_times_gives_the_same(export, whole, tmp_path):
    folder, killed = tmp_path / "out", 0
    for turn in range(10):
        with subprocess.Popen(
            command(export, folder, "--jobs", "1"), cwd=ROOT, stdout=-3, stderr=-3, start_new_session=True
        ) as process:
            before = done_buckets(folder)
            while process.poll() is None and done_buckets(folder) < before + 1 + turn % 2:
                sleep(0.005)
            killed += process.poll() is None
            os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    assert killed == 10
    subprocess.run(command(export, folder, "--jobs", "1"), cwd=ROOT, check=True, capture_output=True)
    assert same(folder, whole)


def done_buckets(folder):
    return len(list((folder / "work" / "results").glob("*.json")))


def test_the_summary_counts_what_was_replayed(whole):
    told = summary(whole)
    assert told["patients"] == 40
    assert {kind: line["events"] for kind, line in told["burden"]["per100"].items()} == {
        "days": 160, "results": 160, "orders": 160, "encounters": 80,
    }  # fmt: skip
    days = [row for row in rows(whole) if row["event"] == "days"]
    assert told["burden"]["per100"]["days"]["cards"] == round(
        100 * len({(r["patient"], r["at"]) for r in days}) / 160, 1
    )
    assert told["burden"]["orenstein"]["per100Encounters"]["of"] == 40
    assert told["burden"]["orenstein"]["per100InpatientDays"]["of"] == 160
    assert told["burden"]["orenstein"]["per100Orders"]["of"] == 160
    assert told["patientsNotJudged"] == told["failedRules"] == {}
    assert told["notPlacedInTime"] == {"Condition": 40}, "a problem without any date is on no chart, and that is said"


def test_every_result_outside_its_range_is_told_with_a_card_or_a_reason(whole):
    for grade, line in summary(whole)["sensitivity"].items():
        assert line["results"] > 0, grade
        assert line["withCard"] + sum(line["withoutCard"].values()) == line["results"]
    assert len(summary(whole)["sensitivity"]["critical"]["examples"]) == sum(
        summary(whole)["sensitivity"]["critical"]["withoutCard"].values()
    )


def test_a_card_tells_where_and_when_and_on_what(whole):
    found = rows(whole)
    assert found
    assert [(r["patient"], r["at"]) for r in found if r["patient"] == found[0]["patient"]] == sorted(
        (r["patient"], r["at"]) for r in found if r["patient"] == found[0]["patient"]
    )
    for row in found:
        assert row["summary"]
        assert row["findings"]
        assert row["encounter"] == row["patient"].replace("Patient/", "Encounter/") + "-e"
        assert ("drafts" in row) == (row["event"] == "orders")


def test_the_report_is_one_file_that_asks_nothing_of_the_network(whole):
    page = (whole / "report.html").read_text()
    for outside in ("<script", "<link", "src=", "@import", "url(http"):
        assert outside not in page
    assert str(summary(whole)["burden"]["per100"]["days"]["cards"]) in page


def test_each_example_has_its_timeline_and_the_summary_stays_numbers(whole):
    page = (whole / "report.html").read_text()
    assert page.count('class="timeline"') == page.count('class="case"') > 0
    assert "Serum magnesium" in re.sub("<[^>]+>", "", page)
    assert "<svg" not in (whole / "summary.json").read_text()


@pytest.mark.parametrize(("language", "word", "direction"), [("ru", "Как часто", "ltr"), ("fa", "چند بار", "rtl")])
def test_the_report_speaks_the_reader_s_language(run, export, tmp_path, language, word, direction):
    done = run("backtest", export, "-o", tmp_path / "o", "--events", "days", "--language", language, "--jobs", 1)
    assert done.exit_code == 0, done.stderr
    page = (tmp_path / "o" / "report.html").read_text()
    assert word in page
    assert f'dir="{direction}"' in page


def test_only_the_events_asked_for_are_replayed(run, export, tmp_path):
    assert run("backtest", export, "-o", tmp_path / "o", "--events", "days", "--jobs", 1).exit_code == 0
    told = summary(tmp_path / "o")
    assert list(told["burden"]["per100"]) == ["days"]
    assert told["sensitivity"] == {}
    again = run("backtest", export, "-o", tmp_path / "o", "--events", "results")
    assert "--events: was ['days'], is ['results']" in again.stderr


def test_two_site_files_side_by_side(run, export, tmp_path):
    other = tmp_path / "other.toml"
    silenced = summary_leads(run, export, tmp_path)
    other.write_text("[rules]\n" + "\n".join(f'{rule} = "off"' for rule in silenced))
    done = run("backtest", export, "-o", tmp_path / "v", "--events", "days", "--versus", other, "--jobs", 1)
    assert done.exit_code == 0, done.stderr
    [versus] = summary(tmp_path / "v")["versus"]
    assert versus["burden"]["per100"]["days"]["cards"] < summary(tmp_path / "v")["burden"]["per100"]["days"]["cards"]
    assert sum(line["lost"] for line in versus["changes"].values()) > 0
    assert all(row["was"] != row["is"] for row in rows(tmp_path / "v", "changes.ndjson"))
    assert "The other site file" in (tmp_path / "v" / "report.html").read_text()


def summary_leads(run, export, tmp_path):
    assert run("backtest", export, "-o", tmp_path / "first", "--events", "days", "--jobs", 1).exit_code == 0
    return {kind.partition(" ")[0] for kind in list(summary(tmp_path / "first")["burden"]["kinds"])[:3]}


def test_a_range_that_results_lack_can_be_stated(run, export, tmp_path):
    narrow = ("--range", "serum magnesium=0.95..1.20 mmol/L")
    assert run("backtest", export, "-o", tmp_path / "o", "--events", "results", *narrow, "--jobs", 1).exit_code == 0
    counted = {grade: line["results"] for grade, line in summary(tmp_path / "o")["sensitivity"].items()}
    assert counted["low"] + counted["critical"] > 80, "two thirds are below this range"


def test_one_threshold_at_several_values(run, export, tmp_path):
    asked = ("--events", "results", "--events", "days", "--sweep", "mg-severe=0.20,0.40,0.55")
    done = run("backtest", export, "-o", tmp_path / "o", *asked, "--no-repeat-guard", "--jobs", 1)
    assert done.exit_code == 0, done.stderr
    sweep = summary(tmp_path / "o")["sweep"]
    assert (sweep["parameter"], [step["value"] for step in sweep["steps"]]) == ("mg-severe", ["0.20", "0.40", "0.55"])
    assert all(0 < step["sensitivity"] <= 100 for step in sweep["steps"])
    page = (tmp_path / "o" / "report.html").read_text()
    assert "One threshold, its burden and its sensitivity" in page
    assert run("backtest", export, "-o", tmp_path / "p", "--sweep", "no-such=1").exit_code == 2
    assert run("backtest", export, "-o", tmp_path / "p", "--sweep", "mg-severe=low").exit_code == 2


@pytest.mark.parametrize("words", ["magnesium=1..2 mg/dL", "serum magnesium=2..1 mg/dL", "serum magnesium 1..2", ""])
def test_a_range_that_is_none_is_refused(run, export, tmp_path, words):
    assert run("backtest", export, "-o", tmp_path / "o", "--range", words).exit_code == 2


def test_the_repeat_guard_holds_back_what_was_said_and_nothing_graver(run, export, whole, tmp_path):
    done = run("backtest", export, "-o", tmp_path / "o", "--no-repeat-guard", "--jobs", 1)
    assert done.exit_code == 0, done.stderr
    guarded, open_ = summary(whole)["burden"]["per100"], summary(tmp_path / "o")["burden"]["per100"]
    assert sum(line["heldBack"] for line in guarded.values()) > 0
    assert sum(line["heldBack"] for line in open_.values()) == 0
    shown, all_ = rows(whole), rows(tmp_path / "o")
    assert len(shown) + sum(line["heldBack"] for line in guarded.values()) == len(all_)
    assert [row for row in all_ if row in shown] == shown, "what is shown is the same"
    assert "said before" not in str(summary(tmp_path / "o")["sensitivity"])
