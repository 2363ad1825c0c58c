"""The command line: `magnesium-cds serve` and its friends."""

from __future__ import annotations

from typing import Any

import click
from gunicorn.app.base import BaseApplication

from service import __version__
from service.app import application, known, site_of
from service.cli.evaluate import evaluate
from service.cli.knowledge import explain, rules
from service.cli.screen import screen
from service.cli.setup import Commands, environment
from service.cli.upkeep import check_site, db, load_rxnorm
from service.settings import Mode, Settings, load


@click.group(cls=Commands)
@click.version_option(__version__, prog_name="magnesium-cds")
def main() -> None:
    """Decision support for magnesium disorders over CDS Hooks and REST."""


@main.command()
def serve() -> None:
    """Serve over HTTP; settings come from the environment and the site file."""
    settings = load(environment(), known())
    site_of(settings)  # what is wrong with the site's tables is said here, not by a worker
    if settings.mode is Mode.DEVELOPMENT:
        click.secho(
            "DEVELOPMENT MODE: no authentication, this machine only. Not for patient data.",
            fg="yellow",
            bold=True,
            err=True,
        )
    click.echo(f"Serving on http://{settings.host}:{settings.port}", err=True)
    _Server(settings).run()


for _command in (evaluate, screen, rules, explain, check_site, load_rxnorm, db):
    main.add_command(_command)


class _Server(BaseApplication):
    """gunicorn with the settings of the service; the application is built in the worker."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        super().__init__()

    def load_config(self) -> None:
        """One worker with threads: reads of FHIR servers wait, rules do not."""
        options = {
            "bind": f"{self.settings.host}:{self.settings.port}",
            "workers": 1,
            "worker_class": "gthread",
            "threads": self.settings.web_threads,
            "keepalive": 65,
            "graceful_timeout": 25,
            "timeout": 60,
            "loglevel": "warning",
            "control_socket_disable": True,
        }
        for name, value in options.items():
            self.cfg.set(name, value)

    def load(self) -> Any:
        """The WSGI application, built in this worker."""
        return application(self.settings)


if __name__ == "__main__":
    main(prog_name="magnesium-cds")
