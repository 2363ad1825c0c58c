"""The command line, as in the tests of the other commands."""

from tests.cli.conftest import run

__all__ = ["run"]
