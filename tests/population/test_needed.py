"""Lines that cannot change a finding are passed over before they are read; whatever might be needed is not."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from service.cli.setup import for_worker
from service.population.export import Line, read_head
from service.population.screening import is_needed
from service.population.setup import Configuration
from tests.population.records import AS_OF, Json, lab, low_magnesium, write_export

CONFIGURATION = Configuration(for_worker)
SODIUM = {"coding": [{"system": "http://loinc.org", "code": "2951-2", "display": "Sodium"}]}


def sodium(**members: Any) -> Json:
    return lab("na", "p1", "2823-3", 140) | {"code": SODIUM} | members


def needed(content: bytes) -> bool:
    head = read_head(Line("export.ndjson", 1, content))
    return is_needed(CONFIGURATION, head, content)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("resource", "wanted"),
    [
        (sodium(), False),
        (sodium(code={"text": "Hemoglobin"}), False),
        (sodium(code={"text": "Magnesium, serum"}), True),
        (lab("k", "p1", "2823-3", 4), True),
        (sodium(component=[{"code": {"text": "Magnesium, serum"}}]), True),
        (sodium(hasMember=[{"reference": "Observation/mg"}]), True),
        (sodium(contained=[lab("mg", "p1", "2601-3", 0.5)]), True),
        (sodium(status="corrected"), True),  # the earlier version may have been a magnesium
        (sodium(status="entered-in-error"), True),
        (sodium(code=None), True),
        (sodium(resourceType="Condition"), True),
    ],
)
def test_a_result_is_needed_if_it_or_anything_within_it_may_mean_something(resource: Json, wanted: bool) -> None:
    assert needed(msgspec.json.encode(resource)) is wanted


@pytest.mark.parametrize("name", ['"code"', '"code" ', '"c\\u006fde"'])
def test_a_result_with_two_codes_is_kept_for_the_reader_to_refuse(name: str) -> None:
    told = msgspec.json.encode(sodium())
    twice = b"{" + name.encode() + b':{"coding":[{"system":"http://loinc.org","code":"2601-3"}]},' + told[1:]
    assert needed(twice)


def test_what_is_passed_over_changes_no_finding_and_loses_no_patient(run: Any, tmp_path: Path) -> None:
    chart, others = low_magnesium("p1"), [sodium(id=f"na{number}") for number in range(40)]
    stranger = lab("na", "p2", "2823-3", 140) | {"code": SODIUM}  # all that tells of a patient
    found = {}
    for name, resources in (("without", [*chart]), ("with", [*chart, *others, stranger])):
        folder = write_export(tmp_path / name, resources)
        asked = run("screen", folder, "-o", tmp_path / f"{name}-out", "--as-of", AS_OF, "--jobs", 1)
        assert asked.exit_code == 0, asked.stderr
        told = msgspec.json.decode((tmp_path / f"{name}-out" / "summary.json").read_bytes())
        found[name] = (tmp_path / f"{name}-out" / "findings.ndjson").read_bytes()
        assert told["resources"]["Observation"] == sum(each["resourceType"] == "Observation" for each in resources)
    mine = [line for line in found["with"].splitlines(keepends=True) if b"Patient/p1" in line]
    assert b"".join(mine) == found["without"]
    assert told["patients"] == 2
