"""`report`: the page of a back-test from what the service logged in production, shown or in silent mode."""

from __future__ import annotations

from pathlib import Path
from typing import IO

import click

from service.cli.setup import language_option, prepare, site_option
from service.population.journal import write_whole
from service.population.production import decisions, outcomes_of, summary_of_log
from service.population.report import report as page


@click.command()
@click.argument("logs", metavar="LOG...", nargs=-1, required=True, type=click.File("rb"))
@click.option(
    "--output",
    "-o",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("report.html"),
    show_default=True,
    help="The page to write.",
)
@click.option("--tenant", default="", help="Calls of this tenant alone.")
@click.option("--feedback", type=click.File(encoding="utf-8"), help="What became of the cards: CSV of `feedback`.")
@language_option
@site_option
def report(
    logs: tuple[IO[bytes], ...],
    output: Path,
    tenant: str,
    feedback: IO[str] | None,
    language: str | None,
    site: Path | None,
) -> None:
    """What was shown in production, or would have been in silent mode: the report of a back-test from LOG.

    LOG holds lines that the service logged ("-" for standard input); of each answered call it tells hook, rules and
    levels, and nothing of the patient. Exit status: 1 if no line is of a call.
    """
    setup = prepare(site, language)
    try:
        outcomes = outcomes_of(feedback) if feedback else []
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--feedback") from error
    told = summary_of_log((call for log in logs for call in decisions(log, tenant)), outcomes)
    if not told["events"]:
        raise click.ClickException("no line tells of an answered call" + (f" of {tenant}" if tenant else ""))
    titles = {rule: entry.title for rule, entry in setup.site.knowledge.rules.items()}
    write_whole(output, page(told, setup.how.wording, titles).encode())
    silent = told["production"]["silentCalls"]
    click.echo(f"{told['events']} calls" + (f", {silent} of them in silent mode" if silent else ""))
    for hook, line in told["burden"]["per100"].items():
        click.echo(f"  {hook}: {line['events']}; per 100: {line['cards']} with a card, {line['loud']} loud")
    click.echo(str(output))
