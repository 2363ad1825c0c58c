"""The repeat guard in the running service, on SQLite and on PostgreSQL: what is shown again, to whom, and when not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask
import pytest
from click.testing import CliRunner
from sqlalchemy import create_engine, make_url, text

from service.__main__ import main
from service.app import create_app
from service.logic.knowledge import VERSION
from service.settings import load
from service.site import site_schema
from service.store.repeat import NO_ANSWER, NO_SECRET
from tests.contract.messages import bundle, hook_request, medication, observation
from tests.store.servers import Proxy

START = datetime(2026, 11, 20, 9, 0, tzinfo=UTC)
SECRET = "a secret of the site, long enough for it"
VIEW = "/cds-services/magnesium-patient-view"
Json = dict[str, Any]


class Replica:
    """One process's application with its own clock."""

    def __init__(self, url: str, secret: str = SECRET) -> None:
        self.now = START
        environ = {"DATABASE_URL": url, **({"MAGNESIUM_CDS_SECRET": secret} if secret else {})}
        self.app: flask.Flask = create_app(load(environ, site_schema()), clock=lambda: self.now)

    def cards(self, user: str = "Practitioner/a", patient: str = "p1", **prefetch: Json) -> list[Json]:
        """The cards for this user who opens the chart of this patient."""
        body = hook_request()
        body["context"] |= {"userId": user, "patientId": patient}
        body["prefetch"] = _of(body["prefetch"] | {"magnesium": mg(1.4)} | prefetch, patient)
        answer = self.app.test_client().post(VIEW, json=body)
        assert answer.status_code == 200, answer.text
        return list(answer.json["cards"])  # type: ignore[index]

    def overridden(self, card: Json) -> None:
        """The user says that this card is not wanted."""
        item = {"card": card["uuid"], "outcome": "overridden", "outcomeTimestamp": f"{self.now:%Y-%m-%dT%H:%M:%SZ}"}
        answer = self.app.test_client().post(f"{VIEW}/feedback", json={"feedback": [item]})
        assert answer.json["unknownCards"] == 0  # type: ignore[index]

    def settle(self) -> None:
        """Wait until all is in the database."""
        until = time.monotonic() + 5
        while self.app.extensions["dependencies"].store.waiting and time.monotonic() < until:
            time.sleep(0.01)

    def guard(self) -> str:
        """What the service says of its guard."""
        return str(self.app.test_client().get("/health/ready").json["checks"]["repeatGuard"])  # type: ignore[index]


def _of(value: Any, patient: str) -> Any:
    """The same resources of another patient."""
    if isinstance(value, dict):
        return {k: _of(v, patient) for k, v in value.items()}
    if isinstance(value, list):
        return [_of(v, patient) for v in value]
    return {"Patient/p1": f"Patient/{patient}", "p1": patient}.get(value, value) if isinstance(value, str) else value


def mg(value: float, when: str = "2026-11-20T06:30:00Z") -> Json:
    return bundle(observation("mg2", "19123-9", value, "mg/dL", effectiveDateTime=when))


@pytest.fixture
def replica(url: str) -> Iterator[Callable[..., Replica]]:
    """Starts replicas on one database."""
    started: list[Replica] = []

    def start(at: str = url, **more: str) -> Replica:
        started.append(Replica(at, **more))
        return started[-1]

    yield start
    for each in started:
        with suppress(Exception):
            each.app.extensions["dependencies"].close()


def rows(url: str, query: str) -> list[tuple[Any, ...]]:
    engine = create_engine(make_url(url).set(drivername="sqlite" if url.startswith("sqlite") else "postgresql+psycopg"))
    with engine.begin() as connection:
        found = [tuple(row) for row in connection.execute(text(query))] if query.startswith("SELECT") else []
    engine.dispose()
    return found


