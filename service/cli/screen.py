"""`screen`: a whole Bulk Data export, patient by patient, on all cores, in a run that can be stopped and resumed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from service.cli.population import Plan, files_of, run, run_in
from service.cli.setup import Setup, for_worker, judging_options, moment, prepare, site_option
from service.logic.model import Hook
from service.population import journal, outcome
from service.population.journal import Asked
from service.population.partition import Partition
from service.population.screening import Options, is_needed
from service.population.screening import screen as screen_patient
from service.population.setup import Configuration


@click.command()
@click.argument("export", metavar="EXPORT_DIR")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("screening"),
    show_default=True,
    help="Folder for findings, summary and, while it runs, sorted copies of the export.",
)
@click.option("--format", "format_", type=click.Choice(outcome.FORMATS), default="ndjson", show_default=True)
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Processes.  [default: one for each core]")
@click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help="Processes of this machine, or Apache Spark.",
)
@click.option("--restart", is_flag=True, help="Throw away what an earlier run left in the output folder.")
@judging_options
@site_option
def screen(
    export: str,
    output: Path,
    format_: str,
    jobs: int | None,
    engine: str,
    restart: bool,
    hook: str,
    as_of: str | None,
    profile: str,
    research: bool,
    site: Path | None,
) -> None:
    """Judge every patient of a FHIR Bulk Data export: the *.ndjson and *.ndjson.gz files in EXPORT_DIR.

    Writes findings, summary.json and broken.ndjson (what was skipped). Stopped in between, the same command goes on
    where it was. Exit status: 0 if all patients were judged, 1 if not, 2 for a wrong option.
    """
    setup = prepare(site, None, profile, research)
    files = files_of(export, output)
    with run_in(output, restart) as earlier:
        at = moment(as_of, setup.site) if as_of or not earlier else datetime.fromisoformat(str(earlier.asked["asOf"]))
        configuration = Configuration(for_worker, site, setup.site.profile, setup.site.research)
        options = Options(at, Hook(hook), configuration)
        asked = _asked(options, format_, setup)
        plan = Plan(
            files,
            output,
            screen_patient,
            options,
            asked,
            jobs or os.cpu_count() or 1,
            engine=engine,
            needs=partial(is_needed, configuration),
        )
        run(plan, earlier, _finish)


def _asked(options: Options, format_: str, setup: Setup) -> Asked:
    wanted = options.configuration
    return {
        "asOf": options.as_of.isoformat(),
        "hook": options.hook.value,
        "profile": wanted.profile,
        "research": wanted.research,
        "format": format_,
        "site": journal.digest(journal.site_files(wanted.site, setup.settings.service.rxnorm_table)),
        **journal.VERSIONS,
    }


def _finish(plan: Plan, found: Partition, numbers: list[int]) -> None:
    rows = plan.folder / f"findings.{plan.asked['format']}"
    outcome.write_rows(plan.results, numbers, rows)
    told = outcome.summary(outcome.total_of(plan.results, numbers), found, plan.asked)
    journal.write_whole(plan.folder / "summary.json", msgspec.json.format(msgspec.json.encode(told), indent=2))
    click.echo("\n".join(summary_lines(told, rows)))
    if told["patientsNotJudged"]:
        raise click.ClickException("not all patients could be judged; see patientsNotJudged in summary.json")


def summary_lines(told: dict[str, Any], rows: Path) -> Iterator[str]:
    cards = ", ".join(f"{number} {name}" for name, number in told["cards"].items())
    yield f"{told['patients']} patients, {told['patientsWithCard']} with a card ({told['firingRate']:.1%}): {cards}"
    failed = sum(rule["failed"] for rule in told["rules"].values())
    if failed:
        yield f"{failed} evaluations of a rule failed; see rules in summary.json"
    if told["skipped"]["total"]:
        reasons = ", ".join(f"{number} {reason}" for reason, number in told["skipped"]["reasons"].items())
        yield f"{told['skipped']['total']} lines skipped: {reasons}"
    yield f"{rows} · {rows.parent / 'summary.json'}"
