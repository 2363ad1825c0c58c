"""`check-site`, `load-rxnorm`, `db upgrade`: what they say, and how they end."""

from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect

from service.terminology import rxnorm

DOCS = Path(__file__).parents[2] / "docs"

# ---- check-site -----------------------------------------------------------------------------------------------------


def test_the_example_is_right_and_what_it_changes_is_said(run):
    result = run("check-site", DOCS / "site.example.toml")
    assert result.exit_code == 0, result.stderr
    assert "site.example.toml: OK (production)" in result.stdout
    for words in (
        "service.zone: Europe/Berlin (default UTC)",
        "rule R-013: silent",
        "local lab codes: 2",
        "mg-optimum",
    ):
        assert words in result.stdout


def test_every_problem_is_listed_with_its_line(run, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[service]\nlanguag = "en"\n[rules]\nR-999 = "off"\n[thresholds]\nmg-severe = 9.9\n')
    result = run("check-site", site, "--mode", "development")
    assert result.exit_code == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert [line.split(": ")[0] for line in lines] == [f"{site}:2", f"{site}:4", f"{site}:6"]
    assert "did you mean" in lines[0] or "language" in lines[0]


def test_production_asks_for_more_than_development(run, tmp_path):
    site = tmp_path / "site.toml"
    site.write_text('[rules]\nR-013 = "off"\n')
    assert run("check-site", site, "--mode", "development").exit_code == 0
    assert run("check-site", site).exit_code == 2


def test_a_table_that_is_none_is_a_problem(run, tmp_path):
    (tmp_path / "table").write_bytes(b"nonsense")
    site = tmp_path / "site.toml"
    site.write_text('[service]\nrxnorm_table = "table"\n')
    result = run("check-site", site, "--mode", "development")
    assert result.exit_code == 2
    assert "service.rxnorm_table: table: not a readable RxNorm table" in result.stderr


def test_no_file_no_toml(run, tmp_path):
    site = tmp_path / "site.toml"
    assert run("check-site", site).exit_code == 2
    site.write_text("[service\n")
    result = run("check-site", site)
    assert result.exit_code == 2
    assert f"{site}:1" in result.stderr


# ---- load-rxnorm ----------------------------------------------------------------------------------------------------


def release(folder: Path) -> Path:
    """A release of one product: furosemide 40 MG Oral Tablet."""
    concept = [
        "310429",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "",
        "RXNORM",
        "SCD",
        "",
        "furosemide 40 MG Oral Tablet",
        "",
        "",
        "",
        "",
    ]
    relation = ["4603", "", "CUI", "", "310429", "", "CUI", "has_ingredient", "", "", "RXNORM", "", "", "", "", "", ""]
    folder.mkdir()
    (folder / "RXNCONSO.RRF").write_text("|".join(concept) + "\n")
    (folder / "RXNREL.RRF").write_text("|".join(relation) + "\n")
    return folder


def test_a_release_becomes_a_table_that_a_site_can_name(run, tmp_path):
    table = tmp_path / "our.table"
    result = run("load-rxnorm", release(tmp_path / "rrf"), "--output", table)
    assert result.exit_code == 0, result.stderr
    assert f"{table}: 1 product codes" in result.stdout
    assert [products.ingredients for products in rxnorm.read(table).products] == [("furosemide",)]
    site = tmp_path / "site.toml"
    site.write_text('[service]\nrxnorm_table = "our.table"\n')
    assert run("check-site", site, "--mode", "development").exit_code == 0


def test_what_is_no_release_is_said(run, tmp_path):
    result = run("load-rxnorm", tmp_path)
    assert result.exit_code == 1
    assert "RXNCONSO.RRF is missing" in result.stderr
    assert run("load-rxnorm", tmp_path / "none").exit_code == 2
    damaged = release(tmp_path / "rrf")
    (damaged / "RXNREL.RRF").write_text("a|RXNORM|b\n")
    result = run("load-rxnorm", damaged, "-o", tmp_path / "t")
    assert (result.exit_code, "RXNREL.RRF line 1" in result.stderr) == (1, True)
    assert not (tmp_path / "t").exists()


# ---- db upgrade -----------------------------------------------------------------------------------------------------


def test_the_tables_are_made_and_a_second_time_is_no_harm(run, tmp_path):
    url = f"sqlite:///{tmp_path}/store.sqlite3"
    for _ in range(2):
        result = run("db", "upgrade", env={"DATABASE_URL": url})
        assert (result.exit_code, result.stdout) == (0, "The tables are up to date.\n"), result.stderr
    engine = create_engine(url)
    assert len(inspect(engine).get_table_names()) > 1
    engine.dispose()


def test_the_url_may_be_in_a_file_and_nothing_else_of_the_site_is_needed(run, tmp_path):
    secret = tmp_path / "url"
    secret.write_text(f"sqlite:///{tmp_path}/store.sqlite3\n")
    environ = {"DATABASE_URL_FILE": str(secret), "MAGNESIUM_CDS_MODE": "production", "MAGNESIUM_CDS_SITE": "/none"}
    assert run("db", "upgrade", env=environ).exit_code == 0
    assert (tmp_path / "store.sqlite3").exists()


BAD_URLS = {
    "": (2, "DATABASE_URL: production needs it"),
    "mysql://db/mg": (2, "must begin with sqlite:/// or postgresql://"),
    "postgresql://mg:secret@127.0.0.1:1/mg": (1, "the store failed"),
}


@pytest.mark.parametrize(("url", "expected"), BAD_URLS.items())
def test_a_database_that_cannot_be_reached_is_said_without_its_password(run, url, expected):
    result = run("db", "upgrade", env={"DATABASE_URL": url, "MAGNESIUM_CDS_MODE": "production"})
    code, words = expected
    assert result.exit_code == code
    assert words in result.stderr
    assert "secret" not in result.output
