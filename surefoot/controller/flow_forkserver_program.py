"""Serve as the forkserver that forks one process for each flow run.

The caller names the modules, for this package knows neither flows nor their scheduler. The server starts no thread,
opens no connection but its socket, and runs no flow itself. It ends when its standard input does.
"""

import atexit
import contextlib
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import traceback
from pathlib import Path
from types import FrameType
from typing import NoReturn

from surefoot.adapters.mlflow.model_host import run_model_host
from surefoot.adapters.mlflow.pyfunc.pyfunc_scorer import import_libraries_early
from surefoot.adapters.replay.version_processes import use_forkserver
from surefoot.controller.forked_run import FORKSERVER_SOCKET_NAME, WHEN_IDLE_ARGUMENT, socket_address
from surefoot.models.forking.forkserver import Forkserver

_ANSWERED_S = 5.0
"""How long a client may take to send its request [s]."""
_IDLE_S = 5.0
"""After so long without a run the modules that are imported when idle are imported, one at a time [s]."""
MODEL_HOST_MODULE = "surefoot.adapters.mlflow.model_host"
"""Where this module is among those that are imported, each run has a forkserver of model processes from its start."""
_reply: list[tuple[socket.socket, int]] = []
"""Where this process says its exit code, once it is the process of a run."""


@atexit.register  # registered first, so it runs last
def _say_exit_code() -> None:
    for connection, code in _reply:
        with contextlib.suppress(OSError):
            connection.sendall(f"{code}\n".encode())


def main() -> None:
    """Serve until the standard input ends."""
    home, arguments = Path(os.environ["SUREFOOT_HOME"]), sys.argv[1:]
    at = arguments.index(WHEN_IDLE_ARGUMENT)
    modules, later = arguments[:at], arguments[at + 1 :]
    for module in modules:
        importlib.import_module(module)
    hosts_models = MODEL_HOST_MODULE in modules
    if hosts_models:
        import_libraries_early()
    stamp = _share_what_is_loaded()
    signal.signal(signal.SIGCHLD, _reap)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    (home / FORKSERVER_SOCKET_NAME).unlink(missing_ok=True)
    with socket_address(home) as address:
        listening.bind(address)
    (home / FORKSERVER_SOCKET_NAME).chmod(0o600)
    listening.listen(64)
    while True:
        ready, _, _ = select.select([listening, sys.stdin], [], [], _IDLE_S if later else None)
        if sys.stdin in ready:
            return
        if not ready:
            unchanged = _newest_source() == stamp
            try:
                importlib.import_module(later.pop(0))
            except Exception:  # noqa: BLE001 - a run that needs the module fails by itself, and says why
                traceback.print_exc()
            newest = _share_what_is_loaded()
            stamp = newest if unchanged else stamp  # a source that has changed is noticed at the next run
            continue
        connection, _ = listening.accept()
        with connection:
            if _newest_source() != stamp:  # this run starts an interpreter; the next ones are forked from what is new
                listening.close()
                program = [sys.executable, "-m", "surefoot.controller.flow_forkserver_program", *arguments]
                os.execv(sys.executable, program)  # noqa: S606 - ours
            _serve(connection, listening, hosts_models=hosts_models)


def _share_what_is_loaded() -> float:
    """Keep what is loaded shared with the processes of runs; when a loaded source was changed last [Unix seconds]."""
    gc.collect()
    gc.freeze()
    return _newest_source()


def _newest_source() -> float:
    """When a loaded module of the project, or of this package, was changed last [Unix seconds]."""
    roots = (str(Path.cwd()) + os.sep, str(Path(__file__).resolve().parents[2]) + os.sep)
    packages = f"{os.sep}site-packages{os.sep}"
    newest = 0.0
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None) or ""
        if file.startswith(roots) and packages not in file:
            with contextlib.suppress(OSError):
                newest = max(newest, Path(file).stat().st_mtime)
    return newest


def _reap(_number: int, _frame: FrameType | None) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass


def _serve(connection: socket.socket, listening: socket.socket, *, hosts_models: bool) -> None:
    """Fork a process for one run; a client that asks for nothing sensible is left without an answer."""
    connection.settimeout(_ANSWERED_S)
    server = os.getpid()
    try:
        _, streams, _, _ = socket.recv_fds(connection, 1, 2)
    except OSError:
        return
    try:
        request = json.loads(connection.makefile("rb").readline())
        module, *arguments = map(str, request["arguments"])
        environment, folder = dict(request["environment"]), str(request["folder"])
        out, err = streams
        if others := _other_settings(module, environment):
            print(f"a run with other settings ({', '.join(others)}) starts an interpreter", file=sys.stderr, flush=True)  # noqa: T201 - the controller's log
            return
        if os.fork():
            return
    except (OSError, ValueError, KeyError, TypeError):
        return
    finally:
        if os.getpid() == server:
            for stream in streams:
                os.close(stream)
    try:
        listening.close()
        os.dup2(out, 1)
        os.dup2(err, 2)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        _await_start(connection, hosts_models=hosts_models)
        _run(connection, [module, *arguments])
    except SystemExit:
        raise
    except BaseException:  # noqa: BLE001 - it must not become a second server
        traceback.print_exc()
        os._exit(1)


def _other_settings(module: str, environment: dict[str, str]) -> list[str]:
    """Settings of a run that differ from those of this process, which the module's library read when it was imported.

    The worker tells a run its own settings as well, as it has read them: "false" as "False", and 2 as 2.0.
    """
    prefix = module.partition(".")[0].upper() + "_"
    return sorted(
        name
        for name, value in environment.items()
        if name.startswith(prefix)
        and not name.startswith(f"{prefix}_")
        and _plain(os.environ.get(name, value)) != _plain(value)
    )


def _plain(value: str) -> str | float:
    try:
        return float(value)
    except ValueError:
        return value.lower()


def _await_start(connection: socket.socket, *, hosts_models: bool) -> None:
    """Begin only when the client says so: one that did not wait for this process runs the module itself."""
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    connection.sendall(f"{os.getpid()}\n".encode())
    if connection.recv(1) != b"g":
        os._exit(0)
    connection.settimeout(None)
    if hosts_models:  # a thread of this process could hold a lock, so it is forked before there is one
        use_forkserver(Forkserver(run_model_host, connection))
    threading.Thread(target=_end_with, args=(connection.dup(),), daemon=True).start()


def _run(connection: socket.socket, argv: list[str]) -> NoReturn:
    """Run a module as the main program, and end."""
    sys.argv = argv
    code = 0
    try:
        runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 - as an interpreter of its own would end
        traceback.print_exc()
        code = 1
    _reply.append((connection.dup(), code))
    sys.exit(code)


def _end_with(connection: socket.socket) -> None:
    """End this process when its client is gone: the worker has killed it, and means the run."""
    with contextlib.suppress(OSError):
        while connection.recv(1):
            pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
