"""The version of the knowledge rises with its content."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import service.logic.knowledge as knowledge

FOLDER = Path(knowledge.__file__).parent


def fingerprint() -> str:
    content = b"".join(path.read_bytes() for path in sorted(FOLDER.glob("*.toml")))
    return sha256(content).hexdigest()[:16]


def test_the_version_is_that_of_the_content() -> None:
    said = f'The clinical content has changed: raise VERSION and set FINGERPRINT = "{fingerprint()}" beside it.'
    assert fingerprint() == knowledge.FINGERPRINT, said


def test_the_version_is_stated_once_in_the_code() -> None:
    service = FOLDER.parents[1]
    stating = [path.name for path in service.rglob("*.py") if f'"{knowledge.VERSION}"' in path.read_text("utf-8")]
    assert stating == ["__init__.py"]
