"""Start each compared system (gateway, proxy or restarted MLflow server) with two versions, ready to roll back."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx

from bench.gateway import free_port, running_process
from bench.serving.install import find_program
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import Split, Version

TOKEN = "bench"  # noqa: S105 - of a gateway that lives for a minute
CHAMPION, CANDIDATE = "1", "2"


@dataclass(frozen=True, slots=True)
class RunningEngine:
    """One that is up.

    Attributes:
        port: Where it listens.
        path: Where a version is asked.
        start: Gives the candidate half of the traffic.
        rollback: The command that takes it back; returns when the engine says it has.
    """

    port: int
    path: str
    start: Callable[[], None]
    rollback: Callable[[], None]


@contextlib.contextmanager
def surefoot_gateway(models: Path, folder: Path) -> Iterator[RunningEngine]:
    """Our gateway with two front workers."""
    port = free_port()
    command = [sys.executable, "-m", "bench.gateway_process", str(folder / "state"), str(models), str(port), "2"]
    with running_process(command, {"OMP_NUM_THREADS": "1"}, f"http://127.0.0.1:{port}/version", folder / "ours.log"):
        traffic = GatewayTraffic(f"http://127.0.0.1:{port}", TOKEN)
        known = {number: Version(number, directory_digest(models / number)) for number in (CHAMPION, CANDIDATE)}
        generation = 0

        def shift(weight: float) -> None:
            nonlocal generation
            generation += 1
            traffic.shift("m", Split(known[CHAMPION], known[CANDIDATE], weight, "salt", "r", generation))

        yield RunningEngine(port, "/models/m/invocations", lambda: shift(50.0), lambda: shift(0.0))


@contextlib.contextmanager
def running_backends(models: Path, folder: Path) -> Iterator[dict[str, int]]:
    """A bare server a version."""
    with contextlib.ExitStack() as stack:
        ports = {}
        for number in (CHAMPION, CANDIDATE):
            ports[number] = free_port()
            command = [sys.executable, "-m", "bench.rolling.backend", str(models / number), number, str(ports[number])]
            url = f"http://127.0.0.1:{ports[number]}/"
            stack.enter_context(
                running_process(command, {"OMP_NUM_THREADS": "1"}, url, folder / f"backend-{number}.log")
            )
        yield ports


@contextlib.contextmanager
def haproxy_process(ports: dict[str, int], folder: Path, more: str = "") -> Iterator[tuple[int, Path]]:
    """HAProxy in front of a server a version; its port, and its runtime socket."""
    # Not below the folder: the path of a Unix socket has room for 107 characters.
    with tempfile.TemporaryDirectory(prefix="haproxy-") as sockets:
        port, admin = free_port(), Path(sockets) / "admin.sock"
        servers = "\n".join(f"  server s{number} 127.0.0.1:{ports[number]} weight 1" for number in ports)
        config = folder / "haproxy.cfg"
        config.write_text(
            f"""
global
  stats socket {admin} mode 600 level admin
  maxconn 1000
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend front
  bind 127.0.0.1:{port}
{more}
  default_backend models
backend models
  balance roundrobin
{servers}
"""
        )
        with running_process(
            [find_program("haproxy"), "-f", str(config)], {}, f"http://127.0.0.1:{port}/", folder / "haproxy.log"
        ):
            yield port, admin


@contextlib.contextmanager
def haproxy(models: Path, folder: Path) -> Iterator[RunningEngine]:
    """HAProxy: a weight through its runtime socket."""
    with running_backends(models, folder) as ports, haproxy_process(ports, folder) as (port, admin):

        def weigh(weight: int) -> None:
            with socket.socket(socket.AF_UNIX) as talk:
                talk.connect(str(admin))
                talk.sendall(f"set server models/s{CANDIDATE} weight {weight}\n".encode())
                talk.recv(4096)

        yield RunningEngine(port, "/", lambda: weigh(1), lambda: weigh(0))


@contextlib.contextmanager
def nginx(models: Path, folder: Path) -> Iterator[RunningEngine]:
    """nginx: split_clients and a reload."""
    with running_backends(models, folder) as ports:
        port, config = free_port(), folder / "nginx.conf"

        def write(share: str) -> None:
            split = f"{share} c{CANDIDATE}; * c{CHAMPION};" if share else f"* c{CHAMPION};"
            clusters = "\n".join(
                f"upstream c{number} {{ server 127.0.0.1:{ports[number]}; keepalive 64; }}" for number in ports
            )
            config.write_text(
                f"""
