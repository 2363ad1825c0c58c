"""Two runs of one export side by side: cards that only one of them showed, by patient, event and what leads the card.

The earlier run may be of another version of the program or of the knowledge: all that is read of it is what it wrote,
`manifest.json`, `summary.json` and `cards.ndjson`. Of each of its cards only the place in the file is held.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

import msgspec

from service.population import journal
from service.population.journal import Asked, Input

Json = dict[str, Any]
CARDS, SUMMARY = "cards.ndjson", "summary.json"
_SAME: Final = ("events", "repeatGuard", "range")  # what must have been asked alike, or the difference says nothing
_TOLD: Final = ("events", "failedRules", "burden", "sensitivity", "practice")  # of the earlier summary
_WHERE: Final = ("patient", "at", "event", "hook", "encounter", "drafts")


class _Place(NamedTuple):
    """An event of a patient, however its time is written."""

    patient: str
    at: float
    event: str
    hook: str
    encounter: str


def incomparable(folder: Path, asked: Asked, inputs: Iterable[Input]) -> list[str]:
    """Why a run cannot be put beside an earlier one in `folder`, in words; empty if it can."""
    try:
        earlier = journal.read(folder)
    except msgspec.MsgspecError as error:
        return [f"manifest.json: {error}"]
    if earlier is None or not earlier.finished or not all((folder / name).exists() for name in (CARDS, SUMMARY)):
        return ["holds no finished back-test"]
    theirs_and_ours = ((name, earlier.asked.get(name), asked[name]) for name in _SAME)
    other = [f"{name}: was {was}, is {now}" for name, was, now in theirs_and_ours if was != now]
    files, theirs = {each.name: each.size for each in inputs}, {each.name: each.size for each in earlier.inputs}
    return other if files == theirs else [*other, "was of another export"]


@dataclass(slots=True)
class Beside:
    """The differences, counted by what leads a card, with the first example of each."""

    changes: dict[str, Json] = field(default_factory=dict)

    def count(self, which: str, row: Json) -> None:
        """A card that was gained or lost since the earlier run."""
        line = self.changes.setdefault(row["kind"], {"gained": 0, "lost": 0, "examples": {}})
        line[which] += 1
        card = {name: row.get(name) for name in ("indicator", "summary", "detail")}
        line["examples"].setdefault(which, {"order": [row["patient"], row["at"]], "event": row["event"], "card": card})


def compare(ours: Path, earlier: Path, changes: IO[bytes]) -> Beside:
    """Each event at which the cards differ goes to `changes`, with those that were and those that are."""
    found = Beside()
    with (earlier / CARDS).open("rb") as theirs:
        index = _index(theirs)
        for place, rows in _by_event(ours / CARDS):
            was = [_row(theirs, offset) for offset in index.pop(place, ())]
            _note(was, rows, found, changes)
        for offsets in index.values():
            _note([_row(theirs, offset) for offset in offsets], [], found, changes)
    return found


def as_told(folder: Path, found: Beside) -> Json:
    """The earlier run as the summary and the report tell of it, without its examples."""
    told = msgspec.json.decode((folder / SUMMARY).read_bytes())
    kept = {name: told[name] for name in _TOLD if name in told}
    kept["burden"] = {name: value for name, value in kept.get("burden", {}).items() if name != "frequent"}
    whose = {"earlier": True, "program": told.get("program", ""), "knowledge": told.get("knowledge", "")}
    return whose | kept | {"changes": dict(sorted(found.changes.items()))}


# ---- rows ----------------------------------------------------------------------------------------------------------


def _index(file: IO[bytes]) -> dict[_Place, list[int]]:
    """Where the cards of each event stand."""
    index: dict[_Place, list[int]] = {}
    offset = 0
    for line in file:
        index.setdefault(_place(msgspec.json.decode(line)), []).append(offset)
        offset += len(line)
    return index


def _row(file: IO[bytes], offset: int) -> Json:
    file.seek(offset)
    row: Json = msgspec.json.decode(file.readline())
    return row


def _by_event(path: Path) -> Iterator[tuple[_Place, list[Json]]]:
    """The cards of each event, which stand one after the other."""
    place, rows = None, list[Json]()
    with path.open("rb") as lines:
        for line in lines:
            row = msgspec.json.decode(line)
            if (here := _place(row)) != place and place is not None:
                yield place, rows
                rows = []
            place = here
            rows.append(row)
    if place is not None:
        yield place, rows


def _place(row: Mapping[str, Any]) -> _Place:
    moment = datetime.fromisoformat(row["at"]).timestamp()
    return _Place(row["patient"], moment, row["event"], row["hook"], row.get("encounter", ""))


def _note(was: list[Json], now: list[Json], found: Beside, changes: IO[bytes]) -> None:
    before, after = ({(row["kind"], row["indicator"]): row for row in rows} for rows in (was, now))
    for which, cards, others in (("gained", after, before), ("lost", before, after)):
        for name in cards:
            if name not in others:
                found.count(which, cards[name])
    if [_gist(row) for row in was] != [_gist(row) for row in now]:
        where = {name: value for name, value in (was or now)[0].items() if name in _WHERE}
        changes.write(msgspec.json.encode(where | {"was": was, "is": now}) + b"\n")


def _gist(row: Mapping[str, Any]) -> tuple[object, ...]:
    return row["indicator"], row["findings"]
