"""The command line: `magnesium-cds serve` and its friends."""

from __future__ import annotations

import os
import sys
from typing import Any

import click
from gunicorn.app.base import BaseApplication

from service import __version__
from service.app import application, known
from service.errors import SettingsError
from service.settings import Mode, Settings, load


@click.group()
@click.version_option(__version__, prog_name="magnesium-cds")
def main() -> None:
    """Decision support for magnesium disorders over CDS Hooks and REST."""


@main.command()
def serve() -> None:
    """Serve over HTTP; settings come from the environment and the site file."""
    settings = _settings()
    if settings.mode is Mode.DEVELOPMENT:
        click.secho(
            "DEVELOPMENT MODE: no authentication, this machine only. Not for patient data.",
            fg="yellow",
            bold=True,
            err=True,
        )
    click.echo(f"Serving on http://{settings.host}:{settings.port}", err=True)
    _Server(settings).run()


def _settings() -> Settings:
    try:
        return load(os.environ, known())  # noqa: TID251  an entry point hands the environment to settings
    except SettingsError as error:
        click.echo("The settings are wrong:\n" + "\n".join(f"  {problem}" for problem in error.problems), err=True)
        sys.exit(2)


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
    main()
