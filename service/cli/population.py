"""What `screen` and `backtest` share: an export judged patient by patient, in a run that can be stopped and resumed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import click
import msgspec

from service.cli.setup import progress_bar
from service.population import journal, spark
from service.population.bucket import Judge, Task, judge_bucket, result_files
from service.population.export import chunks_of, export_files, unread_files
from service.population.journal import Asked, Journal
from service.population.local import Spread, processes
from service.population.partition import (
    Needs,
    Partition,
    SortTask,
    bucket_count,
    bucket_file,
    everything,
    partition,
    sort_chunk,
)
from service.population.record import Files

_SAID = 10  # skipped lines named on the terminal


@dataclass(frozen=True, slots=True)
class Plan:
    """One run: from where, to where, what is done with each patient."""

    files: list[Path]
    folder: Path
    judge: Judge[Any]
    options: Any
    asked: Asked
    jobs: int
    label: str = "Judging patients"
    engine: str = "local"
    needs: Needs = everything

    @property
    def spill(self) -> Path:
        """Buckets of patient data."""
        return journal.work(self.folder) / "buckets"

    @property
    def results(self) -> Path:
        """One result for each bucket that is done."""
        return journal.work(self.folder) / "results"


Finish = Callable[[Plan, Partition, list[int]], None]
"""Given the numbers of the buckets that are done, writes the results; raises ClickException if not all went well."""


@contextmanager
def run_in(output: Path, restart: bool) -> Iterator[Journal | None]:
    """The output folder for this run alone, with an earlier run's journal; what ends a run early is said in words."""
    try:
        output.mkdir(mode=0o700, parents=True, exist_ok=True)
        with journal.exclusive_lock(output):
            if restart:
                journal.discard(output)
            yield _earlier(output)
    except BlockingIOError as error:
        raise click.ClickException(f"{output}: another screening is at work here") from error
    except KeyboardInterrupt as error:
        raise click.ClickException("stopped; the same command goes on") from error
    except BrokenProcessPool as error:
        why = "a process was ended from outside; the same command goes on, fewer --jobs need less memory"
        raise click.ClickException(why) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}; the same command goes on") from error


def files_of(export: str, output: Path) -> list[Path]:
    """The files of an export: a folder, or the address of one in an object store; ClickException if there are none."""
    folder = _folder(export)
    files = export_files(folder)
    if not files:
        raise click.ClickException(f"{export}: no *.ndjson or *.ndjson.gz files")
    if output.resolve() == folder.resolve():
        raise click.BadParameter("must not be the export itself", param_hint="--output")
    for name in unread_files(folder):
        click.echo(f"{name}: not read, only *.ndjson and *.ndjson.gz are", err=True)
    return files


def _folder(export: str) -> Path:
    if "://" not in export:
        folder = Path(export)
    else:
        try:
            from upath import UPath
        except ImportError as error:
            raise click.ClickException("an object store needs: pip install 'magnesium-cds[spark]'") from error
        folder = cast("Path", UPath(export))
    if not folder.is_dir():
        raise click.BadParameter(f"Directory '{export}' does not exist.", param_hint="'EXPORT_DIR'")
    return folder


def _earlier(output: Path) -> Journal | None:
    try:
        return journal.read(output)
    except msgspec.MsgspecError as error:
        raise click.ClickException(f"{journal.manifest(output)}: not of this version; use --restart") from error


def run(plan: Plan, earlier: Journal | None, finish: Finish) -> None:
    """Sort the export by patient, judge what is not judged yet, put the results together."""
    if earlier is not None:
        _refuse_if_changed(plan, earlier)
        if earlier.finished:
            journal.discard_work(plan.folder)
            click.echo(f"{plan.folder}: already finished; --restart does it again", err=True)
            return
    state = earlier or Journal(plan.asked, journal.inputs_of(plan.files))
    journal.write(state, plan.folder)
    found, numbers = (_by_spark if plan.engine == "spark" else _locally)(plan, state)
    finish(plan, found, numbers)
    state.finished = True
    journal.write(state, plan.folder)
    journal.discard_work(plan.folder)


