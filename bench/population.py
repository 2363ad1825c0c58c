"""Populations: `screen` and `backtest` as ratios to reading and to parsing every line of the same export, and as it grows.

The export is made up: each patient is a few resources as an EHR writes them, spread over files in the order of time, so
that no file is sorted by patient.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from time import perf_counter, process_time
from typing import Any

import msgspec
import orjson

from bench.report import Figure, judged, of_rounds
from service.cli.setup import for_worker
from service.decide import decide
from service.fhir.memory import Memory
from service.history.chart import History, history_of
from service.history.events import Event, Kind, chart_at, events
from service.history.phase import Timeframe
from service.history.source import Source
from service.population.export import Broken, Line, patient_of, read_head
from service.population.record import Chart
from service.population.setup import Configuration, Setup, prepared

Json = dict[str, Any]
LOINC, UCUM = "http://loinc.org", "http://unitsofmeasure.org"
_LABS = {"19123-9": ("Magnesium", "mg/dL", 1.0, 3.2), "2160-0": ("Creatinine", "mg/dL", 0.5, 4.0),
         "2823-3": ("Potassium", "mmol/L", 2.6, 5.8), "17861-6": ("Calcium", "mg/dL", 6.8, 10.9),
         "718-7": ("Hemoglobin", "g/dL", 7.0, 16.0), "2951-2": ("Sodium", "mmol/L", 125.0, 148.0)}  # fmt: skip
_DRUGS = {"4603": "furosemide", "7646": "omeprazole", "3407": "digoxin", "161": "acetaminophen", "6916": "metolazone"}
_DAILY = {"repeat": {"frequency": 1, "period": 1, "periodUnit": "d"}}
_CATEGORY = "http://terminology.hl7.org/CodeSystem/observation-category"
_RESULTS = 40  # of a patient


def write_export(folder: Path, patients: int) -> int:
    """An export of so many patients, two files of results; its size in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ("Patient", "Encounter", "Condition", "MedicationRequest", "Observation.0", "Observation.1")
    files = {kind: (folder / f"{kind}.ndjson").open("wb") for kind in kinds}
    for number in range(patients):
        for kind, made in _resources(f"p{number:07}"):
            if kind != "Observation":
                files[kind].write(msgspec.json.encode(made) + b"\n")
    for turn in range(_RESULTS):  # by time, not by patient
        for number in range(patients):
            made = _result(f"p{number:07}", turn)
            files[f"Observation.{turn % 2}"].write(msgspec.json.encode(made) + b"\n")
    for file in files.values():
        file.close()
    return sum(path.stat().st_size for path in folder.iterdir())


def _resources(ident: str) -> Iterator[tuple[str, Json]]:
    chance = Random(ident)
    whose = {"subject": {"reference": f"Patient/{ident}"}}
    yield "Patient", {
        "resourceType": "Patient", "id": ident, "gender": "female", "birthDate": f"{chance.randint(1930, 2005)}-04-01",
        "name": [{"family": "Made", "given": ["Up"]}], "address": [{"city": "Nowhere", "country": "XX"}],
    }  # fmt: skip
    stay = {"start": "2026-02-01T09:00:00Z", "end": "2026-02-05T12:00:00Z"}
    yield "Encounter", {
        "resourceType": "Encounter", "id": f"{ident}-e", "status": "finished", "class": {"code": "IMP"}, "period": stay,
    } | whose  # fmt: skip
    for number, code in enumerate(chance.sample(["I50.0", "N18.4", "E11.9", "K50.9", "J18.9"], 3)):
        coded = {"coding": [{"system": "http://hl7.org/fhir/sid/icd-10-cm", "code": code}]}
        yield "Condition", {
            "resourceType": "Condition", "id": f"{ident}-c{number}", "code": coded, "recordedDate": "2026-01-10",
            "clinicalStatus": {"coding": [{"code": "active"}]},
        } | whose  # fmt: skip
    for number, code in enumerate(chance.sample(sorted(_DRUGS), 4)):
        coding = {"system": "http://www.nlm.nih.gov/research/umls/rxnorm", "code": code, "display": _DRUGS[code]}
        yield "MedicationRequest", {
            "resourceType": "MedicationRequest", "id": f"{ident}-m{number}", "status": "active", "intent": "order",
            "medicationCodeableConcept": {"coding": [coding], "text": _DRUGS[code]},
            "authoredOn": "2026-02-02T10:00:00Z", "dosageInstruction": [{"text": "1 tablet daily", "timing": _DAILY}],
        } | whose  # fmt: skip


