"""`screen`: every patient of an export judged as one would be alone; broken lines named; a run that stops goes on."""

import csv
import gzip
import os
import signal
import subprocess
import sys
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep

import msgspec
import pytest

from service.cli.setup import for_worker
from service.logic.model import Hook
from service.population import export, outcome
from service.population.bucket import Task, judge_bucket
from service.population.journal import exclusive_lock
from service.population.partition import SortTask, bucket_of, partition, patients_in, sort_chunk
from service.population.record import Files
from service.population.screening import Options, screen
from service.population.setup import Configuration
from tests.population.records import (
    AS_OF,
    anybody,
    bundle,
    lab,
    low_magnesium,
    medication,
    normal,
    patient,
    request_by_reference,
    write_export,
)

ROOT = Path(__file__).parents[2]


def rows(folder, name="findings.ndjson"):
    return [msgspec.json.decode(line) for line in (folder / name).read_bytes().splitlines()]


def summary(folder):
    return msgspec.json.decode((folder / "summary.json").read_bytes())


@pytest.fixture
def screened(run, tmp_path):
    """Screen some resources; the output folder and what was said."""

    def call(resources, *options, compressed=(), output="out"):
        folder = write_export(tmp_path / "export", resources, compressed=compressed)
        result = run("screen", folder, "-o", tmp_path / output, "--as-of", AS_OF, "--jobs", 1, *options)
        assert result.exit_code == 0, result.stderr
        return tmp_path / output

    return call


# ---- the same as alone ----------------------------------------------------------------------------------------------


def alone(run, resources, *options):
    """What `evaluate` finds of one patient, as rows of a screening."""
    result = run("evaluate", "-", "--json", "--as-of", AS_OF, *options, input=bundle(resources))
    body = msgspec.json.decode(result.stdout)
    told = ("rule", "name", "outcome", "gate", "result", "indicator", "shown", "values")
    return [
        {"patient": body["patient"], "asOf": body["asOf"]}
        | {name: finding[name] for name in told if name in finding}
        | {"evidence": [item["reference"] for item in finding.get("evidence", ())]}
        for finding in body["findings"]
        if finding["outcome"] in {"finding", "withheld"}
    ]


@pytest.mark.parametrize("options", [(), ("--research", "--profile", "seed002", "--hook", "encounter-start")])
def test_each_patient_is_judged_as_one_would_be_alone(run, screened, options):
    charts = {f"p{number}": anybody(f"p{number}") for number in range(60)}
    out = screened([resource for chart in charts.values() for resource in chart], *options)
    found = {}
    for row in rows(out):
        found.setdefault(row["patient"], []).append(row)
    expected = {f"Patient/{ident}": alone(run, chart, *options) for ident, chart in charts.items()}
    assert sum(map(len, expected.values())) > 250
    assert found == {name: told for name, told in expected.items() if told}


def test_shared_medications_are_found_down_to_what_they_are_made_of(run, screened):
    mixture = {
        "resourceType": "Medication",
        "id": "mix",
        "ingredient": [{"itemReference": {"reference": "Medication/furo"}}],
    }
    shared = [medication("furo", "4603"), mixture]
    references = [
        "Medication/furo",
        "https://fhir.example/r4/Medication/furo/_history/2",
        "Medication/mix",
        "urn:uuid:furo",
    ]
    charts = {
        f"p{n}": [*low_magnesium(f"p{n}")[:4], request_by_reference(f"m{n}", f"p{n}", reference)]
        for n, reference in enumerate(references)
    }
    out = screened([*(r for chart in charts.values() for r in chart), *shared])
    diuretic = {row["patient"] for row in rows(out) if row["rule"] == "R-050" and row["outcome"] == "finding"}
    assert diuretic == {f"Patient/p{n}" for n in range(len(references))}
    assert [r for r in rows(out) if r["patient"] == "Patient/p2"] == alone(run, [*charts["p2"], *shared])


def test_patients_are_kept_apart_however_they_are_named(run, screened):
    """Absolute, versioned and urn references, and `patient` where other resources have `subject`."""
    chart = low_magnesium("p1")
    for resource, reference in zip(
        chart[1:],
        ["https://fhir.example/r4/Patient/p1", "Patient/p1/_history/3", "urn:uuid:p1", "Patient/p1"],
        strict=False,
    ):
        resource["subject"] = {"reference": reference}
    chart[-1]["patient"] = chart[-1].pop("subject")
    out = screened([*chart, *normal("p2")])
    assert summary(out)["patients"] == 2
    assert [row for row in rows(out) if row["patient"] == "Patient/p1"] == alone(run, low_magnesium("p1"))


