"""`serve` as a real process: it answers, it ends when told to, and it says why it does not start."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
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


def memory(process):
    """What the fields of /proc/…/smaps_rollup say, in MB."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()[1:]
    return {name: int(value.split()[0]) / 1024 for name, _, value in (line.partition(":") for line in lines)}


def test_a_replica_starts_in_130_mb_its_master_included(tmp_path, port):
    """All of the worker, and of its master what the two do not share: no less than PSS, whoever else maps the files."""
    with subprocess.Popen(COMMAND, env=environment(tmp_path, PORT=str(port)), stderr=subprocess.DEVNULL) as process:
        assert answer(port, process) == 200
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        of_worker, of_master = memory(worker), memory(process.pid)
        process.send_signal(signal.SIGTERM)
    alone = of_master["Private_Clean"] + of_master["Private_Dirty"]
    print(f"worker {of_worker['Rss']:.0f} MB, its master {alone:.0f} MB more")
    assert alone < 20  # it has imported nothing of the service
    assert of_worker["Rss"] + alone < 130


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
