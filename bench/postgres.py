"""A PostgreSQL of our own whose data nobody needs, where the machine has its programs."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench.servers import Server, free_port, running


@dataclass(frozen=True, slots=True)
class Database:
    """A running PostgreSQL and the URL of its one database."""

    server: Server
    url: str


def programs() -> Path | None:
    """The folder of initdb and postgres: the newest of Debian's, or what is on the path."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: int(path.parent.name))
    on_path = shutil.which("initdb")
    return Path(on_path).resolve().parent if on_path else None


@contextmanager
def postgres(where: Path, parent: Path | None = None) -> Iterator[Database]:
    """PostgreSQL with the programs in `where`, on a free port, its files under `parent`, until the block ends."""
    folder, port = Path(tempfile.mkdtemp(prefix="pg-", dir=parent)), free_port()
    try:
        account = _as_nobody_special(folder)
        make = [*account, str(where / "initdb"), "-D", f"{folder}/data", "-U", "mg", "-A", "trust", "-E", "UTF8"]
        subprocess.run([*make, "--no-sync"], check=True, stdout=subprocess.DEVNULL, cwd=folder)
        url = f"postgresql://mg@127.0.0.1:{port}/postgres"
        options = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}"]
        serve = [*account, str(where / "postgres"), "-D", f"{folder}/data", *options]
        with running(serve, port, lambda: _connects(url), stop=signal.SIGINT) as server:
            yield Database(server, url)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_nobody_special(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root: the words that run a command as another user, who then owns the folder."""
    if os.geteuid() != 0:
        return []
    names = {user.pw_name for user in pwd.getpwall()}
    user = pwd.getpwnam("postgres" if "postgres" in names else "nobody")
    os.chown(folder, user.pw_uid, user.pw_gid)
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]


def _connects(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True