def test_compression_and_the_number_of_processes_change_nothing(run, screened, tmp_path):
    charts = [resource for number in range(40) for resource in anybody(f"p{number}")]
    plain = screened(charts).joinpath("findings.ndjson").read_bytes()
    packed = write_export(tmp_path / "packed", charts, compressed=("Observation", "Patient"))
    result = run("screen", packed, "-o", tmp_path / "two", "--as-of", AS_OF, "--jobs", 2)
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "two" / "findings.ndjson").read_bytes() == plain


# ---- what comes out -------------------------------------------------------------------------------------------------


def test_the_summary_counts_patients_cards_rules_and_what_was_missing(screened):
    orphan = lab("o9", "p3", "2601-3", 0.85)
    out = screened([*low_magnesium("p1"), *normal("p2"), orphan, {"resourceType": "Claim", "id": "x"}])
    told = summary(out)
    assert (told["patients"], told["patientsWithCard"], told["firingRate"]) == (3, 1, 0.3333)
    assert told["cards"] == {"critical": 1, "warning": 0, "info": 0}
    assert told["patientsWithoutPatientResource"] == 1
    assert told["rules"]["R-011"]["results"] == {"moderate": 1}
    assert (told["rules"]["R-011"]["shown"], told["rules"]["R-011"]["firingRate"]) == (1, 0.3333)
    assert told["rules"]["R-021"]["lackingInputs"] == {"erythrocyte magnesium": 3}
    assert all(
        sum(rule[outcome] for outcome in ("finding", "withheld", "not-met", "off", "lacking", "failed")) == 3
        for rule in told["rules"].values()
    )
    assert told["resources"]["Observation"] == 6
    assert told["unusedResources"] == {"Claim": 1}
    assert told["skipped"] == {"total": 0, "reasons": {}, "first": []}
    assert not (out / "work").exists(), "copies of patient data are removed"


def test_csv_says_the_same(screened):
    charts = low_magnesium("p1") + normal("p2")
    expected = rows(screened(charts))
    with (screened(charts, "--format", "csv", output="csv") / "findings.csv").open(newline="") as lines:
        table = list(csv.DictReader(lines))
    assert [(r["patient"], r["rule"], r["result"], r["shown"]) for r in table] == [
        (r["patient"], r["rule"], r.get("result", ""), str(r["shown"]).lower()) for r in expected
    ]
    severity = next(r for r in table if r["rule"] == "R-010" and r["patient"] == "Patient/p1")
    assert severity["values"].startswith("mg_mmol_L=0.45; mg_mg_dL=")
    assert severity["evidence"] == "Observation/p1-mg"


def test_the_output_is_for_its_owner_alone(screened):
    assert (screened(normal("p1")).stat().st_mode & 0o777) == 0o700


# ---- broken input ---------------------------------------------------------------------------------------------------

BROKEN = {
    b"{": "not JSON",
    b'{"resourceType": "Observation", "x": nope}': "not JSON",
    b'{"resourceType": "Patient", "id": ' + b"[" * 100_000: "not JSON",
    b'{"resourceType": "Observation", "note": "\xfcbel"}': "not UTF-8",
    b'{"resourceType": "Patient", "id": "\\ud800"}': "not JSON",
    b"42": "no JSON object",
    b'["Patient"]': "no JSON object",
    b'{"id": "a"}': "no resourceType",
    b'{"resourceType": 7}': "no resourceType",
    b'{"resourceType": "Patient"}': "no id",
    b'{"resourceType": "Observation", "id": "a"}': "names no patient",
    b'{"resourceType": "Observation", "subject": {"reference": "Group/g"}}': "subject is no patient",
    b'{"resourceType": "Observation", "subject": "p1"}': "subject is no patient",
    b'"' + b"x" * (export.MAX_LINE + 1) + b'"': "too long",
}


