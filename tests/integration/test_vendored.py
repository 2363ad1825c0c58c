"""The JavaScript of others: the file that the page names, of the version that the lock file has, named in NOTICE."""

from __future__ import annotations

import base64
import hashlib
import re
import shutil
import subprocess
from pathlib import Path

import msgspec
import pytest

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "service/api/pages"
FILE = PAGES / "static/vendor/fhir-client.pure.min.js"
VENDOR = ROOT / "tools/vendor"


def locked() -> dict[str, str]:
    return msgspec.json.decode((VENDOR / "package-lock.json").read_bytes())["packages"]["node_modules/fhirclient"]


def test_a_browser_runs_the_file_only_if_it_is_the_one_that_was_looked_at():
    stated = re.findall(r'vendor/(\S+)" integrity="sha384-([^"]+)"', (PAGES / "templates/smart.html").read_text())
    assert stated == [(FILE.name, base64.b64encode(hashlib.sha384(FILE.read_bytes()).digest()).decode())]


def test_notice_names_the_version_of_the_lock_file_and_the_licences_stand_beside_it():
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    assert f"fhirclient {locked()['version']}, browser build ({FILE.relative_to(ROOT)})" in notice
    assert locked()["integrity"].startswith("sha512-")
    texts = "".join(file.read_text(encoding="utf-8") for file in FILE.parent.glob("*.LICENSE.txt"))
    assert all(word in texts for word in ("Apache License", "Josh Junon", "Vercel", "Kogai", "Vybornov"))


def test_everything_vendored_is_served_or_is_a_licence():
    files = {file.name for file in FILE.parent.iterdir()}
    assert {name for name in files if not name.endswith(".LICENSE.txt")} == {FILE.name}


def test_the_file_is_that_of_npm_byte_by_byte(tmp_path):
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("NO NPM, the vendored file not compared with its package")
    shutil.copytree(VENDOR, tmp_path / "vendor")
    asked = [npm, "ci", "--omit=peer", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(asked, cwd=tmp_path / "vendor", capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"NO NPM REGISTRY, the vendored file not compared with its package: {done.stderr.strip()[-200:]}")
    built = tmp_path / "vendor/node_modules/fhirclient/build" / FILE.name
    assert built.read_bytes() == FILE.read_bytes()
