"""`screen`: a whole Bulk Data export, patient by patient, on all cores, in a run that can be stopped and resumed."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from multiprocessing import connection, get_context, parent_process
from pathlib import Path
from typing import Any

import click
import msgspec

from service.cli.setup import Setup, for_worker, judging_options, moment, prepare, progress_bar, site_option
from service.logic.model import Hook
from service.population import journal, outcome
from service.population.export import export_files
from service.population.journal import Asked, Journal
from service.population.partition import Partition, bucket_file, partition
from service.population.screening import Options, Task, screen_bucket

_SAID = 10  # skipped lines named on the terminal


@dataclass(frozen=True, slots=True)
class Plan:
    """One screening: from where, to where, what is asked."""

    files: list[Path]
    folder: Path
    options: Options
    asked: Asked
    jobs: int

    @property
    def spill(self) -> Path:
        """Buckets of patient data."""
        return journal.work(self.folder) / "buckets"

    @property
    def results(self) -> Path:
        """One result for each bucket that is done."""
        return journal.work(self.folder) / "results"


@click.command()
@click.argument("export", metavar="EXPORT_DIR", type=click.Path(exists=True, file_okay=False, path_type=Path))
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
@click.option("--restart", is_flag=True, help="Throw away what an earlier run left in the output folder.")
@judging_options
@site_option
def screen(
    export: Path,
    output: Path,
    format_: str,
    jobs: int | None,
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
    files = _files(export, output)
    with _faults_said(output):
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
        with journal.exclusive_lock(output):
            if restart:
                journal.discard(output)
            earlier = _earlier(output)
            at = moment(as_of, setup.site) if as_of or not earlier else datetime.fromisoformat(earlier.asked.as_of)
            options = Options(at, Hook(hook), for_worker, site, setup.site.profile, setup.site.research)
            plan = Plan(files, output, options, _asked(options, format_, setup), jobs or os.cpu_count() or 1)
            _run(plan, earlier)


@contextmanager
def _faults_said(output: Path) -> Iterator[None]:
    """What ends a run before its time, in words."""
    try:
        yield
    except BlockingIOError as error:
        raise click.ClickException(f"{output}: another screening is at work here") from error
    except KeyboardInterrupt as error:
        raise click.ClickException("stopped; the same command goes on") from error
    except BrokenProcessPool as error:
        why = "a process was ended from outside; the same command goes on, fewer --jobs need less memory"
        raise click.ClickException(why) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}; the same command goes on") from error


def _files(export: Path, output: Path) -> list[Path]:
    files = export_files(export)
    if not files:
        raise click.ClickException(f"{export}: no *.ndjson or *.ndjson.gz files")
    if output.resolve() == export.resolve():
        raise click.BadParameter("must not be the export itself", param_hint="--output")
    return files


def _earlier(output: Path) -> Journal | None:
    try:
        return journal.read(output)
    except msgspec.MsgspecError as error:
        raise click.ClickException(f"{journal.manifest(output)}: not of this version; use --restart") from error


def _asked(options: Options, format_: str, setup: Setup) -> Asked:
    table = setup.settings.service.rxnorm_table
    site = [path for path in (options.site, Path(table) if table else None) if path]
    return Asked(
        options.as_of.isoformat(), options.hook.value, options.profile, options.research, format_, journal.digest(site)
    )


# ---- the run --------------------------------------------------------------------------------------------------------


def _run(plan: Plan, earlier: Journal | None) -> None:
    if earlier is not None:
        _refuse_if_changed(plan, earlier)
        if earlier.finished:
            journal.discard_work(plan.folder)
            click.echo(f"{plan.folder}: already finished; --restart does it again", err=True)
            return
    state = earlier or Journal(plan.asked, journal.inputs_of(plan.files))
    journal.write(state, plan.folder)
    if state.partition is None:
        state.partition = _partition(plan)
        journal.write(state, plan.folder)
    _judge(plan, state.partition)
    _finish(plan, state)


def _refuse_if_changed(plan: Plan, earlier: Journal) -> None:
    changed = list(journal.differences(earlier, plan.asked, journal.inputs_of(plan.files)))
    if changed:
        reasons = "\n".join(f"  {line}" for line in changed)
        raise click.ClickException(
            f"{plan.folder} holds another screening:\n{reasons}\nGive another --output, or --restart to replace it."
        )


def _partition(plan: Plan) -> Partition:
    """Sort the export by patient; what an interrupted run left of this is made anew."""
    journal.discard_work(plan.folder)
    plan.spill.mkdir(parents=True)
    plan.results.mkdir()
    size = sum(path.stat().st_size for path in plan.files)
    with progress_bar("Reading", size) as bar:
        found = partition(plan.files, plan.spill, plan.folder / "broken.ndjson", bar.update)
    _say_skipped(found, plan.folder)
    return found


def _say_skipped(found: Partition, folder: Path) -> None:
    for fault in found.examples[:_SAID]:
        detail = f" ({fault.detail})" if fault.detail else ""
        click.echo(f"{fault.file}:{fault.line}: {fault.reason}{detail}, skipped", err=True)
    if (more := sum(found.broken.values()) - _SAID) > 0:
        click.echo(f"... and {more} more, see {folder / 'broken.ndjson'}", err=True)


def _judge(plan: Plan, found: Partition) -> None:
    """Judge the buckets that are not done yet."""
    waiting = [number for number in _buckets(plan, found) if not outcome.result_files(plan.results, number)[1].exists()]
    names = tuple(path.name for path in plan.files)
    tasks = [Task(number, plan.spill, plan.results, names, plan.options) for number in waiting]
    share = max(1, round(found.patients * len(waiting) / max(1, len(list(_buckets(plan, found))))))
    with progress_bar("Judging patients", share) as bar:
        for patients in _judged(tasks, plan.jobs):
            bar.update(patients)


def _buckets(plan: Plan, found: Partition) -> Iterator[int]:
    """The buckets that hold patients."""
    return (number for number in range(found.buckets) if bucket_file(plan.spill, number).exists())


def _judged(tasks: Sequence[Task], jobs: int) -> Iterator[int]:
    """The number of patients of each bucket, as it is done."""
    if jobs == 1 or len(tasks) < 2:
        yield from map(screen_bucket, tasks)
        return
    workers = min(jobs, len(tasks))
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin_worker)
    try:
        with ignore_sigint():
            judged = [pool.submit(screen_bucket, task) for task in tasks]
        for done in as_completed(judged):
            yield done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def ignore_sigint() -> Iterator[None]:
    """Processes started here inherit that interrupts are ignored: they are left to the parent."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin_worker() -> None:
    """A worker does not outlive its parent."""
    parent = parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


# ---- the end --------------------------------------------------------------------------------------------------------


def _finish(plan: Plan, state: Journal) -> None:
    """Put the results together, then remove the copies of patient data."""
    found = state.partition or Partition(0)
    numbers = list(_buckets(plan, found))
    rows = plan.folder / f"findings.{plan.asked.format}"
    outcome.write_rows(plan.results, numbers, rows)
    told = outcome.summary(outcome.total_of(plan.results, numbers), found, msgspec.to_builtins(plan.asked))
    draft = plan.folder / "summary.draft"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2))
    draft.replace(plan.folder / "summary.json")
    state.finished = True
    journal.write(state, plan.folder)
    journal.discard_work(plan.folder)
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