def _locally(plan: Plan, state: Journal) -> tuple[Partition, list[int]]:
    """By processes of this machine, with the lines sorted into files."""
    with processes(plan.jobs) as spread:
        if state.partition is None:
            state.partition = _partition(plan, spread)
            journal.write(state, plan.folder)
        numbers = list(_buckets(plan, state.partition))
        _judge(plan, state.partition, numbers, spread)
    return state.partition, numbers


def _by_spark(plan: Plan, _state: Journal) -> tuple[Partition, list[int]]:
    """By Apache Spark; what an interrupted run has judged stays."""
    plan.results.mkdir(parents=True, exist_ok=True)
    results, buckets = plan.results.resolve(), bucket_count(plan.files)
    work = spark.Work(chunks_of(plan.files), buckets, results, plan.judge, plan.options, plan.needs)
    try:
        found = spark.run(work, plan.folder / "broken.ndjson", plan.jobs)
    except ImportError as error:
        raise click.ClickException("--engine spark needs: pip install 'magnesium-cds[spark]', and Java") from error
    _say_skipped(found, plan.folder)
    return found, [number for number in range(found.buckets) if result_files(plan.results, number)[1].exists()]


def _refuse_if_changed(plan: Plan, earlier: Journal) -> None:
    changed = list(journal.differences(earlier, plan.asked, journal.inputs_of(plan.files)))
    if changed:
        reasons = "\n".join(f"  {line}" for line in changed)
        raise click.ClickException(
            f"{plan.folder} holds another run:\n{reasons}\nGive another --output, or --restart to replace it."
        )


def _partition(plan: Plan, spread: Spread) -> Partition:
    """Sort the export by patient; parts of files that an interrupted run has sorted are not sorted again."""
    for folder in (plan.spill, plan.results):
        folder.mkdir(parents=True, exist_ok=True)
    buckets = bucket_count(plan.files)
    tasks = [SortTask(chunk, buckets, plan.spill, plan.needs) for chunk in chunks_of(plan.files)]
    waiting = [task for task in tasks if not task.done.exists()]
    with progress_bar("Reading", sum(path.stat().st_size for path in plan.files)) as bar:
        for size in spread(sort_chunk, waiting):
            bar.update(size)
    found = partition(tasks, plan.folder / "broken.ndjson")
    _say_skipped(found, plan.folder)
    return found


def _say_skipped(found: Partition, folder: Path) -> None:
    for fault in found.examples[:_SAID]:
        detail = f" ({fault.detail})" if fault.detail else ""
        click.echo(f"{fault.file}:{fault.line}: {fault.reason}{detail}, skipped", err=True)
    if (more := sum(found.broken.values()) - _SAID) > 0:
        click.echo(f"... and {more} more, see {folder / 'broken.ndjson'}", err=True)


def _judge(plan: Plan, found: Partition, numbers: list[int], spread: Spread) -> None:
    """Judge the buckets that are not done yet."""
    waiting = [number for number in numbers if not result_files(plan.results, number)[1].exists()]
    before = tuple(tuple(found.lines[str(place)]) for place in range(len(plan.files)))
    files = Files(tuple(path.name for path in plan.files), before)
    tasks = [Task(number, plan.spill, plan.results, files, plan.judge, plan.options) for number in waiting]
    share = max(1, round(found.patients * len(waiting) / max(1, len(numbers))))
    with progress_bar(plan.label, share) as bar:
        for patients in spread(judge_bucket, tasks):
            bar.update(patients)


def _buckets(plan: Plan, found: Partition) -> Iterator[int]:
    """The buckets that hold patients."""
    return (number for number in range(found.buckets) if bucket_file(plan.spill, number).exists())
