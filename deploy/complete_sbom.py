"""Adds to the SBOM of the Python packages what else is in the image: Debian's packages, Python, what wheels bundle.

Runs in the environment of the service, whose packages it asks for their files.
"""

import hashlib
import platform
import re
import sys
import uuid
from collections.abc import Iterator
from importlib.metadata import files, metadata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec

Component = dict[str, Any]
KEPT = ("type", "name", "version", "purl", "licenses")  # of a wheel's own SBOM: no paths of the machine that built it


def main(sbom: Path, root: Path) -> None:
    """Complete the CycloneDX file `sbom`; `root` is the root file system with dpkg's records.

    The same content gives the same file and the same serial number; there is no time in it.
    """
    bill = msgspec.json.decode(sbom.read_bytes())
    for component in bill["components"]:
        if inside := list(bundled(component["name"])):
            component["components"] = inside
        if not component.get("licenses"):  # the generator passes over words that are neither SPDX nor a classifier
            component["licenses"] = [{"license": {"name": metadata(component["name"])["License"]}}]
    release = release_of(root)
    packages = list(debian_packages(root, release))
    debian = {"type": "operating-system", "name": "debian", "version": release}
    bill["components"] += [debian, python(packages), *packages]
    content = hashlib.sha256(msgspec.json.encode(bill)).hexdigest()
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, content)}"
    sbom.write_bytes(msgspec.json.format(msgspec.json.encode(bill), indent=2))


def bundled(package: str) -> Iterator[Component]:
    """What a wheel brings along: as its own SBOMs say, and the shared libraries in its `.libs` folder."""
    for file in sorted(files(package) or ()):
        content = Path(str(file.locate()))
        if file.match("*.dist-info/sboms/*.json"):
            for component in msgspec.json.decode(content.read_bytes()).get("components", []):
                if not component.get("purl", "").startswith("pkg:pypi/"):  # itself
                    yield {key: component[key] for key in KEPT if key in component}
        elif file.parts[0].endswith(".libs"):
            yield from library(str(file), content.read_bytes())


def library(name: str, content: bytes) -> Iterator[Component]:
    """The file, and OpenSSL by the version that it says it is."""
    yield {"type": "file", "name": name, "hashes": [{"alg": "SHA-256", "content": hashlib.sha256(content).hexdigest()}]}
    if found := re.search(rb"OpenSSL (\d+\.\d+\.\d+) ", content):
        version = found[1].decode()
        yield {"type": "library", "name": "openssl", "version": version, "purl": f"pkg:generic/openssl@{version}"}


def release_of(root: Path) -> str:
    """Debian's release, such as 12."""
    found = re.search(r'^VERSION_ID="?([^"\n]+)', (root / "etc/os-release").read_text(), re.MULTILINE)
    return found[1] if found else ""


def debian_packages(root: Path, release: str) -> Iterator[Component]:
    """A component for each of dpkg's records, with the source package, by which Debian counts vulnerabilities."""
    for record in sorted((root / "var/lib/dpkg/status.d").iterdir()):
        fields: dict[str, str] = dict(re.findall(r"^(\S+): (.+)$", record.read_text(), re.MULTILINE))
        name, version = fields["Package"], fields["Version"]
        source = fields.get("Source", name).replace(" (", "@").rstrip(")")  # "gcc-12 (12.2.0-14)": its own version
        about = f"arch={fields['Architecture']}&distro=debian-{release}&upstream={quote(source, safe='')}"
        purl = f"pkg:deb/debian/{quote(name, safe='')}@{quote(version, safe='')}?{about}"
        yield {"type": "library", "name": name, "version": version, "purl": purl}


def python(packages: list[Component]) -> Component:
    """The interpreter. Debian patches its own under an old version, so that only another one is matched by a CPE."""
    version = platform.python_version()
    found = {"type": "application", "name": "python", "version": version, "purl": f"pkg:generic/python@{version}"}
    if not any(re.fullmatch(r"python3\.\d+-minimal", package["name"]) for package in packages):
        found["cpe"] = f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*"
    return {**found, "licenses": [{"license": {"id": "PSF-2.0"}}]}


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