daemon off; pid {folder}/nginx.pid; error_log {folder}/nginx-error.log; worker_processes 1;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 1000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  split_clients "$request_id" $who {{ {split} }}
  {clusters}
  server {{ listen 127.0.0.1:{port}; location / {{
    proxy_pass http://$who; proxy_http_version 1.1; proxy_set_header Connection ""; }} }}
}}
"""
            )

        write("50%")
        command = [find_program("nginx"), "-p", str(folder), "-c", str(config)]
        with running_process(command, {}, f"http://127.0.0.1:{port}/", folder / "nginx.log") as master:

            def reload(share: str) -> None:
                write(share)
                before = {child.pid for child in master.children()}
                master.send_signal(signal.SIGHUP)
                deadline = time.monotonic() + 10
                while {child.pid for child in master.children()} <= before and time.monotonic() < deadline:
                    time.sleep(0.001)

            yield RunningEngine(port, "/", lambda: reload("50%"), lambda: reload(""))


@contextlib.contextmanager
def envoy(models: Path, folder: Path) -> Iterator[RunningEngine]:
    """Envoy: routes in a file that is replaced."""
    with running_backends(models, folder) as ports:
        port, routes = free_port(), folder / "routes.yaml"

        def write(weight: int) -> None:
            draft = folder / "routes.tmp"
            shares = ", ".join(
                f"{{name: c{number}, weight: {weight if number == CANDIDATE else 100 - weight}}}" for number in ports
            )
            draft.write_text(
                f"""
resources:
- "@type": type.googleapis.com/envoy.config.route.v3.RouteConfiguration
  name: local
  virtual_hosts:
  - name: all
    domains: ["*"]
    routes:
    - match: {{prefix: "/"}}
      route: {{weighted_clusters: {{clusters: [{shares}]}}}}
"""
            )
            draft.rename(routes)

        clusters = "\n".join(
            f"""  - name: c{number}
    connect_timeout: 1s
    load_assignment:
      cluster_name: c{number}
      endpoints:
      - lb_endpoints:
        - endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {at}}}}}}}"""
            for number, at in ports.items()
        )
        config = folder / "envoy.yaml"
        config.write_text(
            f"""
node: {{id: bench, cluster: bench}}
static_resources:
  listeners:
  - address: {{socket_address: {{address: 127.0.0.1, port_value: {port}}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: front
          rds: {{route_config_name: local, config_source: {{path_config_source: {{path: {routes}}}}}}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
  clusters:
{clusters}
"""
        )
        write(50)
        command = [
            find_program("envoy"),
            "-c",
            str(config),
            "--concurrency",
            "1",
            "--log-level",
            "error",
            "--disable-hot-restart",
        ]
        with running_process(command, {}, f"http://127.0.0.1:{port}/", folder / "envoy.log"):
            yield RunningEngine(port, "/", lambda: write(50), lambda: write(0))


@contextlib.contextmanager
def restarted_mlflow_server(models: Path, folder: Path) -> Iterator[RunningEngine]:
    """What MLflow's own server needs: the alias moves, and the server starts again."""
    port = free_port()
    running: list[subprocess.Popen[bytes]] = []
    log = (folder / "mlflow.log").open("wb")

    def begin(number: str) -> None:
        for one in running:
            os.killpg(one.pid, signal.SIGTERM)
            one.wait()
        running.clear()
        while _listens(port):  # its workers end a little later, and answer until then
            time.sleep(0.005)
        command = [
            str(Path(sys.executable).with_name("mlflow")), "models", "serve", "-m", str(models / number),
            "-p", str(port), "--env-manager", "local", "-w", "1",
        ]  # fmt: skip
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        running.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True))
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/ping", timeout=2).status_code == httpx.codes.OK:
                    return
            time.sleep(0.1)

    try:
        begin(CANDIDATE)
        yield RunningEngine(port, "/invocations", lambda: None, lambda: begin(CHAMPION))
    finally:
        for one in running:
            os.killpg(one.pid, signal.SIGTERM)
            one.wait()
        log.close()


def _listens(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
