"""ServerStarter a model server, check its answers, pause and resume it, and end its processes."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from bench.serving.models import BodyBuilder, split_body
from surefoot.cli.local.signals import exit_on_stop_signals


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers.

    Attributes:
        url: Where it is asked.
        process: The process that has all others of it as descendants.
        body: How it wants to be asked.
        restless: Whether it burns processor time while nobody asks, and so has to be stopped meanwhile.
    """

    url: str
    process: psutil.Process
    body: BodyBuilder = split_body
    restless: bool = False


ServerStarter = Callable[[Path, str, Path], AbstractContextManager[Server]]
"""Serves a model, given the folder of all models, its name, and a folder to write to."""


def free_port() -> int:
    """A port that nobody has."""
    import socket  # noqa: PLC0415 - only here

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@contextlib.contextmanager
def running_process(
    command: Sequence[str], environment: Mapping[str, str], url: str, log: Path
) -> Iterator[psutil.Process]:
    """A server that answers; it and its children are ended, also when this process is to end."""
    with exit_on_stop_signals(), log.open("w") as out:
        started = subprocess.Popen(command, env={**os.environ, **environment}, stdout=out, stderr=out)
        found = psutil.Process(started.pid)
        try:
            deadline = time.monotonic() + 180
            while time.monotonic() < deadline:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(url, timeout=2).status_code < 500:
                        break
                if started.poll() is not None:
                    raise RuntimeError(f"{command[0]} ended: {log.read_text()[-2000:]}")
                time.sleep(0.2)
            yield found
        finally:
            everybody = process_tree(found)
            started.terminate()
            _, alive = psutil.wait_procs(everybody, 10)
            for one in alive:
                with contextlib.suppress(psutil.Error):
                    one.kill()
            started.wait()


def process_tree(server: psutil.Process) -> list[psutil.Process]:
    """A process and its descendants, the eldest first."""
    with contextlib.suppress(psutil.Error):
        return [server, *server.children(recursive=True)]
    return []


def pause_server(server: Server) -> None:
    """Stop a restless server until it is asked again."""
    if server.restless:
        for one in process_tree(server.process):
            with contextlib.suppress(psutil.Error):
                one.suspend()


def resume_server(server: Server) -> None:
    """Let a restless server go on."""
    if server.restless:
        for one in reversed(process_tree(server.process)):
            with contextlib.suppress(psutil.Error):
                one.resume()
        time.sleep(1.0)


def check_answers(server: Server, model: str, rows: int, right: Sequence[float]) -> None:
    """Wait until a server answers, and see that its answers are the model's.

    Raises:
        AssertionError: They are not.
        TimeoutError: It does not answer.
    """
    deadline = time.monotonic() + 120
    said = ""
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            headers = {"content-type": "application/json"}
            reply = httpx.post(server.url, content=server.body(model, rows), headers=headers, timeout=60)
            said = f"{reply.status_code} {reply.text[:2000]}"
            if reply.status_code == httpx.codes.OK:
                given = _answers(reply.json())
                if given != list(right):
                    raise AssertionError(f"{server.url} answers {given[:5]}, the model {list(right)[:5]}")
                return
        time.sleep(0.5)
    raise TimeoutError(f"{server.url} does not answer: {said}")


def _answers(said: object) -> list[float]:
    """The predictions, however a server words them."""
    found = said
    if isinstance(said, dict):
        found = said["predictions"] if "predictions" in said else said["outputs"][0]["data"]
    return [float(one) for one in found] if isinstance(found, list) else []
