"""Every command of the documentation runs as printed against `serve`, and gives the answer that is printed below it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = [
    pytest.param(command, kind, answer, id=f"{page.name}:{number}")
    for page in (ROOT / "README.md", ROOT / "docs" / "rest.md", ROOT / "docs" / "command-line.md")
    for number, (command, kind, answer) in enumerate(
        re.findall(r"```sh\n((?:curl|magnesium-cds) .*?)```\n\n```(\w+)\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    )
]


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """A service started as `make run` starts it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    database = tmp_path_factory.mktemp("store") / "store.sqlite3"
    env = os.environ | {"PORT": str(free), "DATABASE_URL": f"sqlite:///{database}"}
    with subprocess.Popen([sys.executable, "-m", "service", "serve"], cwd=ROOT, env=env) as server:
        _await(f"http://127.0.0.1:{free}/health/live")
        yield free
        server.terminate()


def _await(url: str) -> None:
    for _ in range(150):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(url, timeout=1).close()  # noqa: S310
        time.sleep(0.1)
    pytest.fail(f"no answer from {url}")


def test_there_are_examples() -> None:
    assert len(EXAMPLES) > 10


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: the printed commands cannot be run")
@pytest.mark.parametrize(("command", "kind", "answer"), EXAMPLES)
def test_a_documented_command_gives_its_printed_answer(command: str, kind: str, answer: str, port: int) -> None:
    script = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    program = f'magnesium-cds() {{ "{sys.executable}" -m service "$@"; }}\n{script}'
    done = subprocess.run(["bash", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if kind == "json":
        _within(json.loads(answer), json.loads(done.stdout), "$")
    else:
        assert _words(answer) == _words(done.stdout)


def _words(text: str) -> list[str]:
    return text.split()


def _within(printed: Any, real: Any, at: str) -> None:
    """The printed part is in the real answer: members may be left out, `…` stands for the rest of a string."""
    if isinstance(printed, dict):
        assert isinstance(real, dict), at
        for name, value in printed.items():
            assert name in real, f"{at}.{name}"
            _within(value, real[name], f"{at}.{name}")
    elif isinstance(printed, list):
        assert isinstance(real, list), at
        for number, item in enumerate(printed):
            assert any(_is_within(item, other) for other in real), f"{at}[{number}]: {item} is not in {real}"
        assert printed or not real, f"{at} is not empty"
    elif isinstance(printed, str) and printed.endswith("…"):
        assert real.startswith(printed.removesuffix("…")), at
    else:
        assert printed == real, at


def _is_within(printed: Any, real: Any) -> bool:
    try:
        _within(printed, real, "")
    except AssertionError:
        return False
    return True
