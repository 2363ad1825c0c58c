"""The command line in this process, away from the site and database of whoever runs the tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from service.__main__ import main

Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Call `magnesium-cds` with arguments; what it raised other than an exit is raised here."""
    for name in (
        "MAGNESIUM_CDS_MODE",
        "MAGNESIUM_CDS_SITE",
        "DATABASE_URL",
        "DATABASE_URL_FILE",
        "MAGNESIUM_CDS_SECRET",
        "MAGNESIUM_CDS_SECRET_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "120")

    def call(*arguments: object, **options: object) -> Result:
        return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False, **options)

    return call
