"""A real NGINX before the replicas, set as our Ingress sets it: every answer right, nothing of a patient in its files."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import yaml

from bench import bodies
from bench.servers import ROOT, Server, fetched, free_port
from bench.servers import running as server
from soak.calls import HOOK, Ehr, cards_of, send
from soak.chart import MARK
from soak.load import caller, percentiles, running
from soak.report import Report
from soak.world import World

NOT_THERE = "NGINX in front: no nginx on this machine (apt-get install nginx-light)"
INGRESS = ROOT / "deploy/base/ingress.yaml"
CONFIGURATION = """
daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log info; worker_processes 1; {user}
events {{}}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/bodies; proxy_temp_path {folder}/answers; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  {settings}
  upstream replicas {{ {replicas} keepalive 16; }}
  server {{
    listen 127.0.0.1:{port}; server_tokens off;
    location / {{ proxy_pass http://replicas; proxy_http_version 1.1; proxy_set_header Connection ""; }}
  }}
}}
"""


def run(world: World, report: Report) -> None:
    """Mixed calls through the proxy while a replica behind it is replaced; a long chart; a body that is too long."""
    report.title("A real NGINX in front, with the settings of the Ingress")
    if shutil.which("nginx") is None:
        report.not_run(NOT_THERE)
        return
    folder = world.folder / "nginx"
    folder.mkdir()
    ehr, old = world.ehr(), world.start()
    ehr.learn(old.port)
    with _nginx(folder, old.port) as front:
        # Each over a connection of its own: NGINX closes those kept alive when it reads its settings anew.
        kinds = [caller(ehr, *kinds, keep=False) for kinds in (("all", "feedback", "half"), ("none",), ("all",))]
        with running([front.port], *kinds) as load:
            time.sleep(2.0)
            new = world.start()
            _configure(folder, front.port, new.port)
            front.process.send_signal(signal.SIGHUP)
            time.sleep(2.0)  # as preStop: NGINX has let go of the old one
            code = old.stop()
            time.sleep(2.0)
        reasons = [*(f"{each.kind}: {each.fault}" for each in load.faults), *_long(ehr, front.port)]
    new.stop()
    reasons += [f"the replaced replica ended with {code}"] if code else []
    reasons += [f"a trace of a patient in its {file}" for file in _traces(folder)]
    times = percentiles([each.answer.seconds for each in load.outcomes])
    report.line(
        f"{len(load.outcomes)} calls through it, {len(load.faults)} not answered as they must be; p50 {times['p50']:.0f} "
        f"ms, p99 {times['p99']:.0f} ms; its logs and buffers on disk searched for patients: "
        f"{report.check('NGINX in front', *reasons)}"
    )


def _long(ehr: Ehr, port: int) -> list[str]:
    chart = ehr.ledger.shown(send(port, HOOK, bodies.large(datetime.now(UTC)), ehr.token()))
    much = send(port, HOOK, b'{"hook": "' + b"x" * 6_000_000 + b'"}', ehr.token())
    reasons = [] if cards_of(chart) else [f"a long chart was answered {chart.status or chart.words} without a card"]
    # NGINX refuses it with words of its own, and may close before all was sent.
    return reasons + ([] if much.status in {0, 413} else [f"a body of 6 MB was answered {much.status}"])


@contextmanager
def _nginx(folder: Path, *replicas: int) -> Iterator[Server]:
    port = free_port()
    _configure(folder, port, *replicas)
    command = ["nginx", "-p", str(folder), "-e", str(folder / "error.log"), "-c", str(folder / "nginx.conf")]
    with server(command, port, lambda: fetched(port, "/health/live") is not None, stop=signal.SIGQUIT) as front:
        yield front


def _configure(folder: Path, port: int, *replicas: int) -> None:
    words = CONFIGURATION.format(
        folder=folder, port=port, settings=" ".join(_settings()), user="user root;" if os.geteuid() == 0 else "",
        replicas=" ".join(f"server 127.0.0.1:{each};" for each in replicas),
    )  # fmt: skip
    (folder / "nginx.conf").write_text(words)


def _settings() -> list[str]:
    """Of the Ingress's annotations those that NGINX knows by the same words, as its directives."""
    notes = yaml.safe_load(INGRESS.read_text())["metadata"]["annotations"]
    own = {name.removeprefix("nginx.org/"): value for name, value in notes.items()}
    return [
        f"{name.replace('-', '_')} {value};" for name, value in own.items() if name.startswith(("client-", "proxy-"))
    ]


def _traces(folder: Path) -> list[str]:
    """Files of NGINX with something of a patient, and any request or answer that it keeps on disk."""
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "nginx.conf"]
    return [file.name for file in files if MARK.encode() in file.read_bytes() or file.parent != folder]
