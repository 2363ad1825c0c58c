"""JSON Web Key Sets: the public keys in a document that are fit to verify a signature."""

from __future__ import annotations

import codecs
from base64 import urlsafe_b64decode
from collections.abc import Mapping

import msgspec
from joserfc import jwk
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey

PublicKey = RSAKey | ECKey
Keys = Mapping[str, tuple[PublicKey, ...]]

MAX_BYTES = 256 * 1024
MAX_KEYS_PER_KID = 8  # each is one more signature to check for a token that is forged
# The public members alone: a private key published by mistake is read as its public half.
_MEMBERS = {"EC": ("kty", "kid", "use", "alg", "crv", "x", "y"), "RSA": ("kty", "kid", "use", "alg", "n", "e")}
_MODULUS_BITS = range(2048, 8193)
_MAX_LETTERS = 1400  # of base64url: more is not decoded
_EXPONENT = 65537  # what every issuer uses; 1 would make each text its own signature


class _Document(msgspec.Struct):
    keys: list[object]


def read_keys(document: bytes) -> Keys:
    """The usable keys by `kid`: RSA of 2048 bits or more and elliptic curves, not meant for encryption, with a `kid`.

    What cannot be used is left out, since a set may hold kinds unknown to us (RFC 7517, section 5), and so is what
    follows the first MAX_KEYS_PER_KID keys of one `kid`. A set without any is empty: its issuer has withdrawn its keys.
    Raises ValueError for a document that is no JWK Set or is too large.
    """
    if len(document) > MAX_BYTES:
        raise ValueError(f"more than {MAX_BYTES} bytes")
    try:
        entries = msgspec.json.decode(document.removeprefix(codecs.BOM_UTF8), type=_Document).keys
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        raise ValueError("not a JSON Web Key Set") from None
    found: dict[str, tuple[PublicKey, ...]] = {}
    for entry in entries:
        key = _key(entry) if isinstance(entry, dict) else None
        if key and len(of_kid := found.get(str(key.kid), ())) < MAX_KEYS_PER_KID:
            found[str(key.kid)] = (*of_kid, key)
    return found


def _key(entry: dict[str, object]) -> PublicKey | None:
    members = {name: entry[name] for name in _MEMBERS.get(str(entry.get("kty")), ()) if entry.get(name) is not None}
    if not all(isinstance(value, str) for value in members.values()) or not members.get("kid"):
        return None
    if members.get("use", "sig") != "sig":
        return None
    try:
        if members["kty"] == "RSA" and not _is_sound(str(members["n"]), str(members["e"])):
            return None
        key = jwk.import_key({name: str(value) for name, value in members.items()})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if isinstance(key, RSAKey | ECKey) else None


def _is_sound(modulus: str, exponent: str) -> bool:
    """An odd modulus of 2048 to 8192 bits as a number, however it is written, and the usual exponent."""
    if max(len(modulus), len(exponent)) > _MAX_LETTERS:
        return False
    n, e = _number(modulus), _number(exponent)
    return n.bit_length() in _MODULUS_BITS and n % 2 == 1 and e == _EXPONENT


def _number(text: str) -> int:
    return int.from_bytes(urlsafe_b64decode(text + "=="), "big")
