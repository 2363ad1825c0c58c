"""`rules` and `explain`: every rule of the catalogue can be read on a terminal."""

import json
import re

import pytest

from service.logic.knowledge import load
from service.logic.rules import RULES
from tests.api.apps import open_app


def test_every_rule_is_listed_once_with_title_hooks_and_mode(run):
    listed = run("rules", env={"COLUMNS": "200"}).stdout
    lines = {line.split()[0]: line for line in listed.splitlines() if line.strip().startswith("R-")}
    assert list(lines) == [rule.id for rule in RULES]
    assert "Hypomagnesaemia severity" in lines["R-011"]
    assert "encounter-discharge encounter-start patient-view" in lines["R-011"]
    assert lines["R-011"].split()[1] == "on"
    assert {line.split()[1] for line in lines.values()} <= {"on", "research"}


def test_the_mode_is_that_of_the_site(run, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[rules]\nR-011 = "silent"\nR-040 = "off"\nR-072 = "reference"\n')
    listed = run("rules", "--site", site).stdout
    modes = {line.split()[0]: line.split()[1] for line in listed.splitlines() if line.strip().startswith("R-")}
    assert [modes[rule] for rule in ("R-011", "R-040", "R-072", "R-010")] == ["silent", "off", "reference", "on"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_each_rule_explains_itself(run, rule):
    entry = load().rules[rule.id]
    told = " ".join(run("explain", rule.id).stdout.split())
    for words in (entry.title, entry.question, entry.condition, entry.guards, entry.limits):
        assert " ".join(words.split()) in told
    for name in entry.parameters:
        if name in load().parameters:
            value, unit = next(iter([(v, u) for u, v in load().parameters[name].values.items()] or [("", "")]))
            assert f"{name} = {value}".strip() in told
            assert unit in told
    for citation in entry.citations:
        assert " ".join(load().references[citation.source].title.split()) in told


def test_limits_carry_units_and_sources_and_what_the_site_changed(run, tmp_path):
    told = " ".join(run("explain", "r011").stdout.split())
    assert "mg-severe = 0.40 mmol/L · 1.0 mg/dL · 0.8 meq/L: serum magnesium below this" in told
    assert "[migraine review, grading of hypomagnesaemia; Hedayati 2024, treatment table, severe]" in told
    assert "reference range from 18 years = 0.70 to 1.00 mmol/L" in told
    site = tmp_path / "site.toml"
    site.write_text("[thresholds]\nmg-severe = 0.35\n")
    changed = " ".join(run("explain", "R-011", "--site", site).stdout.split())
    assert "mg-severe = 0.35 mmol/L (changed by the site)" in changed


def test_an_unknown_rule_is_an_error_of_usage(run):
    result = run("explain", "R-999")
    assert result.exit_code == 2
    assert "there is no rule R-999" in result.stderr


def test_the_paper_is_one_file_with_what_the_site_changed(run, tmp_path):
    site, out = tmp_path / "site.toml", tmp_path / "paper.html"
    site.write_text('[rules]\nR-072 = "reference"\n[thresholds]\nmg-current-inpatient = 48\n')
    assert run("paper", "--site", site, "-o", out).exit_code == 0
    written = out.read_text(encoding="utf-8")
    assert "Changed by this site: <code>mg-current-inpatient</code> changed; R-072 reference." in written
    assert "48 h (a site may set 24 to 168) <strong>changed by this site</strong>" in written
    assert run("paper").stdout.startswith("<!doctype html>")


@pytest.mark.parametrize("name", ["R-011", "r-011", "R011", "r11", "011", "11"])
def test_a_rule_is_known_by_its_number_however_it_is_written(run, name):
    assert run("explain", name).stdout == run("explain", "R-011").stdout


@pytest.mark.parametrize("name", ["", "R-", "R", "0", "1 1", "0011", "-11", "RR-011"])
def test_what_is_no_number_of_a_rule_is_not_taken_for_one(run, name):
    assert run("explain", "--", name).exit_code == 2


def test_rules_and_a_rule_as_json_are_those_of_the_api(run, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[rules]\nR-011 = "silent"\nR-040 = "off"\n')
    with open_app(tmp_path, MAGNESIUM_CDS_SITE=str(site)) as house:
        listed, one = (house.client.get(path).json for path in ("/v1/rules", "/v1/rules/R-011"))
    assert json.loads(run("rules", "--json", "--site", site).stdout) == listed
    assert json.loads(run("explain", "11", "--json", "--site", site).stdout) == one


COLOUR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize("command", [("rules",), ("explain", "11")])
def test_colour_is_for_a_terminal_and_changes_no_word(run, command):
    plain, coloured, unwanted = (
        run(*command).stdout,
        run(*command, color=True).stdout,
        run(*command, color=True, env={"NO_COLOR": "1"}).stdout,
    )
    assert "\x1b" not in plain + unwanted
    assert COLOUR.search(coloured)
    assert [line.rstrip() for line in COLOUR.sub("", coloured).splitlines()] == [
        line.rstrip() for line in plain.splitlines()
    ]


@pytest.mark.parametrize("columns", [20, 60, 80, 200])
def test_no_id_mode_or_hook_is_cut_however_narrow_the_terminal(run, columns):
    listed = run("rules", env={"COLUMNS": str(columns)}).stdout
    assert "…" not in listed
    assert all(f"  {rule.id}  " in listed for rule in RULES)
    assert " ".join(sorted(hook.value for hook in RULES[0].hooks)) in listed