def _result(ident: str, turn: int) -> Json:
    chance = Random(f"{ident} {turn}")
    code = sorted(_LABS)[turn % len(_LABS)]
    name, unit, low, high = _LABS[code]
    return {
        "resourceType": "Observation", "id": f"{ident}-o{turn}", "status": "final",
        "meta": {"versionId": "1", "lastUpdated": "2026-02-05T12:00:00Z"},
        "category": [{"coding": [{"system": _CATEGORY, "code": "laboratory"}]}],
        "code": {"coding": [{"system": LOINC, "code": code, "display": name}], "text": name},
        "subject": {"reference": f"Patient/{ident}"}, "encounter": {"reference": f"Encounter/{ident}-e"},
        "effectiveDateTime": f"2026-02-0{1 + turn // 10}T{8 + turn % 10:02}:30:00Z",
        "issued": f"2026-02-0{1 + turn // 10}T{9 + turn % 10:02}:10:00Z",
        "valueQuantity": {"value": round(chance.uniform(low, high), 1), "unit": unit, "system": UCUM, "code": unit},
        "referenceRange": [{"low": {"value": low + 0.6, "unit": unit}, "high": {"value": high - 0.6, "unit": unit}}],
    }  # fmt: skip


# ---- what is measured ----------------------------------------------------------------------------------------------


def _cpu_of_children(command: list[str]) -> tuple[float, float, float]:
    """CPU seconds, seconds and the largest process in MB of a command and its children."""
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return cpu, perf_counter() - begun, after.ru_maxrss / 1024


def _timed(work: Callable[[Path], object], folder: Path) -> float:
    begun = resource.getrusage(resource.RUSAGE_SELF)
    for path in folder.iterdir():
        work(path)
    ended = resource.getrusage(resource.RUSAGE_SELF)
    return ended.ru_utime + ended.ru_stime - begun.ru_utime - begun.ru_stime


def _read(path: Path) -> None:
    with path.open("rb") as lines:
        for _ in lines:
            pass


def _parse(path: Path) -> None:
    with path.open("rb") as lines:
        for line in lines:
            orjson.loads(line)


def _command(job: str, export: Path, output: Path, jobs: int, *options: str) -> list[str]:
    base = [sys.executable, "-m", "service", job, str(export), "-o", str(output), "--restart", "--jobs", str(jobs)]
    return [*base, *options]


