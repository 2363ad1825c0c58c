"""Key sets: which keys are fit to verify with, and documents that must not harm the reader."""

import warnings

import msgspec
import pytest
from joserfc.jwk import ECKey, RSAKey

from service.net.jwks import MAX_BYTES, MAX_KEYS_PER_KID, read_keys

EC = ECKey.generate_key("P-256", {"kid": "ec"}).as_dict(private=True)
RSA = RSAKey.generate_key(2048, {"kid": "rsa"}).as_dict(private=True)
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    WEAK = RSAKey.generate_key(1024, {"kid": "weak"}).as_dict(private=False)


def read(*keys):
    return read_keys(msgspec.json.encode({"keys": keys}))


def test_keys_are_found_by_kid_and_are_public():
    keys = read(EC, RSA)
    assert set(keys) == {"ec", "rsa"}
    assert not any(key.is_private for found in keys.values() for key in found)


def test_of_one_kid_no_more_keys_are_kept_than_are_worth_trying():
    many = [EC, *(ECKey.generate_key("P-256", {"kid": "ec"}).as_dict(private=False) for _ in range(20))]
    kept = read(*many, RSA)["ec"]
    assert [key.as_dict()["x"] for key in kept] == [key["x"] for key in many[:MAX_KEYS_PER_KID]]


def test_a_byte_order_mark_and_members_that_are_null_are_read_past():
    document = msgspec.json.encode({"keys": [{**RSA, "use": None, "alg": None}]})
    assert set(read_keys(b"\xef\xbb\xbf" + document)) == {"rsa"}


UNFIT = {
    "null": None,
    "a word": "key",
    "a list": [EC],
    "a kid that is null": {**EC, "kid": None},
    "symmetric": {"kty": "oct", "kid": "x", "k": "AAAA"},
    "unknown kind": {**EC, "kty": "AKP"},
    "no kind": {name: value for name, value in EC.items() if name != "kty"},
    "no kid": {name: value for name, value in EC.items() if name != "kid"},
    "empty kid": {**EC, "kid": ""},
    "for encryption": {**EC, "use": "enc"},
    "weak": WEAK,
    "a modulus without end": {**RSA, "n": "u" + "A" * 20_000},
    "an exponent without end": {**RSA, "e": "_" * 20},
    "a weak modulus behind zeros": {**WEAK, "n": "A" * 171 + WEAK["n"]},
    "an even modulus": {**RSA, "n": RSA["n"][:-1] + "A" if RSA["n"][-1] != "A" else RSA["n"]},
    "an exponent of 1": {**RSA, "e": "AQ"},
    "an exponent of 3": {**RSA, "e": "Aw"},
    "an even exponent": {**RSA, "e": "AQAA"},
    "not base64url": {**EC, "x": "***"},
    "a missing coordinate": {name: value for name, value in EC.items() if name != "y"},
    "off the curve": {**EC, "x": EC["y"]},
    "unknown curve": {**EC, "crv": "P-1"},
    "a number for a word": {**EC, "x": 7},
}


@pytest.mark.parametrize("key", UNFIT.values(), ids=UNFIT)
def test_an_unfit_key_is_left_out_without_spoiling_the_others(key):
    assert set(read(key, RSA | {"kid": "good"})) == {"good"}


@pytest.mark.parametrize("keys", [[], [None], [WEAK]])
def test_a_set_without_usable_keys_is_empty(keys):
    assert read(*keys) == {}


DOCUMENTS = {
    "empty": (b"", "not a JSON Web Key Set"),
    "a web page": (b"<html>", "not a JSON Web Key Set"),
    "a list": (b"[]", "not a JSON Web Key Set"),
    "keys that are none": (b'{"keys": {}}', "not a JSON Web Key Set"),
    "not UTF-8": (b'{"keys": [{"kid": "\xff"}]}', "not a JSON Web Key Set"),
    "nested deeply": (b'{"keys": [{"a": ' + b"[" * 100_000, "not a JSON Web Key Set"),
    "too large": (b" " * (MAX_BYTES + 1), "more than 262144 bytes"),
}


@pytest.mark.parametrize(("document", "reason"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_what_is_no_key_set_is_refused(document, reason):
    with pytest.raises(ValueError, match=reason):
        read_keys(document)
