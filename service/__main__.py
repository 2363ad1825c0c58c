"""The command line: `magnesium-cds serve` and its friends."""

from __future__ import annotations

import socket

import click

from service import __version__
from service.cli.admin import check_site, db, load_rxnorm
from service.cli.backtest import backtest
from service.cli.call import call
from service.cli.evaluate import evaluate
from service.cli.kept import feedback, repeat_guard
from service.cli.knowledge import explain, rules
from service.cli.paper import paper
from service.cli.production import report
from service.cli.screen import screen
from service.cli.setup import Commands, environment
from service.cli.token import token
from service.cli.units import units
from service.server import become_server
from service.settings import Mode, load
from service.site import site_of, site_schema
from service.store.database import upgraded


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="magnesium-cds")
def main() -> None:
    """Decision support for magnesium disorders over CDS Hooks and REST."""


@main.command()
def serve() -> None:
    """Serve over HTTP; settings come from the environment and the site file."""
    settings = load(environment(), site_schema())
    site_of(settings)  # what is wrong with the site's tables is said here, not by a worker
    if settings.mode is Mode.DEVELOPMENT:
        click.secho(
            "DEVELOPMENT MODE: no authentication, this machine only. Not for patient data.",
            fg="yellow",
            bold=True,
            err=True,
        )
    _check_port(settings.host, settings.port)
    click.echo(f"Serving on http://{settings.host}:{settings.port}", err=True)
    if settings.database_url.startswith("sqlite"):
        upgraded(settings.database_url)  # here, so that the server need not hold Alembic
    become_server(settings.host, settings.port, settings.web_threads)


def _check_port(host: str, port: int) -> None:
    """Said at once and with what to do (gunicorn: five attempts, a second apart, and nothing of PORT)."""
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        why = str(error.strerror).partition(" (")[0]
        other = f"PORT={port % 65535 + 1} make run"
        raise click.ClickException(f"Port {port} of {host} cannot be had ({why}). Choose another: {other}") from error


for _command in (
    evaluate,
    screen,
    backtest,
    report,
    units,
    rules,
    explain,
    paper,
    token,
    call,
    check_site,
    load_rxnorm,
    db,
    repeat_guard,
    feedback,
):
    main.add_command(_command)


if __name__ == "__main__":
    main(prog_name="magnesium-cds")
