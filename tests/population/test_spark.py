"""Apache Spark on two threads of this machine: the same bytes as the built-in engine, broken lines and all."""

import shutil
from datetime import datetime
from importlib.util import find_spec

import msgspec
import pytest

from service.cli.setup import for_worker
from service.logic.model import Hook
from service.population import spark
from service.population.export import chunks_of
from service.population.screening import Options, screen
from service.population.setup import Configuration
from tests.population.records import AS_OF, anybody, medication, request_by_reference, write_export

pytestmark = pytest.mark.skipif(
    find_spec("pyspark") is None or shutil.which("java") is None,
    reason="no PySpark or no Java here: the Spark engine was NOT run (pip install 'magnesium-cds[spark]')",
)


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    """Sixty patients in no order, some with a shared product, with broken lines and a compressed file."""
    charts = [resource for number in range(60) for resource in anybody(f"p{number}")]
    charts += [request_by_reference(f"s{number}", f"p{number}", "Medication/furo") for number in range(5)]
    folder = write_export(
        tmp_path_factory.mktemp("spark") / "export", [*charts, medication("furo", "4603")], compressed=("Condition",)
    )
    observations = folder / "Observation.000.ndjson"
    observations.write_bytes(b"{\n" + observations.read_bytes() + b'\n{"resourceType": "Observation"}\n42\n')
    return folder


def test_screen_gives_the_same_bytes(run, export, tmp_path):
    for engine in ("local", "spark"):
        asked = ("--as-of", AS_OF, "--engine", engine, "--jobs", 2)
        done = run("screen", export, "-o", tmp_path / engine, *asked)
        assert done.exit_code == 0, done.stderr
    for name in ("findings.ndjson", "summary.json", "broken.ndjson"):
        assert (tmp_path / "spark" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name
    assert len((tmp_path / "spark" / "broken.ndjson").read_bytes().splitlines()) == 3
    assert not (tmp_path / "spark" / "work").exists()


def test_backtest_gives_the_same_bytes_from_an_address_too(run, export, tmp_path):
    pytest.importorskip("upath", reason="no universal-pathlib: addresses of object stores were NOT tried")
    for engine, address in (("local", export), ("spark", f"file://{export}")):
        done = run("backtest", address, "-o", tmp_path / engine, "--engine", engine, "--jobs", 2)
        assert done.exit_code == 0, done.stderr
    for name in ("cards.ndjson", "summary.json", "report.html", "broken.ndjson"):
        assert (tmp_path / "spark" / name).read_bytes() == (tmp_path / "local" / name).read_bytes(), name


def test_a_bucket_that_is_done_is_not_judged_again(export, tmp_path):
    options = Options(datetime.fromisoformat(AS_OF), Hook.PATIENT_VIEW, Configuration(for_worker))
    work = spark.Work(chunks_of(sorted(export.iterdir())), 32, tmp_path, screen, options)
    found = spark.run(work, tmp_path / "broken", 2)
    first = {path.name: path.read_bytes() for path in tmp_path.glob("*.ndjson")}
    one, *others = sorted(tmp_path.glob("*.ndjson"))
    one.write_bytes(b"kept")
    for other in others:
        other.with_suffix(".json").unlink()
    assert spark.run(work, tmp_path / "broken", 2) == found
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.ndjson")} == first | {one.name: b"kept"}
    assert msgspec.json.decode(one.with_suffix(".json").read_bytes())["patients"] > 0
