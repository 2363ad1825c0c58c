"""`call` against a service in production mode, and against what else may answer: what it says and how it ends."""

import subprocess
from contextlib import closing
from pathlib import Path
from socket import socket
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from time import sleep

import msgspec
import pytest
from click.testing import CliRunner

from service.__main__ import main
from service.cds.services import SERVICES
from service.samples import samples
from tests.cli.test_serve import COMMAND, answer, environment
from tests.fhir.servers import drip, nobody, raw, reply, serving, silence, then_close, unconnectable
from tests.fhir.test_client import certificate

__all__ = ["certificate"]

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "order-sign.json"
SILENT = {"normal-magnesium"}  # whose right answer is no card


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """Folder and base URL of a service in production mode; `trial.key` signs for it, `strange.key` does not."""
    folder = tmp_path_factory.mktemp("house")
    with closing(socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    for name, file in (("trial", "site.toml"), ("strange", "strange.toml")):
        done = CliRunner().invoke(main, ["token", "keys", f"{folder}/{name}.key", "--name", name, "--url", base])
        (folder / file).write_text(done.stdout)
    env = environment(
        folder, MAGNESIUM_CDS_MODE="production", MAGNESIUM_CDS_SITE=str(folder / "site.toml"), PORT=str(port)
    )
    with (
        (folder / "log").open("w") as log,
        subprocess.Popen(COMMAND, env=env, stdout=log, stderr=subprocess.PIPE, text=True) as process,
    ):
        answer(port, process)
        yield folder, base
        process.terminate()


@pytest.fixture
def call(run, house):
    """`call` with the key of the house."""
    folder, base = house

    def go(*options, url=base, key="trial"):
        return run("call", url, *(("--key", folder / f"{key}.key") if key else ()), *options)

    return go


# ---- answered -------------------------------------------------------------------------------------------------------


def test_the_card_is_shown_as_a_clinician_reads_it(call):
    result = call()
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith("CARD · WARNING · Low Mg 1.5 mg/dL")
    assert "    - Consider intravenous magnesium" in result.stdout
    assert "    To override: " in result.stdout
    assert "**" not in result.stdout
    assert result.stderr.startswith("Answered in ")


@pytest.mark.parametrize("name", [name for name in samples() if name != "magnesium-not-available"])
def test_every_sample_is_answered_in_production_mode(call, name):
    result = call("--sample", name, "--json")
    assert result.exit_code == 0, result.stderr
    assert bool(msgspec.json.decode(result.stdout)["cards"]) is (name not in SILENT)


@pytest.mark.parametrize("service", [service.id for service in SERVICES])
def test_a_service_is_called_with_a_sample_of_its_own(call, house, service):
    assert call("--service", service).exit_code == 0
    assert call(url=f"{house[1]}/cds-services/{service}/").exit_code == 0


def test_no_card_is_said(call):
    assert call("--sample", "normal-magnesium").stdout == "No card.\n"


def test_a_request_of_ones_own_goes_out_as_it_is(call, tmp_path):
    file = tmp_path / "request.json"
    file.write_bytes(EXAMPLE.read_bytes())
    assert "IV magnesium ordered" in call("--request", file).stdout
    file.write_text('{"hook": "patient-view", "context": {}}')
    wrong = call("--request", file)
    assert (wrong.exit_code, wrong.stdout) == (1, "")
    assert "$.hookInstance: hookInstance is required" in wrong.stderr


@pytest.mark.parametrize("content", ["[]", "{", '{"hook": "no-such"}'])
def test_a_file_that_is_no_request_is_not_sent(call, tmp_path, content):
    (tmp_path / "request.json").write_text(content)
    assert call("--request", tmp_path / "request.json", url="http://127.0.0.1:1").exit_code in {1, 2}


def test_language_is_asked_for(call):
    assert "Mg" in call("--language", "ru").stdout
    assert call("--language", "ru").stdout != call().stdout


def test_what_became_of_cards_is_reported(call):
    assert '{"accepted":1,"duplicates":0,"unknownCards":0}' in call("--feedback", "overridden").stderr
    accepted = call("--sample", "test-selected", "--feedback", "accepted")
    assert (accepted.exit_code, '"accepted":1' in accepted.stderr) == (0, True), accepted.stderr
    nothing = call("--sample", "normal-magnesium", "--feedback", "accepted")
    assert (nothing.exit_code, "No card that can be reported so." in nothing.stderr) == (1, True)


# ---- refused by the service -----------------------------------------------------------------------------------------


def reason(house, stderr):
    """The reason in the service's log for the request whose id was told."""
    number = stderr.rpartition("request_id ")[2].strip()
    for _ in range(100):  # lines are written a moment later
        lines = [msgspec.json.decode(line) for line in (house[0] / "log").read_text().splitlines() if number in line]
        if found := [line["reason"] for line in lines if line["event"] == "refused"]:
            return found[0]
        sleep(0.05)
    raise AssertionError(f"nothing about {number} in the log")


UNPROVED = {
    "another host": ({"url": "localhost"}, "aud names another place"),
    "an unknown issuer": ({"key": "strange"}, "iss is unknown"),
    "another key": ({"key": "strange", "iss": "urn:magnesium-cds:client:trial"}, "no such key of trial is known"),
}


@pytest.mark.parametrize(("how", "why"), UNPROVED.values(), ids=UNPROVED.keys())
def test_a_refused_token_is_explained_as_the_log_does(call, house, how, why):
    folder, base = house
    url = base.replace("127.0.0.1", how.get("url", "127.0.0.1"))
    options = ("--iss", how["iss"]) if "iss" in how else ()
    result = call("--site", folder / "site.toml", *options, url=url, key=how.get("key", "trial"))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"By this file the reason is: {why}" in result.stderr
    assert reason(house, result.stderr) == why


def test_without_the_site_file_it_says_where_the_reason_stands(call):
    result = call(key="strange")
    assert "401 " in result.stderr
    assert "field `reason`" in result.stderr
    assert "request_id " in result.stderr
    assert "iss urn:magnesium-cds:client:strange" in result.stderr


def test_the_wrong_site_file_is_told_from_a_wrong_token(call, house):
    folder, _ = house
    assert "token is good" in call("--site", folder / "strange.toml", key="strange").stderr


def test_a_token_is_named_for_the_public_address_where_another_is_called(call, house):
    _, base = house
    assert call("--audience", base, url=base.replace("127.0.0.1", "localhost")).exit_code == 0


def test_a_call_without_a_token_is_told_how_to_get_one(call):
    result = call(key=None)
    assert (result.exit_code, "token keys" in result.stderr) == (1, True)


def test_the_missing_keys_are_named(call):
    result = call("--sample", "magnesium-not-available")
    assert result.exit_code == 1
    assert "412 " in result.stderr
    assert "$.prefetch.magnesium: " in result.stderr


def test_services_are_listed_where_there_is_none_of_the_name(call):
    result = call("--service", "magnesium-view")
    assert result.exit_code == 1
    assert all(service.id in result.stderr for service in SERVICES)


# ---- answered by something else, or by nobody -----------------------------------------------------------------------

PAGE = {"content-type": "text/html"}
HTML = b"<html><head><title>502 Bad Gateway</title></head></html>"
OUTCOME = b'{"resourceType":"OperationOutcome","issue":[{"severity":"error","code":"x","details":{"text":"Later."}}]}'
STRANGE = {
    "a proxy": (reply(HTML, 502, **PAGE, Server="nginx"), ['text/html "502 Bad Gateway"', "nginx"]),
    "a proxy that says all is well": (reply(HTML, 200, **PAGE), ["Not an answer of this service"]),
    "an array": (reply(b"[]"), ["Not an answer of this service"]),
    "cards of a wrong kind": (reply(b'{"cards": null}'), ["Not an answer of this service"]),
    "a redirect": (reply(b"", 308, Location="https://cds.example/"), ["redirects to https://cds.example/: give"]),
    "too many": (reply(OUTCOME, 429, Retry_After="7"), ["Later.", "after 7 s"]),
    "too busy": (reply(OUTCOME, 503, Retry_After="5"), ["Later.", "after 5 s"]),
    "another server": (reply(HTML, 404, **PAGE), ["Nor is there discovery"]),
    "a colour that steers the terminal": (reply(b"<title>\x1b[31m</title>", 500), ['" [31m"']),
    "no HTTP": (raw(b"SSH-2.0-x\r\n"), ["broke off"]),
    "nothing": (silence, ["no answer within 0.5 s"]),
    "a drip": (drip(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n" + b" " * 900), ["no answer within 0.5 s"]),
    "half an answer": (then_close(raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{")), ["broke off"]),
}


@pytest.mark.parametrize(("server", "said"), STRANGE.values(), ids=STRANGE.keys())
def test_what_else_answers_is_told_apart(run, server, said):
    with serving(server) as there:
        result = run("call", there.base, "--timeout", "0.5")
    assert (result.exit_code, result.stdout) == (1, "")
    assert [words for words in said if words not in result.stderr] == []
    assert "\x1b" not in result.stderr


def test_nobody_there(run):
    with nobody() as base:
        assert "nothing listens there" in run("call", base).stderr
    with unconnectable() as base:
        assert "no connection within 0.3 s" in run("call", base, "--timeout", "0.3").stderr
    assert "no such host" in run("call", "https://cds.invalid").stderr


def test_an_untrusted_certificate_is_called_so_and_can_be_trusted(run, certificate):
    tls = SSLContext(PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with serving(reply(b'{"cards": []}'), tls) as there:
        result = run("call", there.base)
        assert (result.exit_code, "certificate" in result.stderr, "--ca" in result.stderr) == (1, True, True)
        assert run("call", there.base, "--ca", certificate).stdout == "No card.\n"


@pytest.mark.parametrize("url", ["cds.example", "ftp://cds.example", "https://"])
def test_an_address_that_is_none_is_a_wrong_option(run, url):
    assert run("call", url).exit_code == 2
