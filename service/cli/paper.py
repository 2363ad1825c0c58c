"""`paper`: the paper for approval as one HTML file that prints, with what the site changed."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import click

from service.cli.setup import prepare, site_option
from service.governance.document import document
from service.governance.paper import Installation
from service.settings.site import RuleMode


@click.command()
@site_option
@click.option(
    "-o", "--output", type=click.File("w", encoding="utf-8"), default="-", help="HTML file.  [default: stdout]"
)
def paper(site: Path | None, output: TextIO) -> None:
    """Write intended use, device status, source attributes, hazard log and approval sheet as one file to print."""
    setup = prepare(site)
    modes = setup.settings.rules
    click.echo(document(Installation(setup.site.knowledge, lambda rule: modes.get(rule, RuleMode.ON).value)), output)
