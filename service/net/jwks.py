"""JSON Web Key Sets: the public keys in a document that are fit to verify a signature."""

from __future__ import annotations

import codecs
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
# Base64url lengths: a modulus of 2048 to 8192 bits, and an exponent small enough to verify with quickly.
_MODULUS = range(342, 1367)
_MAX_EXPONENT = 6


class _Document(msgspec.Struct):
    keys: list[object]


def read_keys(document: bytes) -> Keys:
    """The usable keys by `kid`: RSA of 2048 bits or more and elliptic curves, not meant for encryption, with a `kid`.

    What cannot be used is left out, since a set may hold kinds unknown to us (RFC 7517, section 5), and so is what
    follows the first MAX_KEYS_PER_KID keys of one `kid`.
    Raises ValueError for a document that is no JWK Set, is too large, or holds no usable key.
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
    if not found:
        raise ValueError("no usable public key (RSA of at least 2048 bits or EC, with a kid)")
    return found


def _key(entry: dict[str, object]) -> PublicKey | None:
    members = {name: entry[name] for name in _MEMBERS.get(str(entry.get("kty")), ()) if entry.get(name) is not None}
    if not all(isinstance(value, str) for value in members.values()) or not members.get("kid"):
        return None
    if members.get("use", "sig") != "sig" or (members["kty"] == "RSA" and not _fair_size(members)):
        return None
    try:
        key = jwk.import_key({name: str(value) for name, value in members.items()})
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if isinstance(key, RSAKey | ECKey) else None


def _fair_size(members: dict[str, object]) -> bool:
    return len(str(members.get("n", ""))) in _MODULUS and len(str(members.get("e", ""))) <= _MAX_EXPONENT
