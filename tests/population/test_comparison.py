"""Two runs of one export side by side: what each shows alone is counted, whichever version made the earlier one."""

from collections import Counter

import msgspec
import pytest

from tests.population.records import write_export
from tests.population.test_backtest import inpatient, rows, summary


@pytest.fixture(scope="module")
def charts(tmp_path_factory):
    people = [resource for number in range(12) for resource in inpatient(f"p{number:02}")]
    return write_export(tmp_path_factory.mktemp("comparison") / "export", people)


@pytest.fixture
def replay(run, charts, tmp_path):
    """A back-test into a folder of some name; the folder."""

    def call(name, *options, export=charts):
        done = run("backtest", export, "-o", tmp_path / name, "--jobs", 1, *options)
        assert done.exit_code == 0, done.stderr
        return tmp_path / name

    return call


def cards(folder):
    where = ("patient", "at", "event", "hook", "kind", "indicator")
    return {tuple(row[name] for name in where) for row in rows(folder)}


def of_another_version(folder):
    """As if an earlier release had made it: all that is known of that is what it wrote."""
    for name in ("manifest.json", "summary.json"):
        told = msgspec.json.decode((folder / name).read_bytes())
        told.get("asked", told).update(program="0.9.0", knowledge="2024.01.0")
        (folder / name).write_bytes(msgspec.json.encode(told))


def test_cards_gained_and_lost_since_a_run_of_another_version(replay, tmp_path):
    site = tmp_path / "earlier.toml"
    site.write_text('[rules]\nR-011 = "off"\n[thresholds]\nmg-severe = 0.50\n')
    earlier = replay("earlier", "--site", site)
    of_another_version(earlier)
    now = replay("now", "--versus", earlier)
    [beside] = summary(now)["versus"]
    assert (beside["program"], beside["knowledge"]) == ("0.9.0", "2024.01.0")
    assert beside["burden"]["per100"] == summary(earlier)["burden"]["per100"]
    expected = {"gained": cards(now) - cards(earlier), "lost": cards(earlier) - cards(now)}
    for which, differing in expected.items():
        told = {kind: line[which] for kind, line in beside["changes"].items() if line[which]}
        assert differing
        assert told == Counter(kind for *_, kind, _ in differing)
    changed = rows(now, "changes.ndjson")
    assert all(row["was"] != row["is"] for row in changed)
    assert len({(row["patient"], row["at"], row["event"], row["hook"]) for row in changed}) == len(changed)
    page = (now / "report.html").read_text()
    assert "The earlier run" in page
    assert "Of program 0.9.0, knowledge 2024.01.0." in page


def test_the_same_beside_itself_differs_in_nothing(replay):
    now = replay("now", "--events", "days", "--versus", replay("earlier", "--events", "days"))
    assert summary(now)["versus"][0]["changes"] == {}
    assert rows(now, "changes.ndjson") == []
    assert "Not one card differs." in (now / "report.html").read_text()


def test_what_cannot_be_compared_is_refused_with_its_reason(run, charts, replay, tmp_path):
    earlier = replay("earlier", "--events", "days")
    (tmp_path / "empty").mkdir()
    other = write_export(tmp_path / "other", inpatient("somebody"))
    for export, folder, events, why in (
        (charts, earlier, "results", "events: was ['days'], is ['results']"),
        (other, earlier, "days", "was of another export"),
        (charts, tmp_path / "empty", "days", "holds no finished back-test"),
    ):
        done = run("backtest", export, "-o", tmp_path / "now", "--events", events, "--versus", folder)
        assert (done.exit_code, why in done.stderr) == (1, True), done.stderr
    assert run("backtest", charts, "-o", earlier, "--versus", earlier).exit_code == 2
