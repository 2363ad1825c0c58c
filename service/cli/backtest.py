"""`backtest`: an export replayed event by event: what would have been said, how often, and what would not."""

from __future__ import annotations

import os
import re
from collections.abc import Container, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from service.cli.population import Plan, files_of, run, run_in
from service.cli.setup import for_worker, language_option, prepare, site_option
from service.history.events import Kind
from service.logic.model import Analyte
from service.population import journal
from service.population.backtest import Options, StatedRange
from service.population.backtest import backtest as replay_patient
from service.population.bucket import counts_of, rows_of
from service.population.comparison import CARDS, SUMMARY, as_told, compare, incomparable
from service.population.journal import Asked
from service.population.partition import Partition
from service.population.report import report
from service.population.setup import Configuration, prepared
from service.population.summary import summary, without_pictures


@click.command()
@click.argument("export", metavar="EXPORT_DIR")
@click.option(
    "--output",
    "-o",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("backtest"),
    show_default=True,
    help="Folder for the report, the cards, the summary and, while it runs, sorted copies of the export.",
)
@click.option(
    "--versus",
    type=click.Path(exists=True, path_type=Path),
    help="Another site file beside, or the output folder of an earlier run, of whatever version.",
)
@click.option(
    "--events",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in Kind]),
    help="At what the service is asked; may be repeated.  [default: all]",
)
@click.option("--no-repeat-guard", "guard", flag_value=False, default=True, help="Say the same again each time.")
@click.option(
    "--range", "ranges", multiple=True, help="A laboratory range that results lack: 'ANALYTE=LOW..HIGH UNIT'."
)
@click.option("--sweep", help="One threshold tried at several values: 'mg-low=0.60,0.65,0.70'.")
@click.option("--jobs", "-j", type=click.IntRange(min=1), help="Processes.  [default: one for each core]")
@click.option(
    "--engine",
    type=click.Choice(["local", "spark"]),
    default="local",
    show_default=True,
    help="Processes of this machine, or Apache Spark.",
)
@click.option("--restart", is_flag=True, help="Throw away what an earlier run left in the output folder.")
@language_option
@site_option
def backtest(
    export: str,
    output: Path,
    versus: Path | None,
    kinds: tuple[str, ...],
    guard: bool,
    ranges: tuple[str, ...],
    sweep: str | None,
    jobs: int | None,
    engine: str,
    restart: bool,
    language: str | None,
    site: Path | None,
) -> None:
    """Replay a FHIR Bulk Data export: at each event the chart as it was, and the cards that would have been shown.

    Writes report.html, summary.json and cards.ndjson. Stopped in between, the same command goes on where it was. Exit
    status: 0 if all patients were judged, 1 if not, 2 for a wrong option.
    """
    earlier_run = versus if versus and versus.is_dir() else None
    sites = (site, versus) if versus and not earlier_run else (site,)
    setups = [prepare(path, language) for path in sites]
    files = files_of(export, output)
    wanted = [Configuration(for_worker, path, language=language or "") for path in sites]
    parameter, values = swept(sweep, setups[0].site.knowledge.parameters) if sweep else ("", [])
    options = Options(
        configurations=(*wanted, *(replace(wanted[0], thresholds=((parameter, value),)) for value in values)),
        versus=len(sites) > 1,
        kinds=frozenset(map(Kind, kinds)) or frozenset(Kind),
        guard=guard,
        ranges=tuple(map(stated_range, ranges)),
    )
    tables = [setup.settings.service.rxnorm_table for setup in setups]
    asked = _asked(options, ranges, setups[0].how.wording.language, [str(table or "") for table in tables])
    if earlier_run:
        asked["versus"] = _comparable(earlier_run, output, asked, files)
    with run_in(output, restart) as earlier:
        plan = Plan(
            files, output, replay_patient, options, asked, jobs or os.cpu_count() or 1, "Replaying patients", engine
        )
        run(plan, earlier, partial(_finish, earlier_run))


def _asked(options: Options, ranges: tuple[str, ...], language: str, tables: list[str]) -> Asked:
    paths = [configuration.site for configuration in options.configurations[: len(tables)]]
    digests = [journal.digest(journal.site_files(path, table)) for path, table in zip(paths, tables, strict=True)]
    return {
        "events": [kind.value for kind in Kind if kind in options.kinds],
        "repeatGuard": options.guard,
        "range": list(ranges),
        "language": language,
        "site": digests[0],
        "versus": digests[1] if options.versus else "",
        "sweep": _sweep_asked(options),
        **journal.VERSIONS,
    }


