"""The paper for approval over HTTP: rows for machines, pages for people, one file that obeys a stricter policy still."""

from __future__ import annotations

import pytest

from service.governance.document import style, style_hash
from service.governance.paper import SECTIONS, may_be_critical, time_critical
from service.logic.rules import RULES
from service.samples import expand, samples
from tests.api.apps import open_app


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    folder = tmp_path_factory.mktemp("paper")
    (folder / "site.toml").write_text('[rules]\nR-081 = "reference"\n')
    with open_app(folder, MAGNESIUM_CDS_SITE=str(folder / "site.toml")) as house:
        yield house.client


def test_each_rule_has_its_attributes_alone_and_in_the_list(client):
    rows = client.get("/v1/governance/source-attributes").json["sourceAttributes"]
    assert [row["rule"] for row in rows] == [rule.id for rule in RULES]
    assert client.get("/v1/rules/R-081").json["sourceAttributes"] == next(r for r in rows if r["rule"] == "R-081")


def test_hazards_come_as_rows_and_no_other_section_does(client):
    bodies = {section.id: client.get(f"/v1/governance/{section.id}").json for section in SECTIONS}
    assert bodies["hazard-log"]["hazards"][0]["id"] == "H-01"
    assert [name for name, body in bodies.items() if "hazards" in body] == ["hazard-log"]
    assert all(body["markdown"].startswith(f"# {body['title']}\n") for body in bodies.values())


def test_what_the_site_changed_stands_on_its_paper(client):
    assert "R-081 reference." in client.get("/v1/governance/device-status").json["markdown"]
    assert "R-081 reference." in client.get("/v1/governance/paper.html").text


def test_the_one_file_has_its_style_inside_and_may_load_nothing(client):
    answer = client.get("/v1/governance/paper.html")
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith(f"default-src 'none'; style-src '{style_hash()}'; ")
    assert "unsafe" not in policy
    assert f"<style>{style()}</style>" in answer.text
    again = client.get("/v1/governance/paper.html", headers={"If-None-Match": answer.headers["ETag"]})
    assert again.status_code == 304


def test_links_to_rules_lead_to_their_pages(client):
    page = client.get("/v1/governance/device-status", headers={"Accept": "text/html"}).text
    assert 'href="../../v1/rules/R-072"' in page
    assert 'href="../rules/R-072"' in client.get("/v1/governance/paper.html").text


def test_another_section_is_404(client):
    answer = client.get("/v1/governance/none")
    assert (answer.status_code, answer.json["resourceType"]) == (404, "OperationOutcome")


# ---- the mode "reference" by a real call ------------------------------------------------------------------------


@pytest.fixture
def card_of(tmp_path):
    """The card of a built-in sample at a site that keeps these rules as reference text."""

    def fire(sample, rules):
        site = tmp_path / "site.toml"
        site.write_text("[rules]\n" + "".join(f'{rule} = "reference"\n' for rule in sorted(rules)))
        chosen = next(found for name, found in samples().items() if name.endswith(sample))
        with open_app(tmp_path, MAGNESIUM_CDS_SITE=str(site)) as house:
            request = expand(chosen, house.app.extensions["dependencies"].clock()).request
            (card,) = house.client.post(f"/cds-services/{chosen.service}", json=request).json["cards"]
        return card

    return fire


def test_torsades_presses_and_doses_unless_the_site_wants_reference_text(card_of):
    pressing = card_of("torsades", ())
    assert pressing["indicator"] == "critical"
    assert "2 g" in pressing["summary"]

    alone = card_of("torsades", time_critical())
    assert "2 g" not in alone["summary"] + alone["detail"]
    assert "Reference text: Emergency magnesium for adults" in alone["detail"]

    quiet = card_of("torsades", may_be_critical())
    assert quiet["indicator"] != "critical"
    assert "Reference text: " in quiet["summary"] + quiet["detail"]
