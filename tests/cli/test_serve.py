"""`serve` as a real process: it answers, it ends when told to, and it says why it does not start."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from time import monotonic, sleep
from urllib.error import URLError
from urllib.request import urlopen

import pytest

COMMAND = [sys.executable, "-m", "service", "serve"]


def environment(tmp_path, **more):
    ours = ("MAGNESIUM_CDS_", "DATABASE_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return kept | {"DATABASE_URL": f"sqlite:///{tmp_path}/store.sqlite3", **more}


@pytest.fixture
def port():
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer(port, process, patience=30):
    """The status of /health/live as soon as there is one."""
    until = monotonic() + patience
    while monotonic() < until and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/health/live") as response:
                return response.status
        except URLError:
            sleep(0.05)
    raise AssertionError(process.stderr.read())


def test_it_answers_until_it_is_told_to_stop(tmp_path, port):
    with subprocess.Popen(
        COMMAND, env=environment(tmp_path, PORT=str(port)), stderr=subprocess.PIPE, text=True
    ) as process:
        assert answer(port, process) == 200
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=30)[1]
    assert process.returncode == 0
    assert "DEVELOPMENT MODE" in said
    assert f"Serving on http://127.0.0.1:{port}" in said


def test_wrong_settings_end_it_at_once_with_every_reason(run, tmp_path):
    (tmp_path / "table").write_bytes(b"nonsense")
    (tmp_path / "site.toml").write_text('[service]\nrxnorm_table = "table"\n')
    for environ, reasons in (
        ({"PORT": "http", "WEB_THREADS": "many"}, ("PORT: must be", "WEB_THREADS: must be")),
        ({"MAGNESIUM_CDS_SITE": str(tmp_path / "site.toml")}, ("table: not a readable RxNorm table",)),
    ):
        result = run("serve", env=environ)
        assert (result.exit_code, result.stdout) == (2, "")
        assert all(reason in result.stderr for reason in reasons)


def test_a_port_that_is_taken_is_said_at_once_with_what_to_do(run, tmp_path, port):
    with socket.create_server(("127.0.0.1", port)):
        begun = monotonic()
        result = run("serve", env={"PORT": str(port), "DATABASE_URL": f"sqlite:///{tmp_path}/store.sqlite3"})
    assert result.exit_code == 1
    assert f"Port {port} of 127.0.0.1 cannot be had (Address already in use). Choose another: PORT=" in result.stderr
    assert monotonic() - begun < 3


@pytest.mark.parametrize(
    "url", ["sqlite:///file:mg.db", "sqlite:///file:mg?mode=memory&uri=true", "sqlite:///:memory:"]
)
def test_a_database_that_is_no_file_is_refused(run, url):
    result = run("serve", env={"DATABASE_URL": url})
    assert result.exit_code == 2
    assert "DATABASE_URL: sqlite:/// takes the path of a file" in result.stderr
