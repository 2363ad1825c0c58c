"""Alerts and dashboard: they ask for metrics that the service has, call when they should, and are explained."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from service.app import create_app
from service.settings import load
from tests.deploy.manifests import DEPLOY, ROOT, without

MONITORING = DEPLOY / "components/monitoring"
HERE = Path(__file__).parent
OF_PROMETHEUS = {"process_resident_memory_bytes", "process_cpu_seconds_total"}  # every Python client has them on Linux
SEVERITIES = {"critical", "warning", "info"}
SPEC: Any = yaml.safe_load((MONITORING / "alerts.yaml").read_text(encoding="utf-8"))["spec"]
RULES: list[Any] = [rule for group in SPEC["groups"] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
DASHBOARD: Any = msgspec.json.decode((MONITORING / "dashboard.json").read_bytes())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    yield from ((rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES)
    for panel in PANELS:
        yield from ((panel["title"], target["expr"]) for target in panel["targets"])


def metrics(expression: str) -> set[str]:
    """The names of the metrics that an expression asks for, without those that our own recording rules make."""
    return set(re.findall(r"\b(?:magnesium_cds|process)_\w+(?!\w*:)\b", re.sub(r"\bmagnesium_cds:\S+", "", expression)))


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Each metric that the service exports, and its type."""
    url = f"sqlite:///{tmp_path_factory.mktemp('store')}/cds.sqlite3"
    text = create_app(load({"DATABASE_URL": url})).test_client().get("/metrics").text
    return dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))


@pytest.mark.parametrize(("name", "expression"), list(expressions()))
def test_expression_asks_for_metrics_that_the_service_exports(
    name: str, expression: str, exported: dict[str, str]
) -> None:
    histograms = {f"{metric}_{part}" for metric in exported for part in ("bucket", "sum", "count")}
    assert metrics(expression) or "magnesium_cds:" in expression, name
    assert metrics(expression) <= exported.keys() | histograms | OF_PROMETHEUS


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_alert_is_graded_and_explained(alert: dict[str, Any]) -> None:
    handbook = (ROOT / "docs/operating.md").read_text(encoding="utf-8")
    assert alert["labels"]["severity"] in SEVERITIES
    assert alert["annotations"]["summary"]
    assert f"\n#### {alert['alert']}\n" in handbook, "docs/operating.md does not say what to do"


def test_handbook_explains_no_alert_that_is_gone() -> None:
    explained = re.findall(r"^#### (MagnesiumCds\w+)$", (ROOT / "docs/operating.md").read_text("utf-8"), re.MULTILINE)
    assert explained == [alert["alert"] for alert in ALERTS]


@pytest.mark.parametrize("cases", ["alerts_of_minutes.yaml", "alerts_of_days.yaml"])
def test_alerts_call_when_they_should(cases: str, tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or without("promtool (Debian: prometheus) is not installed: NO alert was tried")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    shutil.copy(HERE / cases, tmp_path)
    done = subprocess.run([promtool, "test", "rules", cases], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case() -> None:
    cases = "".join(file.read_text(encoding="utf-8") for file in HERE.glob("alerts_of_*.yaml"))
    assert [alert["alert"] for alert in ALERTS if f"alertname: {alert['alert']}\n" not in cases] == []


def test_expressions_of_the_dashboard_can_be_parsed(tmp_path: Path) -> None:
    promtool = shutil.which("promtool") or without("promtool (Debian: prometheus) is not installed: NOT parsed")
    asked = [target["expr"].replace("$__rate_interval", "5m") for panel in PANELS for target in panel["targets"]]
    rules = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(asked)]
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}), "utf-8")
    done = subprocess.run([promtool, "check", "rules", tmp_path / "rules.yaml"], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_panels_have_their_own_place_and_a_title() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert panel["title"]
        assert not own & cells, f"{panel['title']} covers another panel"
        assert max(x for x, _ in own) < 24
        cells |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
