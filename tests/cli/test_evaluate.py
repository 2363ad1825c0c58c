"""`evaluate`: a Bundle comes out as a report or as the answer of the API; what cannot be read is said in one line."""

import re

import msgspec
import pytest

from tests.population.records import AS_OF, bundle, lab, low_magnesium, normal, patient


@pytest.fixture
def low(tmp_path):
    path = tmp_path / "low.json"
    path.write_bytes(bundle(low_magnesium()))
    return path


def answer(result):
    assert result.exit_code == 0, result.output
    return msgspec.json.decode(result.stdout)


def results(body):
    return {f["rule"]: f["result"] for f in body["findings"] if f["outcome"] == "finding"}


def test_the_report_says_what_was_found_on_what_and_what_is_missing(run, low):
    report = run("evaluate", low, "--as-of", AS_OF).stdout
    for words in (
        "Patient/p1 · patient-view · 2025-06-15T10:00:00Z",
        "CARD · CRITICAL · Moderately low Mg 0.45 mmol/L",
        "R-011*",
        "not known: albumin",
        "Observation/p1-mg",
        "furosemide",
        "heart_failure",
        "Could not be used: none",
    ):
        assert words in report


def test_the_report_fits_the_terminal_and_shows_no_markdown(run, low, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    report = run("evaluate", low, "--as-of", AS_OF).stdout
    assert max(map(len, report.splitlines())) <= 100
    assert "**" not in report
    assert "\\" not in report


def test_chart_text_cannot_steer_the_terminal(run):
    evil = "p1\x1b[2J\x07"
    chart = bundle([patient(evil), lab("o\x1b]0;x\x07", evil, "2601-3", 0.45)])
    for color in (False, True):
        report = run("evaluate", "-", "--as-of", AS_OF, input=chart, color=color)
        assert report.exit_code == 0
        ours = re.compile(r"\x1b\[[0-9;]*m")
        assert bool(ours.search(report.stdout)) is color
        assert "\x1b" not in ours.sub("", report.stdout)
        assert "\x07" not in report.stdout


def test_what_could_not_be_used_is_listed(run):
    nameless = lab("o1", "p1", "2601-3", 1.9)
    del nameless["valueQuantity"]["unit"], nameless["valueQuantity"]["code"]
    report = run("evaluate", "-", "--as-of", AS_OF, input=bundle([patient("p1"), nameless])).stdout
    assert "Observation/o1" in report.split("Could not be used")[1]


def test_json_is_the_answer_of_the_api(run, low):
    body = answer(run("evaluate", low, "--as-of", AS_OF, "--json"))
    assert body["patient"] == "Patient/p1"
    assert results(body)["R-011"] == "moderate"
    assert set(body) >= {"hook", "asOf", "language", "knowledge", "findings", "read", "issues", "cards"}


def test_standard_input_is_read_for_a_dash_and_a_byte_order_mark_is_no_obstacle(run):
    body = answer(run("evaluate", "-", "--as-of", AS_OF, "--json", input=b"\xef\xbb\xbf" + bundle(low_magnesium())))
    assert results(body)["R-011"] == "moderate"


def test_the_options_reach_the_rules(run, low, tmp_path):
    def body(*options):
        return answer(run("evaluate", low, "--json", *options))

    assert body("--as-of", "2025-06-15")["asOf"] == "2025-06-15T23:59:59Z"
    assert "R-011" not in results(body("--as-of", "2026-06-15"))
    assert body("--as-of", AS_OF, "--language", "ru")["language"] == "ru"
    assert body("--as-of", AS_OF, "--hook", "order-sign")["hook"] == "order-sign"
    site = tmp_path / "site.toml"
    site.write_text('[rules]\nR-011 = "silent"\n[thresholds]\nmg-moderate = 0.43\n[service]\nzone = "Asia/Tokyo"\n')
    told = body("--as-of", "2025-06-15", "--site", str(site))
    assert results(told)["R-011"] == "mild"
    assert not next(f for f in told["findings"] if f["rule"] == "R-011")["shown"]
    assert told["asOf"] == "2025-06-15T23:59:59+09:00"


def test_a_rule_kept_as_reference_text_recommends_nothing(run, low, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[rules]\nR-011 = "reference"\n')
    told = answer(run("evaluate", low, "--json", "--as-of", "2025-06-15", "--site", str(site)))
    finding = next(f for f in told["findings"] if f["rule"] == "R-011")
    assert (finding["indicator"], finding["text"]) == ("info", "Reference text: Hypomagnesaemia severity")
    assert not {"action", "advice", "values"} & finding.keys()


def test_the_reference_profile_decides_without_a_range_of_the_laboratory(run):
    chart = bundle([patient("p1"), lab("o1", "p1", "2601-3", 0.68)])
    by_profile = {
        profile: results(answer(run("evaluate", "-", "--json", "--as-of", AS_OF, "--profile", profile, input=chart)))
        for profile in ("default", "ru-adult")
    }
    assert {name: found["R-010"] for name, found in by_profile.items()} == {"default": "low", "ru-adult": "normal"}


def test_research_rules_are_asked_on_demand(run, low):
    def outcomes(*options):
        body = answer(run("evaluate", low, "--json", "--as-of", AS_OF, *options))
        return [(f["rule"], f["outcome"], f.get("reason")) for f in body["findings"]]

    assert outcomes() != outcomes("--research")


def test_draft_orders_are_judged_on_order_hooks(run, low, tmp_path):
    drafts = tmp_path / "drafts.json"
    order = {
        "resourceType": "MedicationRequest",
        "id": "d1",
        "status": "draft",
        "intent": "order",
        "medicationCodeableConcept": {"text": "ciprofloxacin 500 mg tablet"},
    }
    drafts.write_bytes(bundle([order]))
    body = answer(run("evaluate", low, "--json", "--as-of", AS_OF, "--hook", "order-sign", "--drafts", drafts))
    assert "MedicationRequest/d1" in [m["reference"] for m in body["read"]["medications"]]


def test_several_patients_need_a_choice(run):
    chart = bundle([*low_magnesium("p1"), *normal("p2")])
    refused = run("evaluate", "-", "--as-of", AS_OF, input=chart)
    assert (refused.exit_code, refused.stderr) == (
        1,
        "Error: the Bundle holds several patients: name one with --patient\n",
    )
    body = answer(run("evaluate", "-", "--as-of", AS_OF, "--json", "--patient", "p2", input=chart))
    assert results(body)["R-010"] == "normal"


UNREADABLE = {
    b"": "not readable as JSON",
    b"{": "not readable as JSON",
    b'{"resourceType": "Bundle", "entry": [}': "not readable as JSON",
    b'{"resourceType": "Bundle", "id": "\xff"}': "not UTF-8 (byte 34)",
    b"[]": "a FHIR Bundle, a resource or an array of resources is expected",
    b"null": "a FHIR Bundle, a resource or an array of resources is expected",
    b'{"hello": 1}': "a FHIR Bundle, a resource or an array of resources is expected",
}


@pytest.mark.parametrize(("content", "reason"), UNREADABLE.items())
def test_what_cannot_be_read_is_said_in_one_line(run, content, reason):
    result = run("evaluate", "-", input=content)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: standard input: {reason}")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_files_that_are_not_there(run, tmp_path):
    missing = run("evaluate", tmp_path / "none.json")
    assert (missing.exit_code, missing.stderr) == (1, f"Error: {tmp_path}/none.json: No such file or directory\n")
    assert run("evaluate", tmp_path).exit_code == 1


WRONG = [
    ("--hook", "patient-vew"),
    ("--as-of", "yesterday"),
    ("--language", "xx"),
    ("--profile", "martian"),
    ("--site", "no-such-site.toml"),
    ("--verbose",),
]


@pytest.mark.parametrize("options", WRONG, ids=" ".join)
def test_wrong_options_are_errors_of_usage(run, low, options):
    result = run("evaluate", low, *options)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert options[0] in result.stderr


def test_a_wrong_site_file_is_an_error_of_usage_with_its_place(run, low, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[rules]\nR-999 = "off"\n')
    result = run("evaluate", low, "--site", site)
    assert result.exit_code == 2
    assert f"{site}:2" in result.stderr


def test_the_timeline_is_written_where_it_is_wanted_beside_the_report(run, low, tmp_path):
    picture = tmp_path / "patient.svg"
    assert run("evaluate", low, "--timeline", picture).exit_code == 0
    assert picture.read_text(encoding="utf-8").startswith("<svg ")
    assert "prefers-color-scheme" in picture.read_text(encoding="utf-8")
    nowhere = run("evaluate", low, "--timeline", tmp_path / "no" / "patient.svg")
    assert nowhere.exit_code == 1
    assert "No such file or directory" in nowhere.stderr
