"""The whole application in one process, for tests at the edge: open as in development, or locked by a site file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import flask
import msgspec
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import ECKey

from service.app import create_app
from service.settings import load
from service.site import site_schema
from tests.contract.messages import NOW, Json

BASE = "https://cds.hospital.example"
ISSUER = "https://ehr.hospital.example"
VIEW = "/cds-services/magnesium-patient-view"
KEY = ECKey.generate_key("P-384", {"kid": "k1"})


@dataclass
class RunningApp:
    """A running application and its one caller."""

    app: flask.Flask
    folder: Path
    locked: bool

    @property
    def client(self) -> FlaskClient:
        return self.app.test_client()

    def post(self, path: str, body: Json, **headers: str) -> Any:
        """The answer to a body sent as JSON, with a fresh token where one is needed."""
        proof = bearer(path) if self.locked else {}
        return self.client.post(
            path, json=body, headers={**proof, **{k.replace("_", "-"): v for k, v in headers.items()}}
        )


def bearer(path: str, **claims: Any) -> dict[str, str]:
    """The header with which the caller proves itself at a path, good for one use."""
    at = int(NOW.timestamp())
    said = {"iss": ISSUER, "aud": BASE + path, "iat": at, "exp": at + 300, "jti": str(uuid4())} | claims
    header = {"alg": "ES384", "kid": "k1", "typ": "JWT"}
    return {"Authorization": f"Bearer {jwt.encode(header, said, KEY, algorithms=['ES384'])}"}


@contextmanager
def open_app(folder: Path, now: datetime = NOW, **environ: str) -> Iterator[RunningApp]:
    """Development mode: no tokens, FHIR servers on this machine."""
    environ = {"DATABASE_URL": f"sqlite:///{folder}/store.sqlite3"} | environ
    app = create_app(load(environ, site_schema()), clock=lambda: now)
    try:
        yield RunningApp(app, folder, "MAGNESIUM_CDS_SITE" in environ)
    finally:
        app.extensions["dependencies"].close()


@contextmanager
def locked_app(
    folder: Path, bases: Sequence[str] = (), service: str = "", tenant: str = "", **environ: str
) -> Iterator[RunningApp]:
    """A site file with one caller, who may have FHIR servers at `bases` read; further lines of its two tables."""
    (folder / "keys.json").write_bytes(msgspec.json.encode({"keys": [KEY.as_dict(private=False)]}))
    (folder / "site.toml").write_text(
        f"""
        [service]
        public_urls = ["{BASE}"]
        cors_origins = ["https://sandbox.cds-hooks.org"]
        {service}
        [[tenant]]
        name = "clinic"
        iss = "{ISSUER}"
        jwks_file = "keys.json"
        fhir_bases = {list(bases)}
        {tenant}
        """,
        encoding="utf-8",
    )
    with open_app(folder, MAGNESIUM_CDS_SITE=str(folder / "site.toml"), **environ) as house:
        yield house
