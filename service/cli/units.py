"""`units`: are the units of a cohort what they say they are?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import click
import msgspec

from service.cli.population import Plan, files_of, run, run_in
from service.cli.setup import for_worker, prepare, site_option
from service.population import journal
from service.population.bucket import counts_of
from service.population.partition import Partition
from service.population.setup import Configuration
from service.population.units import Options, Spread, audit, spreads


@click.command()
@click.argument("export", metavar="EXPORT_DIR")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("units"),
    show_default=True,
    help="Folder for units.json and, while it runs, sorted copies of the export.",
)
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Processes.  [default: one for each core]")
@click.option("--restart", is_flag=True, help="Throw away what an earlier run left in the output folder.")
@site_option
def units(export: str, output: Path, jobs: int | None, restart: bool, site: Path | None) -> None:
    """Audit the units of a FHIR Bulk Data export: by site, code and unit, are these values possible?

    Prints each place where they are not, and writes all of them to units.json. Exit status: 0 if every unit fits, 1 if
    one does not, 2 for a wrong option.
    """
    setup = prepare(site)
    files = files_of(export, output)
    options = Options(Configuration(for_worker, site))
    digest = journal.digest(journal.site_files(site, setup.settings.service.rxnorm_table))
    asked = {"job": "units", "site": digest, **journal.VERSIONS}
    with run_in(output, restart) as earlier:
        plan = Plan(files, output, audit, options, asked, jobs or os.cpu_count() or 1, "Reading patients")
        run(plan, earlier, _finish)
        _say(output)


def _finish(plan: Plan, _found: Partition, numbers: list[int]) -> None:
    found = spreads(counts_of(plan.results, numbers).get("values", {}))
    journal.write_whole(plan.folder / "units.json", msgspec.json.format(msgspec.json.encode(found), indent=2))


def _say(folder: Path) -> None:
    found = msgspec.json.decode((folder / "units.json").read_bytes(), type=list[Spread])
    click.echo("\n".join(_lines(found)))
    odd = [one for one in found if one.verdict]
    click.echo(f"{len(found)} combinations of site, code and unit, {len(odd)} of them odd · {folder / 'units.json'}")
    if odd:
        raise click.ClickException("units to look at before these values are judged; nothing was changed")


def _lines(found: list[Spread]) -> Iterator[str]:
    for one in found:
        spread = f"{one.p10:g} – {one.median:g} – {one.p90:g} {one.unit}"
        mark = "?" if one.verdict else " "
        yield f"{mark} {one.analyte} · {one.site or '(no site)'} · {one.code} · {one.values} × {spread}"
        if one.verdict:
            yield f"    {one.verdict}" + (f": {one.fits}?" if one.fits and one.fits not in one.verdict else "")
