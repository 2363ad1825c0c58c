"""One bucket of patients -> a result file, each patient by the job's own function; a fault costs that patient only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from service.population.partition import bucket_file, patients_in
from service.population.picture import as_json
from service.population.record import Chart, Files, chart_of, shared_finder

ENCODER: Final = msgspec.json.Encoder(decimal_format="number", enc_hook=as_json)
Json = dict[str, Any]
O = TypeVar("O")  # noqa: E741  the options of a job


class Judged(NamedTuple):
    """What came of one patient: rows to keep, and numbers to add to those of the others."""

    rows: Iterable[Json]
    counts: Json


Judge = Callable[[Chart, O], Judged]


@dataclass(frozen=True, slots=True)
class Task(Generic[O]):
    """A bucket to judge, where it lies, and how; can be sent to another process."""

    number: int
    spill: Path
    results: Path
    files: Files
    judge: Judge[O]
    options: O


def judge_bucket(task: Task[Any]) -> int:
    """Judge the patients of a bucket and store the result; the number of patients."""
    with shared_finder(task.spill) as find:
        lines = patients_in(bucket_file(task.spill, task.number))
        charts = (chart_of(patient, own, find, task.files) for patient, own in lines)
        return store_results(charts, task.judge, task.options, result_files(task.results, task.number))


def store_results(charts: Iterable[Chart], judge: Judge[O], options: O, files: tuple[Path, Path]) -> int:
    """The rows and the numbers of some patients, whole or not at all; how many patients."""
    rows_file, counts_file = files
    counts: Json = {"patients": 0}
    draft = rows_file.with_suffix(".draft")
    with draft.open("wb") as out:
        for chart in charts:
            rows, found = _judged(chart, judge, options)
            out.writelines(ENCODER.encode(row) + b"\n" for row in rows)
            add(counts, found)
    draft.replace(rows_file)
    draft.write_bytes(ENCODER.encode(counts))
    draft.replace(counts_file)
    return int(counts["patients"])


def _judged(chart: Chart, judge: Judge[O], options: O) -> Judged:
    counts: Json = {"patients": 1, "without_patient_resource": int(not chart.has_patient)}
    try:
        judged = judge(chart, options)
        rows = list(judged.rows)
    except Exception as error:  # noqa: BLE001  hours of work must not be lost to one chart
        row = {"patient": f"Patient/{chart.patient}", "outcome": "not-judged"}
        return Judged([row], counts | {"not_judged": {type(error).__name__: 1}})
    return Judged(rows, counts | judged.counts)


def result_files(folder: Path, number: int) -> tuple[Path, Path]:
    """The rows and the numbers of a bucket; the bucket is done when the second one is there."""
    return folder / f"{number:04}.ndjson", folder / f"{number:04}.json"


def counts_of(folder: Path, numbers: Iterable[int]) -> Json:
    """The numbers of all buckets."""
    whole: Json = {}
    for number in numbers:
        add(whole, msgspec.json.decode(result_files(folder, number)[1].read_bytes()))
    return whole


def add(whole: Json, part: Mapping[str, Any]) -> None:
    """Add numbers name by name; of examples (dicts with an `order`) the one that comes first stays."""
    for name, value in part.items():
        known = whole.get(name)
        if known is None:
            whole[name] = _copy(value)
        elif not isinstance(value, dict):
            whole[name] = known + value
        elif "order" in value:
            whole[name] = min(known, value, key=lambda example: example["order"])
        else:
            add(known, value)


def _copy(value: Any) -> Any:
    """Dicts are copied, for they will be added to."""
    return {name: _copy(member) for name, member in value.items()} if isinstance(value, dict) else value


def rows_of(folder: Path, numbers: Iterable[int]) -> Iterator[bytes]:
    """The rows of all buckets, as lines."""
    for number in numbers:
        with result_files(folder, number)[0].open("rb") as rows:
            yield from rows
