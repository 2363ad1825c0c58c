"""The application, whole and in-process: open as in development, and locked as where a site names its callers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import flask
import msgspec
import pytest
from flask.testing import FlaskClient
from joserfc import jwt
from joserfc.jwk import ECKey

from service.app import create_app
from service.settings import load
from service.site import site_schema
from service.store.database import upgrade
from tests.contract.messages import NOW

BASE = "https://cds.hospital.example"
SITE = f"""
[service]
public_urls = ["{BASE}"]
cors_origins = ["https://sandbox.cds-hooks.org"]
[aliases]
magnesium = ["mg_labs"]
[[tenant]]
name = "clinic"
iss = "https://ehr.hospital.example"
jwks_file = "keys.json"
"""
MakeApp = Callable[..., flask.Flask]


@pytest.fixture(scope="session")
def make_app(tmp_path_factory: pytest.TempPathFactory) -> MakeApp:
    """Build the application with a database of its own, its clock standing at `now`."""

    def make(now: datetime = NOW, **environ: str) -> flask.Flask:
        url = f"sqlite:///{tmp_path_factory.mktemp('store')}/store.sqlite3"
        upgrade(url)
        return create_app(load({"DATABASE_URL": url, **environ}, site_schema()), clock=lambda: now)

    return make


@pytest.fixture(scope="session")
def app(make_app: MakeApp) -> flask.Flask:
    return make_app()


@pytest.fixture(scope="session")
def client(app: flask.Flask) -> FlaskClient:
    return app.test_client()


@dataclass
class Locked:
    """An application that lets nobody in without a token, and the key of the one caller that it knows."""

    client: FlaskClient
    key: ECKey

    def token(self, url: str = f"{BASE}/cds-services/magnesium-patient-view") -> dict[str, str]:
        """The header with which the caller proves itself at a URL, good for one use."""
        at = int(NOW.timestamp())
        claims = {"iss": "https://ehr.hospital.example", "aud": url, "iat": at, "exp": at + 300, "jti": str(uuid4())}
        header = {"alg": "ES384", "kid": self.key.kid, "typ": "JWT"}
        return {"Authorization": f"Bearer {jwt.encode(header, claims, self.key, algorithms=['ES384'])}"}


@pytest.fixture(scope="session")
def key() -> ECKey:
    """The key of the one caller whom the site file names."""
    return ECKey.generate_key("P-384", {"kid": "k1"})


@pytest.fixture(scope="session")
def site_file(key: ECKey, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder: Path = tmp_path_factory.mktemp("site")
    (folder / "keys.json").write_bytes(msgspec.json.encode({"keys": [key.as_dict(private=False)]}))
    (folder / "site.toml").write_text(SITE, encoding="utf-8")
    return str(folder / "site.toml")


@pytest.fixture(scope="session")
def locked(make_app: MakeApp, site_file: str, key: ECKey) -> Locked:
    return Locked(make_app(MAGNESIUM_CDS_SITE=site_file).test_client(), key)
