"""The build script renews its base, and its helpers read what Debian says of its packages.

What the script calls is replaced by scripts that write down how they were called.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from deploy.complete_sbom import debian_packages
from deploy.runtime_root import owners
from tests.deploy.manifests import DEPLOY

PODMAN = """#!/bin/sh
echo "podman $*" >> "$CALLS"
case "$*" in
  *Created*) [ -n "$BASE_MADE" ] && echo "$BASE_MADE $BASE_MIRROR" ;;
  import*) cat > /dev/null ;;
esac
"""
OTHER = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
"""
HOUR = 3600


def calls(folder: Path, **environ: str) -> list[str]:
    """What the build calls, one line each."""
    for name in ("buildah", "podman", "runc", "mmdebstrap", "catatonit"):
        (folder / name).write_text(PODMAN if name == "podman" else OTHER, encoding="utf-8")
        (folder / name).chmod(0o755)
    log = folder / "calls"
    given = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(log), "REVISION": "0", **environ}
    subprocess.run([DEPLOY / "build-image.sh"], env=given, check=True, capture_output=True)
    return log.read_text(encoding="utf-8").splitlines()


def ago(hours: float) -> str:
    return str(int(time.time() - hours * HOUR))


CASES: tuple[tuple[dict[str, str], bool], ...] = (  # environment, whether the base is put together anew
    ({}, True),
    ({"BASE_MADE": ago(1)}, False),
    ({"BASE_MADE": ago(25)}, True),
    ({"BASE_MADE": ago(1), "DEBIAN_MIRROR": "http://mirror.hospital.example"}, True),
    ({"BASE_MADE": ago(1), "BASE_MIRROR": "http://mirror.hospital.example"}, True),
    (
        {
            "BASE_MADE": ago(1),
            "BASE_MIRROR": "http://mirror.hospital.example",
            "DEBIAN_MIRROR": "http://mirror.hospital.example",
        },
        False,
    ),
    ({"BASE_IMAGE": "registry.hospital.example/python:3.11-slim"}, False),
)


@pytest.mark.parametrize(("environ", "anew"), CASES)
def test_base_is_of_today_and_from_the_mirror_that_was_named(
    tmp_path: Path, environ: dict[str, str], anew: bool
) -> None:
    made = [call for call in calls(tmp_path, **environ) if call.startswith("mmdebstrap")]
    assert bool(made) is anew
    assert all(environ.get("DEBIAN_MIRROR", "bookworm") in call for call in made)


def test_base_from_a_registry_is_asked_for_anew(tmp_path: Path) -> None:
    assert "podman pull -q registry.example/python" in calls(tmp_path, BASE_IMAGE="registry.example/python")


def test_other_debian_is_another_base(tmp_path: Path) -> None:
    done = calls(tmp_path, SUITE="trixie")
    assert any(call.startswith("mmdebstrap") and " trixie - " in f"{call} " for call in done)
    assert any("BASE_IMAGE=localhost/magnesium-cds-base:trixie " in call for call in done)


@pytest.mark.parametrize(
    ("found", "packages"),
    [
        ("libc6:amd64: /lib/libc.so.6\nzlib1g:amd64: /lib/libz.so.1\n", {"libc6", "zlib1g"}),
        ("libc6:amd64, base-files: /lib\n", {"libc6", "base-files"}),
        ("diversion by libc6 from: /lib64\ndiversion by libc6 to: /lib64.usr-is-merged\n", set()),
    ],
)
def test_packages_that_own_files(found: str, packages: set[str]) -> None:
    assert owners(found) == packages


@pytest.mark.parametrize(
    ("record", "purl"),
    [
        (
            "Package: libc6\nArchitecture: amd64\nSource: glibc\nVersion: 2.36-9+deb12u14\n",
            "pkg:deb/debian/libc6@2.36-9%2Bdeb12u14?arch=amd64&distro=debian-12&upstream=glibc",
        ),
        (
            "Package: libstdc++6\nArchitecture: amd64\nSource: gcc (2:12.2)\nVersion: 1:3\n",
            "pkg:deb/debian/libstdc%2B%2B6@1%3A3?arch=amd64&distro=debian-12&upstream=gcc%402%3A12.2",
        ),
        (
            "Package: tzdata\nArchitecture: all\nVersion: 2026a~1\nDescription: time zones\n Version: of a text\n",
            "pkg:deb/debian/tzdata@2026a~1?arch=all&distro=debian-12&upstream=tzdata",
        ),
    ],
)
def test_package_url_of_a_record(tmp_path: Path, record: str, purl: str) -> None:
    (tmp_path / "var/lib/dpkg/status.d").mkdir(parents=True)
    (tmp_path / "var/lib/dpkg/status.d/it").write_text(record, encoding="utf-8")
    assert [package["purl"] for package in debian_packages(tmp_path, "12")] == [purl]