def test_a_broken_line_is_named_and_skipped_and_the_rest_is_judged(run, tmp_path):
    folder = write_export(tmp_path / "export", low_magnesium("p1"))
    file = folder / "Observation.000.ndjson"
    good = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([good[0], b"", *BROKEN, *good[1:]]))
    result = run("screen", folder, "-o", tmp_path / "out", "--as-of", AS_OF, "-j", 1)
    assert result.exit_code == 0
    noted = [(b["line"], b["reason"]) for b in rows(tmp_path / "out", "broken.ndjson")]
    assert noted == list(enumerate(BROKEN.values(), start=3))
    told = summary(tmp_path / "out")["skipped"]
    assert told["total"] == len(BROKEN) == sum(told["reasons"].values())
    assert told["first"][0].startswith("Observation.000.ndjson:3: not JSON (")
    assert "Observation.000.ndjson:3: not JSON" in result.stderr
    assert f"... and {len(BROKEN) - 10} more" in result.stderr
    assert f"{len(BROKEN)} lines skipped" in result.stdout
    assert rows(tmp_path / "out") == alone(run, low_magnesium("p1"))


def test_foreign_line_ends_and_byte_order_marks_are_read_and_utf_16_is_named(run, tmp_path):
    folder = write_export(tmp_path / "export", low_magnesium("p1"))
    for file in list(folder.iterdir()):
        file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    (folder / "Zulu.ndjson").write_bytes('{"resourceType": "Patient", "id": "p2"}\n'.encode("utf-16"))
    assert run("screen", folder, "-o", tmp_path / "out", "--as-of", AS_OF, "-j", 1).exit_code == 0
    assert summary(tmp_path / "out")["skipped"]["reasons"] == {"UTF-16": 1}
    assert rows(tmp_path / "out") == alone(run, low_magnesium("p1"))


def test_files_that_are_not_read_are_named(run, tmp_path):
    folder = write_export(tmp_path / "export", low_magnesium("p1"))
    for name in ("Bundle.json", "labs.csv", ".hidden"):
        (folder / name).write_text("{}")
    (folder / "older").mkdir()
    result = run("screen", folder, "-o", tmp_path / "out", "--as-of", AS_OF, "--jobs", 1)
    named = [line.partition(":")[0] for line in result.stderr.splitlines() if "not read" in line]
    assert (result.exit_code, named) == (0, ["Bundle.json", "labs.csv", "older"])