def test_the_same_chart_four_times_by_one_user_and_once_by_another(replica: Callable[..., Replica]) -> None:
    one = replica()
    assert [len(one.cards()) for _ in range(4)] == [1, 0, 0, 0]
    assert len(one.cards("Practitioner/b")) == 1
    assert len(one.cards(patient="p2")) == 1
    assert one.guard() == "ok"


def test_what_one_replica_showed_the_other_knows(replica: Callable[..., Replica]) -> None:
    here, there = replica(), replica()
    assert len(here.cards()) == 1
    here.settle()
    assert there.cards() == []
    assert len(there.cards("Practitioner/b")) == 1


def test_a_warning_speaks_again_after_its_interval_and_when_it_is_worse(replica: Callable[..., Replica]) -> None:
    one = replica()
    assert one.cards()[0]["indicator"] == "warning"
    one.now += timedelta(hours=1)
    assert one.cards(magnesium=mg(1.35, "2026-11-20T08:30:00Z")) == []  # newer, but no worse
    assert len(one.cards(magnesium=mg(1.15, "2026-11-20T08:30:00Z"))) == 1
    assert one.cards(magnesium=mg(1.15, "2026-11-20T08:30:00Z")) == []
    furosemide = bundle(medication("m1", "7646", "Omeprazole"), medication("m2", "4603", "Furosemide"))
    assert len(one.cards(magnesium=mg(1.15, "2026-11-20T08:30:00Z"), medicationRequests=furosemide)) == 1
    one.now += timedelta(days=31)
    later = f"{one.now - timedelta(hours=2):%Y-%m-%dT%H:%M:00Z}"
    assert len(one.cards(magnesium=mg(1.15, later))) == 1


def test_a_critical_finding_rests_for_an_hour_or_until_there_is_a_newer_result(
    replica: Callable[..., Replica],
) -> None:
    one = replica()
    severe = mg(0.6)
    assert one.cards(magnesium=severe)[0]["indicator"] == "critical"
    one.now += timedelta(minutes=30)
    assert one.cards(magnesium=severe) == []
    assert len(one.cards(magnesium=mg(0.6, "2026-11-20T09:10:00Z"))) == 1
    one.now += timedelta(minutes=60)
    assert len(one.cards(magnesium=mg(0.6, "2026-11-20T09:10:00Z"))) == 1


def test_an_override_counts_for_the_interval_again(url: str, replica: Callable[..., Replica]) -> None:
    one = replica()
    (card,) = one.cards(potassium=bundle())  # which would be out of date by then
    one.settle()
    one.now += timedelta(days=20)
    one.overridden(card)
    fresh = {"magnesium": mg(1.4, f"{one.now:%Y-%m-%d}T06:30:00Z"), "potassium": bundle()}
    assert rows(url, "SELECT count(*) FROM sightings WHERE overridden_at IS NULL") == [(0,)]
    one.now += timedelta(days=11)  # 31 after it was shown, 11 after it was overridden
    assert one.cards(**fresh) == []
    other = replica()
    other.now = one.now
    assert other.cards(**fresh) == []
    assert len(other.cards("Practitioner/b", **fresh)) == 1


def test_without_a_secret_nothing_is_held_back_and_it_is_said(replica: Callable[..., Replica]) -> None:
    one = replica(secret="")
    assert [len(one.cards()) for _ in range(3)] == [1, 1, 1]
    assert one.guard() == f"repeat guard off: {NO_SECRET}"
    assert f"Repeat guard off: {NO_SECRET}" in one.app.test_client().get("/").text


def test_while_the_store_is_down_nothing_is_held_back_and_it_is_said(proxy: tuple[Proxy, str]) -> None:
    between, url = proxy
    one = Replica(url)
    assert [len(one.cards()) for _ in range(2)] == [1, 0]
    one.settle()
    between.refuse()
    assert [len(one.cards()) for _ in range(2)] == [1, 1]
    assert one.guard() == f"repeat guard off: {NO_ANSWER}"
    assert f"Repeat guard off: {NO_ANSWER}" in one.app.test_client().get("/").text
    one.app.extensions["dependencies"].close()


