"""One patient -> findings, by the path of every other call; and one bucket -> a result file, patient by patient."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import msgspec

from service.api.explain import explain
from service.cli.screening.export import head_of, shared_name, shared_references
from service.cli.screening.outcome import Tally, count, result_files, take
from service.cli.screening.partition import Kept, bucket_file, find_shared, open_shared, patients_in
from service.cli.setup import Setup, prepare
from service.decide import Decision, decide
from service.fhir.decode import Resource, read_bundle
from service.fhir.ownership import EvaluationInput
from service.logic.model import Hook

ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_DEEPEST: Final = 3  # a product, a mixture, a part: as far as the reader of medications follows
_TOLD: Final = ("rule", "name", "outcome", "gate", "result", "indicator", "shown", "values")

Json = dict[str, Any]
Find = Callable[[str], bytes | None]


@dataclass(frozen=True, slots=True)
class Options:
    """What is asked of every patient; can be sent to another process."""

    as_of: datetime
    hook: Hook
    site: Path | None = None
    profile: str = ""
    research: bool = False


@lru_cache(maxsize=1)
def prepared(options: Options) -> Setup:
    """The site's decisions, read once in a process."""
    return prepare(options.site, None, options.profile, options.research)


# ---- one patient ----------------------------------------------------------------------------------------------------


def screen_patient(patient: str, resources: Iterable[Resource], options: Options, setup: Setup) -> Decision:
    """Judge one patient at one moment. No files, no batch: whoever has the resources can call it."""
    chart = EvaluationInput(patient_id=patient, as_of=options.as_of, hook=options.hook, resources=tuple(resources))
    return decide(chart, setup.site, setup.how)


def rows_of(body: Json) -> Iterator[Json]:
    """The findings of an answer of `explain`, those withheld too, without sentences."""
    for finding in body["findings"]:
        if finding["outcome"] in {"finding", "withheld"}:
            told = {name: finding[name] for name in _TOLD if name in finding}
            evidence = [item["reference"] for item in finding.get("evidence", ())]
            yield {"patient": body["patient"], "asOf": body["asOf"]} | told | {"evidence": evidence}


# ---- one bucket -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Task:
    """A bucket to judge, and where it lies; can be sent to another process."""

    number: int
    spill: Path
    results: Path
    files: tuple[str, ...]
    options: Options


def screen_bucket(task: Task) -> int:
    """Judge the patients of a bucket and store the result, whole or not at all; the number of patients."""
    setup = prepared(task.options)
    tally = Tally()
    rows_file, tally_file = result_files(task.results, task.number)
    draft = rows_file.with_suffix(".draft")
    with closing(open_shared(task.spill)) as index, draft.open("wb") as out:
        find = lru_cache(maxsize=2000)(lambda name: find_shared(name, index))
        for patient, lines in patients_in(bucket_file(task.spill, task.number)):
            rows = _screened(patient, lines, find, task, setup, tally)
            out.writelines(ENCODER.encode(row) + b"\n" for row in rows)
    draft.replace(rows_file)
    draft.write_bytes(msgspec.json.encode(tally))
    draft.replace(tally_file)
    return tally.patients


def _screened(patient: str, lines: list[Kept], find: Find, task: Task, setup: Setup, tally: Tally) -> list[Json]:
    """The rows of one patient; a fault of ours costs this patient and is counted, not the whole screening."""
    tally.patients += 1
    tally.without_patient_resource += all(line.head.resource_type != "Patient" for line in lines)
    try:
        decision = screen_patient(patient, _resources(patient, lines, find, task.files), task.options, setup)
        body = explain(decision, setup.site.knowledge, setup.how)
    except Exception as error:  # noqa: BLE001  hours of work must not be lost to one chart
        count(tally.not_judged, type(error).__name__)
        return [{"patient": f"Patient/{patient}", "asOf": task.options.as_of, "outcome": "not-judged"}]
    take(body, decision.assessment.patient.issues, tally)
    return list(rows_of(body))


def _resources(patient: str, lines: list[Kept], find: Find, files: tuple[str, ...]) -> Iterator[Resource]:
    """The patient's own resources, then the shared ones that they refer to."""
    for line in lines:
        where = f"urn:uuid:{patient}" if line.head.resource_type == "Patient" else _quoted(line.place, files)
        yield from read_bundle(line.content, where).resources
    references = (reference for line in lines for reference in shared_references(line.head))
    for reference, content in _shared(list(dict.fromkeys(references)), find):
        yield from read_bundle(content, reference).resources


def _quoted(place: str, files: tuple[str, ...]) -> str:
    file, _, line = place.partition(":")
    return f"{files[int(file)]}:{line}"


def _shared(references: list[str], find: Find) -> Iterator[tuple[str, bytes]]:
    """Shared resources, and those of which they are made."""
    seen: set[str] = set()
    for _ in range(_DEEPEST):
        ahead: list[str] = []
        for reference in references:
            content = find(shared_name(reference)) if reference not in seen else None
            seen.add(reference)
            if content is not None:
                yield reference, content
                ahead += shared_references(head_of(content))
        references = ahead