def test_of_a_damaged_archive_what_can_be_read_is_read(run, tmp_path):
    folder = write_export(tmp_path / "export", low_magnesium("p1"))
    lines = b"".join(msgspec.json.encode(patient(f"q{number}")) + b"\n" for number in range(5000))
    packed = gzip.compress(lines)
    (folder / "Patient.001.ndjson.gz").write_bytes(packed[: len(packed) // 2])
    (folder / "Patient.002.ndjson.gz").write_bytes(packed[:-4] + b"oops")
    (folder / "Patient.003.ndjson.gz").write_bytes(b"")
    result = run("screen", folder, "-o", tmp_path / "out", "--as-of", AS_OF, "-j", 1)
    told = summary(tmp_path / "out")
    assert told["skipped"]["reasons"] == {"damaged gzip": 2}
    assert told["patients"] == 5001
    assert "Patient.001.ndjson.gz" in result.stderr


def test_a_chart_that_breaks_the_service_costs_that_patient_only(tmp_path):
    """No such chart is known; a moment without a time zone, which no option can give, stands for one."""
    buckets, results = tmp_path / "buckets", tmp_path / "results"
    buckets.mkdir()
    results.mkdir()
    files = sorted(write_export(tmp_path / "export", low_magnesium("p1")).iterdir())
    found = sorted_into(buckets, files, tmp_path / "broken.ndjson")
    number = bucket_of("p1", found.buckets)
    options = Options(datetime(2025, 6, 15), Hook.PATIENT_VIEW, Configuration(for_worker))  # noqa: DTZ001
    named = Files(tuple(file.name for file in files), tuple((0,) for _ in files))
    assert judge_bucket(Task(number, buckets, results, named, screen, options)) == 1
    row = {"patient": "Patient/p1", "outcome": "not-judged"}
    assert rows(results, f"{number:04}.ndjson") == [row]
    told = outcome.summary(outcome.total_of(results, [number]), found, {})
    assert (told["patients"], told["patientsNotJudged"]) == (1, {"TypeError": 1})


# ---- sorting by patient ----


def sorted_into(folder, files, broken):
    tasks = [SortTask(chunk, 32, folder) for chunk in export.chunks_of(files)]
    for task in tasks:
        sort_chunk(task)
    return partition(tasks, broken)


def charts_in(folder):
    buckets = sorted(file for file in folder.glob("*.lines") if file.stem != "0032")
    return {patient: [line.content for line in lines] for file in buckets for patient, lines in patients_in(file)}


@pytest.mark.parametrize("size", [1, 700, 5_000])
def test_files_read_in_parts_are_the_same_lines_in_the_same_order(tmp_path, monkeypatch, size):
    charts = [resource for number in range(8) for resource in anybody(f"p{number}")]
    folder = write_export(tmp_path / "export", [*charts, medication("furo", "4603")], compressed=("Patient",))
    file = folder / "Observation.000.ndjson"
    lines = file.read_bytes().splitlines()
    file.write_bytes(b"\n".join([*lines[:9], b"", b"{", *lines[9:], b"42"]))
    files = sorted(folder.iterdir())
    told = {}
    for name, part in (("whole", 10**9), ("parts", size)):
        monkeypatch.setattr(export, "CHUNK_BYTES", part)
        (tmp_path / name).mkdir()
        found = sorted_into(tmp_path / name, files, tmp_path / f"{name}.ndjson")
        told[name] = (charts_in(tmp_path / name), found.resources, found.examples)
    assert told["parts"] == told["whole"]
    assert [(fault.line, fault.reason) for fault in told["whole"][2]] == [
        (11, "not JSON"),
        (len(lines) + 3, "no JSON object"),
    ]


def test_a_part_sorted_again_after_an_interruption_counts_once(tmp_path):
    folder = write_export(tmp_path / "export", low_magnesium("p1") + normal("p2"))
    files, out = sorted(folder.iterdir()), tmp_path / "out"
    out.mkdir()
    found = sorted_into(out, files, tmp_path / "broken.ndjson")
    expected = charts_in(out)
    for file in out.glob("*.lines"):
        file.write_bytes(file.read_bytes()[:-40])  # as if the process had been ended while it wrote
    assert sorted_into(out, files, tmp_path / "broken.ndjson") == found
    assert charts_in(out) == expected


# ---- stop and go on -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    """An export that takes more than a moment."""
    charts = (resource for number in range(600) for resource in anybody(f"p{number}", 40))
    return write_export(tmp_path_factory.mktemp("many"), charts)


def start(folder, output, *options):
    command = [sys.executable, "-m", "service", "screen", str(folder), "-o", str(output), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def done_buckets(output):
    return sorted((output / "work" / "results").glob("*.json"))


def until(true, patience=30.0):
    end = monotonic() + patience
    while not true():
        assert monotonic() < end
        sleep(0.01)


def alive(process_id):
    with suppress(OSError):
        os.kill(process_id, 0)
        return "\nState:\tZ" not in Path(f"/proc/{process_id}/status").read_text()
    return False


def children(process_id):
    return [int(word) for word in Path(f"/proc/{process_id}/task/{process_id}/children").read_text().split()]


def test_a_killed_run_leaves_no_process_and_goes_on_where_it_was(run, many, tmp_path):
    output = tmp_path / "out"
    with start(many, output, "--jobs", "2") as process:
        until(lambda: len(done_buckets(output)) >= 2)
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    until(lambda: not any(map(alive, workers)))
    finished = len(done_buckets(output))
    assert 2 <= finished < 32
    kept = done_buckets(output)[0].with_suffix(".ndjson")
    marked = kept.read_bytes().replace(b'"evidence"', b'"kept"')
    assert marked != kept.read_bytes()
    kept.write_bytes(marked)
    assert run("screen", many, "-o", output, "-j", 1).exit_code == 0
    found = (output / "findings.ndjson").read_bytes()
    as_of = rows(output)[0]["asOf"]
    assert marked in found, "a finished bucket is not judged again"
    assert {row["asOf"] for row in rows(output)} == {as_of}, "now is the now of the first run"
    assert run("screen", many, "-o", tmp_path / "whole", "-j", 1, "--as-of", as_of).exit_code == 0
    assert found.replace(b'"kept"', b'"evidence"') == (tmp_path / "whole" / "findings.ndjson").read_bytes()
    assert summary(output) == summary(tmp_path / "whole")


def test_a_run_interrupted_while_reading_reads_again(run, tmp_path):
    folder = write_export(tmp_path / "export", low_magnesium("p1"))
    output = tmp_path / "out"
    assert run("screen", folder, "-o", output, "--as-of", AS_OF, "-j", 1).exit_code == 0
    expected = rows(output)
    journal = msgspec.json.decode((output / "manifest.json").read_bytes())
    (output / "manifest.json").write_bytes(msgspec.json.encode(journal | {"partition": None, "finished": False}))
    (output / "work" / "buckets").mkdir(parents=True)
    (output / "work" / "buckets" / "0000.lines").write_bytes(b"half a li")
    assert run("screen", folder, "-o", output, "-j", 1).exit_code == 0
    assert rows(output) == expected


def test_a_finished_run_is_not_repeated_unless_told_to(run, tmp_path):
    folder = write_export(tmp_path / "export", low_magnesium("p1"))
    command = ("screen", folder, "-o", tmp_path / "out", "-j", 1)
    assert run(*command, "--as-of", AS_OF).exit_code == 0
    first = (tmp_path / "out" / "findings.ndjson").read_bytes()
    again = run(*command)
    assert (again.exit_code, "already finished" in again.stderr) == (0, True)
    assert (tmp_path / "out" / "findings.ndjson").read_bytes() == first
    assert run(*command, "--restart", "--as-of", "2030-01-01").exit_code == 0
    assert (tmp_path / "out" / "findings.ndjson").read_bytes() != first


CHANGES = {
    ("--hook", "order-sign"): "--hook: was patient-view, is order-sign",
    ("--as-of", "2024-01-01"): "--as-of: was 2025-06-15T10:00:00+00:00",
    ("--profile", "ru-adult"): "--profile: was default, is ru-adult",
    ("--research",): "--research: was False, is True",
    ("--format", "csv"): "--format: was ndjson, is csv",
}


@pytest.mark.parametrize(("options", "reason"), CHANGES.items())
def test_other_questions_are_refused_in_the_same_folder(run, screened, tmp_path, options, reason):
    out = screened(normal("p1"))
    result = run("screen", tmp_path / "export", "-o", out, *options)
    assert result.exit_code == 1
    assert reason in result.stderr
    assert "--restart" in result.stderr


def test_other_input_is_refused_in_the_same_folder(run, screened, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[rules]\nR-013 = "off"\n')
    out = screened(normal("p1"), "--site", site)
    folder = tmp_path / "export"
    (folder / "Patient.000.ndjson").write_bytes(msgspec.json.encode(patient("p9")))
    (folder / "Condition.ndjson").write_bytes(b"")
    (folder / "Observation.000.ndjson").unlink()
    site.write_text('[rules]\nR-013 = "silent"\n')
    said = run("screen", folder, "-o", out, "--site", site).stderr
    for reason in (
        "Patient.000.ndjson: changed",
        "Condition.ndjson: is new",
        "Observation.000.ndjson: is gone",
        "site file: its content changed",
    ):
        assert reason in said


def test_two_runs_do_not_share_a_folder(run, tmp_path):
    folder = write_export(tmp_path / "export", normal("p1"))
    (tmp_path / "out").mkdir()
    with exclusive_lock(tmp_path / "out"):
        result = run("screen", folder, "-o", tmp_path / "out")
    assert (result.exit_code, "another screening is at work" in result.stderr) == (1, True)
    assert run("screen", folder, "-o", tmp_path / "out", "-j", 1).exit_code == 0


def test_an_interrupt_says_how_to_go_on(many, tmp_path):
    """As by Ctrl-C: all processes of the group hear it."""
    with start(many, tmp_path / "out", "--jobs", "2") as process:
        until(lambda: done_buckets(tmp_path / "out"))
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 1
    assert "stopped; the same command goes on" in said
    assert "Traceback" not in said
    assert not list((tmp_path / "out").glob("findings.*"))


# ---- usage ----------------------------------------------------------------------------------------------------------


def test_what_cannot_be_screened_is_said(run, tmp_path):
    assert run("screen", tmp_path / "none").exit_code == 2
    empty = run("screen", tmp_path)
    assert (empty.exit_code, "no *.ndjson" in empty.stderr) == (1, True)
    folder = write_export(tmp_path / "export", normal("p1"))
    assert run("screen", folder, "-o", folder).exit_code == 2
    assert run("screen", folder, "-o", tmp_path / "out", "--as-of", "soon").exit_code == 2
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{}")
    assert run("screen", folder, "-o", tmp_path / "other").exit_code == 1


def test_patients_are_spread_over_the_buckets():
    counts = [0] * 32
    for number in range(32_000):
        counts[bucket_of(f"patient-{number}", 32)] += 1
    assert min(counts) > 850
