"""`token`: the key is its owner's alone, the site file admits its tokens, and no private part is ever printed."""

import os
import stat
import tomllib
from datetime import UTC, datetime

import msgspec
import pytest

from service.net.jwks import read_keys
from service.settings import file as site_file
from service.site import site_schema
from service.token_checks import check_token, read_token, verified

PATH = "/cds-services/magnesium-patient-view"


def made(run, folder, *options):
    """The key file of a new key, and the text for the site file."""
    result = run("token", "keys", folder / "a.key", *options)
    assert result.exit_code == 0, result.stderr
    return folder / "a.key", result.stdout


@pytest.mark.parametrize("algorithm", ["ES384", "RS384"])
def test_a_site_file_as_printed_admits_the_tokens_of_the_key(run, tmp_path, algorithm):
    key, text = made(run, tmp_path, "--url", "https://cds.example/mg", "--algorithm", algorithm)
    (tmp_path / "site.toml").write_text(text)
    site, problems = site_file.read(tmp_path / "site.toml", site_schema(), production=True)
    assert problems == []

    signed = run("token", "sign", "https://cds.example/mg" + PATH, "--key", key).stdout
    token = read_token("Bearer " + signed.strip())
    tenant = check_token(token, site.tenant, site.service.public_urls, PATH, datetime.now(UTC))
    assert (tenant.name, token.header.alg) == ("trial", algorithm)
    assert verified(token, read_keys(tenant.jwks_file.read_bytes())[token.header.kid])


def test_the_private_key_is_for_its_owner_and_in_one_file_only(run, tmp_path):
    old = os.umask(0)
    try:
        key, text = made(run, tmp_path)
    finally:
        os.umask(old)
    secret = msgspec.json.decode(key.read_bytes())["d"]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    signed = run("token", "sign", "https://a.example", "--key", key)
    printed = text + signed.stdout + signed.stderr + (tmp_path / "a.jwks.json").read_text()
    assert secret not in printed
    (public,) = msgspec.json.decode((tmp_path / "a.jwks.json").read_bytes())["keys"]
    assert public.keys() == {"kty", "crv", "x", "y", "kid", "alg", "use"}


def test_no_key_is_written_over(run, tmp_path):
    key, _ = made(run, tmp_path)
    before = key.read_bytes()
    again = run("token", "keys", key)
    assert (again.exit_code, again.stdout) == (1, "")
    assert "exists; no key was made" in again.stderr
    (tmp_path / "a.jwks.json").unlink()
    again = run("token", "keys", key)
    assert (again.exit_code, key.read_bytes()) == (1, before)
    assert "File exists" in again.stderr
    assert not (tmp_path / "a.jwks.json").exists()


def test_what_is_asked_for_stands_in_the_token_and_only_the_token_on_standard_output(run, tmp_path):
    key, _ = made(run, tmp_path, "--name", "ward", "--iss", "https://ehr.example")
    options = ("--seconds", 60, "--tenant", "north", "--sub", "tester")
    result = run("token", "sign", "https://cds.example/x", "--key", key, *options)
    claims = msgspec.json.decode(read_token(f"Bearer {result.stdout.strip()}").signed.payload)
    assert result.stdout.count("\n") == 1
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - datetime.now(UTC).timestamp()) < 30
    assert {name: claims[name] for name in ("iss", "aud", "tenant", "sub")} == {
        "iss": "https://ehr.example",
        "aud": "https://cds.example/x",
        "tenant": "north",
        "sub": "tester",
    }
    other = run("token", "sign", "https://cds.example/x", "--key", key, "--iss", "urn:b")
    told = msgspec.json.decode(read_token(f"Bearer {other.stdout.strip()}").signed.payload)
    assert (told["iss"], told.keys()) == ("urn:b", {"iss", "aud", "iat", "exp", "jti"})
    assert told["jti"] != claims["jti"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nonsense", "no private key"),
        ("{}", "no private key"),
        ('{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0","kid":"1"}', "not a priv"),
    ],
)
def test_a_file_that_is_no_key_is_said_to_be_none(run, tmp_path, content, said):
    (tmp_path / "a.key").write_text(content)
    result = run("token", "sign", "https://a.example", "--key", tmp_path / "a.key")
    assert (result.exit_code, result.stdout) == (1, "")
    assert said in result.stderr


def test_a_public_key_signs_nothing(run, tmp_path):
    made(run, tmp_path)
    (public,) = msgspec.json.decode((tmp_path / "a.jwks.json").read_bytes())["keys"]
    (tmp_path / "b.key").write_bytes(msgspec.json.encode(public))
    result = run("token", "sign", "https://a.example", "--key", tmp_path / "b.key", "--iss", "urn:a")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "not a private" in result.stderr


def test_names_with_quotes_leave_the_site_file_whole(run, tmp_path):
    _, text = made(run, tmp_path, "--iss", 'urn:"a"\\b')
    assert tomllib.loads(text)["tenant"][0]["iss"] == 'urn:"a"\\b'


def test_an_address_that_cannot_be_public_is_refused_before_a_key_is_made(run, tmp_path):
    result = run("token", "keys", tmp_path / "a.key", "--url", "http://cds.example")
    assert result.exit_code == 2
    assert list(tmp_path.iterdir()) == []
