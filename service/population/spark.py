"""The engine for more than one machine: Apache Spark moves the lines, the same functions read and judge them.

    parts of files -> labelled lines -> shuffled to one partition for each bucket, sorted by patient -> result files

The functions are those of the built-in engine (`read_labelled`, `store_results`), the partitions are its buckets, and so
the results are the same bytes. Spark spills, retries and spreads; a bucket that has a result is not judged again. The
folder of the results must be seen by every executor, as for any job of Spark that writes files; the export may lie
there too or in an object store.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from service.population.bucket import Judge, result_files, store_results
from service.population.export import Chunk
from service.population.partition import Kept, Label, Needs, Part, Partition, everything, join_parts, read_labelled
from service.population.record import Files, chart_of

if TYPE_CHECKING:
    from pyspark import SparkContext

O = TypeVar("O")  # noqa: E741  the options of a job


class _Key(NamedTuple):
    """By what lines are shuffled and sorted: bucket, owner, place."""

    bucket: int
    owner: str
    file: int
    part: int
    line: int


@dataclass(frozen=True, slots=True)
class Work(Generic[O]):
    """One run: what is read, what is done with each patient, where the results go."""

    chunks: Sequence[Chunk]
    buckets: int
    results: Path
    judge: Judge[O]
    options: O
    needs: Needs = everything


def run(work: Work[Any], broken_file: Path, jobs: int | None) -> Partition:
    """Read, shuffle, judge; what was found in the export. ImportError without PySpark."""
    context = _context(jobs)
    try:
        lines = context.parallelize(work.chunks, max(1, len(work.chunks))).flatMap(
            partial(_lines, work.buckets, work.needs)
        )
        sorted_lines = lines.repartitionAndSortWithinPartitions(work.buckets + 2, lambda key: int(key[0]))
        shared = dict(sorted_lines.mapPartitionsWithIndex(partial(_shared, work.buckets)).collect())
        parts = sorted_lines.mapPartitionsWithIndex(partial(_parts, work.buckets)).collect()
        found = join_parts(work.buckets, parts, broken_file)
        files = Files(tuple(name for name in _names(work.chunks)), _before(work.chunks, found))
        known = context.broadcast(shared)
        sorted_lines.mapPartitionsWithIndex(partial(_judge, work, files, lambda: known.value)).sum()
        return found
    finally:
        context.stop()


def _context(jobs: int | None) -> SparkContext:
    """The context of `spark-submit`, else one of this machine."""
    from pyspark import SparkConf, SparkContext

    conf = SparkConf().setAppName("magnesium-cds").setIfMissing("spark.master", f"local[{jobs or '*'}]")
    conf.setIfMissing("spark.pyspark.python", sys.executable)
    conf.setIfMissing("spark.executorEnv.PYTHONPATH", ":".join(path for path in sys.path if path))
    conf.setIfMissing("spark.ui.enabled", "false")
    context = SparkContext.getOrCreate(conf)
    context.setLogLevel("ERROR")
    return context


# ---- on the executors ----------------------------------------------------------------------------------------------


def _lines(buckets: int, needs: Needs, chunk: Chunk) -> Iterator[tuple[_Key, Any]]:
    """The labelled lines of a part of a file, and last what was found in it."""
    part = Part()
    for bucket, label, content in read_labelled(chunk, buckets, part, needs):
        yield _Key(bucket, label.owner, label.file, label.part, label.line), (label.kind, label.references, content)
    yield _Key(buckets + 1, "", chunk.file, chunk.number, 0), part


def _shared(buckets: int, index: int, lines: Iterable[tuple[_Key, Any]]) -> Iterator[tuple[str, bytes]]:
    """Shared resources in the order of their places: of several with one name the last one counts."""
    return ((key[1], value[2]) for key, value in lines) if index == buckets else iter(())


def _parts(buckets: int, index: int, lines: Iterable[tuple[_Key, Any]]) -> Iterator[tuple[int, Part]]:
    return ((key[2], value) for key, value in lines) if index == buckets + 1 else iter(())


def _judge(
    work: Work[Any],
    files: Files,
    shared: Callable[[], dict[str, bytes]],
    index: int,
    lines: Iterable[tuple[_Key, Any]],
) -> Iterator[int]:
    """Judge the patients of one bucket, one after the other."""
    done = result_files(work.results, index)
    if index >= work.buckets or done[1].exists():
        return
    first = next(iter_lines := iter(lines), None)
    if first is None:
        return
    find = shared().get
    charts = (chart_of(owner, kept, find, files) for owner, kept in _patients(_with(first, iter_lines)))
    yield store_results(charts, work.judge, work.options, done)


def _with(first: tuple[_Key, Any], rest: Iterator[tuple[_Key, Any]]) -> Iterator[tuple[_Key, Any]]:
    yield first
    yield from rest


def _patients(lines: Iterable[tuple[_Key, Any]]) -> Iterator[tuple[str, list[Kept]]]:
    for owner, own in groupby(lines, key=lambda line: line[0][1]):
        yield owner, [Kept(Label(k[2], k[3], k[4], k[1], kind, refs), content) for k, (kind, refs, content) in own]


# ---- on the driver -------------------------------------------------------------------------------------------------


def _names(chunks: Sequence[Chunk]) -> Iterator[str]:
    return (chunk.path.name for chunk in chunks if chunk.number == 0)


def _before(chunks: Sequence[Chunk], found: Partition) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(found.lines[str(chunk.file)]) for chunk in chunks if chunk.number == 0)
