"""The Kubernetes objects of deploy/: rendered by kubectl where there is one, else as the files are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest
import yaml

Manifest = dict[str, Any]
ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
OLDEST_KUBECTL = 27  # minor version 1.27 brought kustomize 5


def rendered(folder: Path) -> list[Manifest]:
    """What `kubectl kustomize` makes of a folder; skips, loudly, without a kubectl."""
    return yaml_of(_render(folder))


@cache
def _render(folder: Path) -> str:
    kubectl = shutil.which("kubectl") or without("kubectl is not installed: the overlays were NOT rendered")
    version = msgspec.json.decode(subprocess.check_output([kubectl, "version", "--client", "-o", "json"]))
    minor = re.sub(r"\D", "", version["clientVersion"]["minor"])
    if int(minor) < OLDEST_KUBECTL:
        without(f"kubectl 1.{minor} is too old for these overlays, which were NOT rendered")
    done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, f"kustomize warns: {done.stderr}"
    return done.stdout


def as_written() -> list[Manifest]:
    """Base, monitoring and the networks of the example hospital, without what kustomize would do to them."""
    files = [
        *DEPLOY.glob("base/*.yaml"),
        *DEPLOY.glob("components/*/*.yaml"),
        DEPLOY / "overlays/production/networks.yaml",
    ]
    found = [manifest for file in files for manifest in yaml_of(file.read_text(encoding="utf-8"))]
    return [manifest for manifest in found if "kustomize.config" not in manifest["apiVersion"]]


def yaml_of(text: str) -> list[Manifest]:
    """The documents of a YAML stream, new at each call: a test may change them."""
    return [document for document in yaml.safe_load_all(text) if document]


def of_kind(manifests: list[Manifest], *kinds: str) -> list[Manifest]:
    return [manifest for manifest in manifests if manifest["kind"] in kinds]


def pods(manifests: list[Manifest]) -> Iterator[tuple[str, Manifest, Manifest]]:
    """Name, labels and spec of each pod that the manifests ask for, whatever starts it."""
    for manifest in manifests:
        template = _template(manifest)
        if "containers" in template.get("spec", {}):
            labels = template.get("metadata", {}).get("labels", {})
            yield f"{manifest['kind']}/{manifest['metadata']['name']}", labels, template["spec"]


def _template(manifest: Manifest) -> Manifest:
    """What a pod is made from: of a CronJob the template of its Job, of a Pod the Pod itself."""
    if manifest["kind"] == "CronJob":
        return _template({**manifest["spec"]["jobTemplate"], "kind": "Job"})
    template: Manifest = manifest.get("spec", {}).get("template", manifest)
    return template


def without(reason: str) -> NoReturn:
    """A tool is missing: a failure where it is required, else a skip that names what was not tested."""
    if os.environ.get("REQUIRE_DEPLOY_TOOLS") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