def swept(words: str, known: Container[str]) -> tuple[str, list[str]]:
    """`mg-low=0.60,0.65`: a parameter and its values; BadParameter if it is something else."""
    name, _, values = words.partition("=")
    listed = [value.strip() for value in values.split(",")]
    if name.strip() not in known or not all(re.fullmatch(_NUMBER, value) for value in listed):
        raise click.BadParameter("is PARAMETER=VALUE,VALUE,… with a parameter of /v1/parameters", param_hint="--sweep")
    return name.strip(), listed


def _sweep_asked(options: Options) -> dict[str, Any] | None:
    tried = [configuration.thresholds[0] for configuration in options.configurations if configuration.thresholds]
    return {"parameter": tried[0][0], "values": [value for _, value in tried]} if tried else None


_NUMBER = r"\d+(?:\.\d+)?"
_RANGE = re.compile(rf"\s*(?P<analyte>[^=]+?)\s*=\s*(?P<low>{_NUMBER})\s*\.\.\s*(?P<high>{_NUMBER})\s+(?P<unit>\S+)\s*")


def stated_range(words: str) -> StatedRange:
    """`serum magnesium=1.6..2.6 mg/dL`; BadParameter if it is something else."""
    found = _RANGE.fullmatch(words)
    names = ", ".join(analyte.value for analyte in Analyte)
    if found is None or found["analyte"] not in set(Analyte):
        raise click.BadParameter(f"is ANALYTE=LOW..HIGH UNIT, with an analyte of {names}", param_hint="--range")
    if float(found["low"]) >= float(found["high"]):
        raise click.BadParameter("the lower limit comes first", param_hint="--range")
    return StatedRange(Analyte(found["analyte"]), found["low"], found["high"], found["unit"])


def _comparable(earlier_run: Path, output: Path, asked: Asked, files: list[Path]) -> str:
    """The fingerprint of an earlier run that can be put beside this one; ClickException if it cannot."""
    if earlier_run.resolve() == output.resolve():
        raise click.BadParameter("must be another folder than the output", param_hint="--versus")
    if why := incomparable(earlier_run, asked, journal.inputs_of(files)):
        raise click.ClickException(f"{earlier_run} cannot be put beside this run: {'; '.join(why)}")
    return journal.digest([earlier_run / name for name in (CARDS, SUMMARY)])


def _finish(earlier_run: Path | None, plan: Plan, found: Partition, numbers: list[int]) -> None:
    _write_rows(plan, numbers)
    told = summary(counts_of(plan.results, numbers), found, plan.asked)
    if earlier_run:
        told["versus"] = [_beside(earlier_run, plan.folder)]
    numbers_alone = msgspec.json.encode(without_pictures(told))
    journal.write_whole(plan.folder / SUMMARY, msgspec.json.format(numbers_alone, indent=2))
    setup = prepared(plan.options.configurations[0])
    titles = {rule: entry.title for rule, entry in setup.site.knowledge.rules.items()}
    journal.write_whole(plan.folder / "report.html", report(told, setup.how.wording, titles).encode())
    click.echo("\n".join(summary_lines(told, plan.folder)))
    if told["patientsNotJudged"]:
        raise click.ClickException("not all patients could be judged; see patientsNotJudged in summary.json")


def _beside(earlier_run: Path, folder: Path) -> dict[str, Any]:
    """The earlier run in numbers; the events at which a card differs in changes.ndjson."""
    draft = folder / "changes.draft"
    with draft.open("wb") as changes:
        found = compare(folder, earlier_run, changes)
    draft.replace(folder / "changes.ndjson")
    return as_told(earlier_run, found)


def _write_rows(plan: Plan, numbers: list[int]) -> None:
    """Cards in one file, what another configuration changed in another; whole or not at all."""
    cards, changes = plan.folder / "cards.draft", plan.folder / "changes.draft"
    with cards.open("wb") as shown, changes.open("wb") as changed:
        for row in rows_of(plan.results, numbers):
            (changed if row.startswith(b'{"configuration"') else shown).write(row)
    cards.replace(plan.folder / CARDS)
    if plan.options.versus:
        changes.replace(plan.folder / "changes.ndjson")
    else:
        changes.unlink()


def summary_lines(told: dict[str, Any], folder: Path) -> Iterator[str]:
    burden = told["burden"]
    yield f"{told['patients']} patients, {told['events']} events"
    for kind, line in burden["per100"].items():
        rates = f"{line['cards']} with a card, {line['loud']} warning or critical"
        yield f"  {kind}: {line['events']} events; per 100: {rates}"
    yield " · ".join(str(folder / name) for name in ("report.html", "summary.json", "cards.ndjson"))
