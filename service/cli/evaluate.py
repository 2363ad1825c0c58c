"""`evaluate`: one Bundle, judged as the service judges it, as a report for the terminal or as JSON."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path

import click
import msgspec

from service.cli.report import report
from service.cli.setup import Setup, judging_options, language_option, moment, prepare, site_option
from service.decide import Decision, decide
from service.errors import BadRequest
from service.evaluation_json import explain, timeline_of
from service.fhir.decode import BundleContents, Resource, read_bundle
from service.fhir.ownership import EvaluationInput, sole_patient
from service.history.source import sources_in
from service.logic.message import Message
from service.logic.model import DataIssue, Hook
from service.replay.spoken import spoken

_ENCODER = msgspec.json.Encoder(decimal_format="number")
_BOM = b"\xef\xbb\xbf"


@click.command()
@click.argument("file", type=click.Path(allow_dash=True))
@judging_options
@language_option
@click.option("--patient", default="", help="Id of the patient, if the Bundle holds several.")
@click.option("--drafts", type=click.Path(), help="Bundle of draft orders, for the order hooks.")
@click.option("--json", "as_json", is_flag=True, help="The answer of POST /v1/evaluate instead of the report.")
@click.option("--timeline", type=click.Path(path_type=Path, dir_okay=False), help="Draw the patient there, as SVG.")
@site_option
def evaluate(
    file: str,
    hook: str,
    as_of: str | None,
    profile: str,
    research: bool,
    language: str | None,
    patient: str,
    drafts: str | None,
    as_json: bool,
    timeline: Path | None,
    site: Path | None,
) -> None:
    """Judge the FHIR Bundle in FILE (- for standard input) and say what was found, on what, and what is missing.

    Exit status: 0 if the Bundle was judged, whatever was found; 1 if it cannot be read; 2 for a wrong option.
    """
    setup = prepare(site, language, profile, research)
    at = moment(as_of, setup.site)
    raw = _bytes(file)
    orders = _bundle(_bytes(drafts), drafts).resources if drafts else []
    chart = _chart(_bundle(raw, file), orders, patient, Hook(hook), at)
    decision = decide(chart, setup.site, setup.how, explain=True)
    if timeline:
        _draw(decision, raw, chart, setup, timeline)
    _answer(decision, setup, as_json)


def _draw(decision: Decision, raw: bytes, chart: EvaluationInput, setup: Setup, target: Path) -> None:
    before = spoken(sources_in(raw), chart.patient_id, chart.as_of, setup.site, setup.how)
    picture = timeline_of(decision, setup.how, before.cards, before.since)
    try:
        target.write_text(picture.alone, encoding="utf-8")
    except OSError as error:
        raise click.ClickException(f"{target}: {error.strerror or 'cannot be written'}") from error


def _answer(decision: Decision, setup: Setup, as_json: bool) -> None:
    body = explain(decision, setup.site.knowledge, setup.how)
    if as_json:
        click.echo(msgspec.json.format(_ENCODER.encode(body), indent=2))
    else:
        click.echo(report(body))


def _chart(sheaf: BundleContents, drafts: list[Resource], patient: str, hook: Hook, as_of: datetime) -> EvaluationInput:
    found = patient.removeprefix("Patient/") or sole_patient(sheaf.resources)
    if found is None:
        raise click.ClickException("the Bundle holds several patients: name one with --patient")
    return EvaluationInput(
        patient_id=found,
        as_of=as_of,
        hook=hook,
        resources=tuple(sheaf.resources),
        drafts=tuple(drafts),
        issues=tuple(DataIssue(place, Message("Not a FHIR resource: not read.")) for place in sheaf.invalid_entries),
    )


def _bundle(raw: bytes, file: str) -> BundleContents:
    """The resources of a Bundle, or a lone resource; ClickException if it is neither."""
    name = "standard input" if file == "-" else file
    try:
        raw.decode("utf-8")
        sheaf = read_bundle(raw)
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{name}: not UTF-8 (byte {error.start})") from error
    except BadRequest as error:
        raise click.ClickException(f"{name}: {error}{_reason(error)}") from error
    if not sheaf.is_bundle and not sheaf.resources and not sheaf.outcomes:
        raise click.ClickException(f"{name}: a FHIR Bundle, a resource or an array of resources is expected")
    if sheaf.outcomes and not sheaf.resources:
        raise click.ClickException(f"{name}: an OperationOutcome came instead of data: reading it had failed")
    return sheaf


def _bytes(file: str) -> bytes:
    if file == "-":
        return sys.stdin.buffer.read().removeprefix(_BOM)
    try:
        return Path(file).read_bytes().removeprefix(_BOM)
    except OSError as error:
        raise click.ClickException(f"{file}: {error.strerror or 'cannot be read'}") from error


def _reason(error: BadRequest) -> str:
    """What the parser said, if it did: it names a byte, never content."""
    return f" ({error.__cause__})" if isinstance(error.__cause__, msgspec.DecodeError) else ""