def test_what_is_kept_names_nobody_and_nothing_of_the_chart(url: str, replica: Callable[..., Replica]) -> None:
    one = replica()
    (card,) = one.cards("Practitioner/jane-doe", "patient-4711")
    one.settle()
    (kept, *_) = [" ".join(map(str, row)) for row in rows(url, "SELECT * FROM sightings")]
    for word in ("jane", "4711", "development", card["uuid"], "meprazole", "potassium"):
        assert word not in kept
    assert rows(url, "SELECT DISTINCT length(patient), length(reader) FROM sightings") == [(32, 32)]


def test_evaluate_is_not_guarded(replica: Callable[..., Replica]) -> None:
    one = replica()
    body = {"bundle": bundle({"resourceType": "Patient", "id": "p1"}, mg(1.1)["entry"][0]["resource"]),
            "asOf": "2026-11-20T09:00:00Z"}  # fmt: skip
    answers = [one.app.test_client().post("/v1/evaluate", json=body).json["cards"] for _ in range(2)]  # type: ignore[index]
    assert [len(cards) for cards in answers] == [1, 1]


def command(*arguments: str, **environ: str) -> str:
    """What a command says that ends well."""
    result = CliRunner().invoke(main, list(arguments), env=environ, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_one_patient_is_forgotten_and_no_other(url: str, replica: Callable[..., Replica]) -> None:
    one = replica()
    assert len(one.cards(patient="p1")) == len(one.cards(patient="p2")) == len(one.cards("Practitioner/b", "p1")) == 1
    one.settle()
    environ = {"DATABASE_URL": url, "MAGNESIUM_CDS_SECRET": SECRET}
    assert "0 findings" in command("repeat-guard", "forget", "--tenant", "other", "--patient", "p1", **environ)
    command("repeat-guard", "forget", "--tenant", "development", "--patient", "p1", **environ)
    later = replica()
    assert [len(later.cards(patient=each)) for each in ("p1", "p2")] == [1, 0]
    later.settle()
    command("repeat-guard", "forget", "--tenant", "development", "--user", "Practitioner/a", **environ)
    assert len(replica().cards(patient="p2")) == 1


def test_under_a_new_key_nothing_is_known(url: str, replica: Callable[..., Replica], tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(SECRET, encoding="utf-8")
    one = replica()
    assert len(one.cards()) == 1
    one.settle()
    said = command("repeat-guard", "rotate-key", str(file), DATABASE_URL=url)
    assert "a new secret" in said
    assert file.stat().st_mode & 0o777 == 0o600
    assert rows(url, "SELECT count(*) FROM sightings") == [(0,)]
    fresh = file.read_text(encoding="utf-8").strip()
    assert fresh not in said
    assert len(fresh) == 64
    assert len(replica(secret=fresh).cards()) == 1


def test_the_summary_of_a_tenant_as_csv_on_both_ways(url: str, replica: Callable[..., Replica]) -> None:
    one = replica()
    (card,) = one.cards()
    one.overridden(card)  # at once: its row is not stored yet
    one.settle()
    (line,) = [each for each in _csv(one).splitlines() if each.startswith("every-card")]
    assert line == "every-card,2026.11.1,2026-W47,1,0,1,not-stated=1".replace("2026.11.1", VERSION)
    told = command("feedback", "development", "--since", "2026-11-01", "--until", "2026-12-01", DATABASE_URL=url)
    assert told.replace("\r", "") == _csv(one).replace("\r", "")
    assert command("feedback", "stranger", DATABASE_URL=url).count("\n") == 1


def _csv(one: Replica) -> str:
    answer = one.app.test_client().get("/v1/feedback/summary", headers={"Accept": "text/csv"})
    assert answer.mimetype == "text/csv"
    return answer.text