def measure(rounds: int, sizes: tuple[int, ...] = (2_000, 8_000)) -> Generator[Figure]:
    """Ratios at the first size, then how cost and memory grow to the last one."""
    with tempfile.TemporaryDirectory() as place:
        exports = {size: Path(place) / str(size) for size in sizes}
        megabytes = {size: write_export(export, size) / 1e6 for size, export in exports.items()}
        yield from _ratios(exports[sizes[0]], Path(place) / "out", sizes[0], megabytes[sizes[0]], max(1, rounds // 3))
        yield from _growth(exports, Path(place) / "out")
        yield from _two(exports[sizes[-1]], Path(place) / "out")


def _ratios(export: Path, output: Path, patients: int, megabytes: float, rounds: int) -> Iterator[Figure]:
    section = f"population: {patients} patients, {megabytes:.0f} MB, one process"
    as_of = ("--as-of", "2026-02-05T12:00:00Z")
    start = _cpu_of_children([sys.executable, "-m", "service", "--version"])[0]
    parse = [_timed(_parse, export) for _ in range(rounds)]
    screen = [_cpu_of_children(_command("screen", export, output, 1, *as_of)) for _ in range(rounds)]
    yield of_rounds(section, "reading every line", [_timed(_read, export) for _ in range(rounds)], "CPU s")
    yield of_rounds(section, "parsing every line (orjson)", parse, "CPU s")
    yield of_rounds(section, "screen", [cpu for cpu, *_ in screen], "CPU s")
    ratios = [(cpu - start) / base for (cpu, *_), base in zip(screen, parse, strict=True)]
    yield of_rounds(section, "screen / parsing", ratios, "x, without start-up", at_most=12)
    yield Figure(section, "screen", patients / (min(cpu for cpu, *_ in screen) - start), "patients a CPU second")
    cpu, _, memory = _cpu_of_children(_command("backtest", export, output, 1))
    events = msgspec.json.decode((output / "summary.json").read_bytes())["events"]
    yield Figure(section, "backtest, all events", cpu, "CPU s", note=f"{memory:.0f} MB")
    yield Figure(section, "backtest", events / (cpu - start), "events a CPU second")
    yield Figure(section, "backtest / parsing", (cpu - start) / min(parse), "x, without start-up")
    yield from _moments(section, export)


def _moments(section: str, export: Path) -> Iterator[Figure]:
    """What a further moment of a chart costs beside the first, which decodes and reads it: the last, fullest one."""
    setup = prepared(Configuration(for_worker))
    first, further, number = 0.0, 0.0, 0
    for chart in _charts(export, 200):
        history, memory = _history(chart, setup), Memory()
        *others, last = events(history, frozenset(Kind), setup.site.codes)
        begun = process_time()
        history = _history(chart, setup)
        _decide(history, last, memory, setup)
        between = process_time()
        for event in others:
            _decide(history, event, memory, setup)
        first, further, number = first + between - begun, further + process_time() - between, number + len(others)
    share = further / number / (first / 200)
    yield Figure(section, "a further moment", share, "x the first", goal="at most 0.33", verdict=judged(share <= 1 / 3))


def _history(chart: Chart, setup: Setup) -> History:
    return history_of(chart.patient, chart.own, chart.shared, Timeframe(setup.site.zone))


def _decide(history: History, event: Event, memory: Memory, setup: Setup) -> None:
    decide(replace(chart_at(history, event), memory=memory), setup.site, setup.how)


def _charts(export: Path, count: int) -> Iterator[Chart]:
    """The first patients of an export."""
    found: dict[str, list[Source]] = {f"p{number:07}": [] for number in range(count)}
    for path in sorted(export.iterdir()):
        for number, line in enumerate(path.read_bytes().splitlines()):
            head = read_head(Line(path.name, number, line))
            whose = "" if isinstance(head, Broken) else patient_of(head)
            if whose in found:
                found[whose].append(Source(f"{path.name}:{number}", line))
    for patient, own in found.items():
        yield Chart(patient, tuple(own), (), True)


def _two(export: Path, output: Path) -> Iterator[Figure]:
    """Two processes beside one: by the clock, which a busy machine spoils, and by CPU seconds, which it does not."""
    section = "population: two processes (screen)"
    as_of = ("--as-of", "2026-02-05T12:00:00Z")
    cpu_one, one, _ = _cpu_of_children(_command("screen", export, output, 1, *as_of))
    cpu_two, two, _ = _cpu_of_children(_command("screen", export, output, 2, *as_of))
    for name, gain in (("by the clock", one / two), ("by CPU seconds, if shared evenly", 2 * cpu_one / cpu_two)):
        yield Figure(section, name, gain, "x one", goal="at least 1.8", verdict=judged(gain >= 1.8))


def _growth(exports: dict[int, Path], output: Path) -> Iterator[Figure]:
    section = "population: as it grows (screen, one process)"
    costs = {}
    for size, export in exports.items():
        cpu, _, memory = _cpu_of_children(_command("screen", export, output, 1, "--as-of", "2026-02-05T12:00:00Z"))
        costs[size] = cpu / size
        yield Figure(
            section, f"{size} patients", 1000 * cpu / size, "ms CPU a patient", note=f"{memory:.0f} MB at most"
        )
    first, last = min(costs), max(costs)
    yield Figure(
        section,
        f"{last} against {first}",
        costs[last] / costs[first],
        "x cost a patient",
        goal="at most 1.1",
        verdict=judged(costs[last] <= 1.1 * costs[first]),
    )
