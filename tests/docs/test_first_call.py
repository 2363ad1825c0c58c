"""The guide to a first call, walked in one shell: every command as printed, in order, and what each prints."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs" / "first-call.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE, re.DOTALL | re.MULTILINE)
END = "-- end of block --"


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """The project with an environment that `make install` finds made: the one in which this test runs."""
    for name in ("Makefile", "requirements.lock", "bin", "service", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n', "utf-8")
    python.chmod(0o755)
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def walk(folder: Path, port: str) -> list[str]:
    """What each block of commands prints, standard error with it."""
    script = "".join(f"{block}echo '{END}'\n" for kind, block in BLOCKS if kind == "sh").replace("8000", port)
    ours = ("MAGNESIUM_CDS_", "DATABASE_", "HOST", "COLUMNS")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(ours)} | {"PORT": port}
    done = subprocess.run(
        ["sh", "-eu"], input=script, cwd=folder, env=environ, text=True, timeout=240,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout.replace(port, "8000").split(f"{END}\n")


def pattern(printed: str) -> str:
    """A regular expression: `…` is anything on one line, a line of it alone any number of lines."""
    lines = [
        "(?:.*\n)*?" if line == "…" else re.escape(line).replace("…", ".*") + "\n" for line in printed.splitlines()
    ]
    return "".join(lines)


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: the guide cannot be walked")
def test_the_guide_is_walked_as_printed(project: Path) -> None:
    told = iter(walk(project, free_port()))
    last = ""
    for kind, block in BLOCKS:
        if kind == "sh":
            last = next(told)
        else:
            assert re.fullmatch(pattern(block), last), f"printed:\n{block}\nin truth:\n{last}"


def test_the_guide_holds_commands_and_what_they_print() -> None:
    kinds = [kind for kind, _ in BLOCKS]
    assert set(kinds) == {"sh", "text"}
    assert kinds.count("text") >= 6
