"""`python -m bench.libraries [--times N] [--json FILE]`: compares our own code with libraries for the same job.

Where ours stays, docs/adr/0021 says by which of these figures. The rows of a pair take turns in one run.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from surefoot.core.journal.events import decode_event, encode_event
from surefoot.gateway.inference.idle_monitor import IdleMonitor

_Row = dict[str, object]

# Two workers as in the gateway. Each starts processes that echo a byte, and says how long the first took since the
# program began, and the others [ms]; its last process computes for ever.
_WORKERS = """
import json, multiprocessing, os, socket, sys, time
BEGAN = time.perf_counter()
from surefoot.models.forking.forkserver import Forkserver
way, times = sys.argv[1], int(sys.argv[2])
LIBRARIES = ["mlflow.pyfunc.scoring_server", "sklearn.pipeline"]

def serve(end):
    if end.recv(1) == b"f":
        end.sendall(b"f")
        while True:
            pass
    end.sendall(b"e")

def ours(arguments):
    serve(socket.socket(fileno=int(arguments[-1])))

def measure(start):
    took = []
    for number in range(times + 1):
        mine, theirs = socket.socketpair()
        began = time.perf_counter() if number else BEGAN
        start(theirs)
        theirs.close()
        mine.sendall(b"e" if number < times else b"f")
        mine.recv(1)
        took.append((time.perf_counter() - began) * 1000.0)
    with open(sys.argv[3] + f"/{os.getpid()}.part", "w") as said:
        json.dump([os.getpid(), *took], said)
    os.rename(said.name, said.name.replace(".part", ".json"))
    time.sleep(600)

if __name__ == "__main__":
    if way == "ours":
        for name in LIBRARIES:
            __import__(name)
        os.fork()
        server = Forkserver(ours)
        measure(lambda end: server.fork([], end.fileno()))
    else:
        os.fork()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(LIBRARIES)
        measure(lambda end: context.Process(target=serve, args=(end,)).start())
"""
# Open the journal in a fresh process, as `rollback` and every flow do.
_JOURNAL = """
import sys
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
print(len(SqlJournal(sys.argv[1], SystemClock()).read("m")))
"""
# The same through a migration tool: it compares the database's revision with its folder of scripts first.
_ALEMBIC = """
import sys
from alembic import command
from alembic.config import Config
config = Config()
config.set_main_option("script_location", sys.argv[2])
config.set_main_option("sqlalchemy.url", sys.argv[1])
command.upgrade(config, "head")
"""
_ENVIRONMENT = """
import sqlalchemy
from alembic import context
engine = sqlalchemy.create_engine(context.config.get_main_option("sqlalchemy.url"))
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""
_REVISION = """
revision, down_revision = "1", None
def upgrade():
    pass
"""


_GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
"""Journals that earlier releases wrote."""


def _row(name: str, value: float, unit: str, demand: str = "printed", *, ok: bool = True) -> _Row:
    """One row of the report."""
    return {"name": name, "value": round(value, 3), "unit": unit, "demand": demand, "ok": ok}


def _results(folder: Path) -> list[list[float]]:
    """Wait for what both workers say: the process id, then how long each process took [ms].

    Raises:
        TimeoutError: One of them says nothing.
    """
    deadline = time.monotonic() + 120.0
    while len(found := list(folder.glob("*.json"))) < 2:
        if time.monotonic() > deadline:
            raise TimeoutError("a worker has measured nothing within 120 s")
        time.sleep(0.1)
    return [json.loads(file.read_text(encoding="utf-8")) for file in found]


def _forkservers(times: int) -> list[_Row]:
    """Start processes both ways, add up what they all keep in memory, then kill the workers."""
    found: dict[str, tuple[float, float, float, int]] = {}
    for way in ("ours", "multiprocessing"):
        with tempfile.TemporaryDirectory() as folder:
            program = Path(folder) / "workers.py"  # a file: multiprocessing imports its main module again
            program.write_text(_WORKERS, encoding="utf-8")
            first = subprocess.Popen([sys.executable, str(program), way, str(times), folder])
            said = _results(Path(folder))
            family = psutil.Process(first.pid).children(recursive=True)
            memory = sum(each.memory_full_info().pss for each in (psutil.Process(first.pid), *family)) / 2**20
            for number, *_ in said:
                psutil.Process(int(number)).kill()
            first.wait()
            time.sleep(2.0)
            left = [each for each in family if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]
            for each in left:
                each.kill()
        others = [took for one in said for took in one[2:]]
        found[way] = max(one[1] for one in said), statistics.median(others), memory, len(left)
    names = (
        ("two workers until each has its first process", "ms"),
        ("start one more process", "ms"),
        ("memory of two workers, their forkservers and a process each", "MB"),
        ("processes left 2 s after the workers were killed", ""),
    )
    return [
        _row(f"{name}, {way}", value, unit)
        for (name, unit), values in zip(names, zip(*found.values(), strict=True), strict=True)
        for way, value in zip(found, values, strict=True)
    ]


def _fresh(program: str, *arguments: str) -> float:
    """Run a program in a fresh process; how long it took [ms]."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, capture_output=True)
    return (time.perf_counter() - began) * 1000.0


def _journals(times: int) -> list[_Row]:
    """Open a journal that exists, and check its schema with Alembic."""
    with tempfile.TemporaryDirectory() as folder:
        scripts = Path(folder) / "scripts"
        (scripts / "versions").mkdir(parents=True)
        (scripts / "env.py").write_text(_ENVIRONMENT, encoding="utf-8")
        (scripts / "versions" / "first.py").write_text(_REVISION, encoding="utf-8")
        url = f"sqlite:///{Path(folder) / 'journal.db'}"
        ours, theirs = [], []
        for _ in range(times + 1):
            ours.append(_fresh(_JOURNAL, url))
            theirs.append(_fresh(_ALEMBIC, url, str(scripts)))
    return [
        _row("open the journal in a fresh process", statistics.median(ours[1:]), "ms"),
        _row(
            "check its schema with Alembic in a fresh process, to be added to it", statistics.median(theirs[1:]), "ms"
        ),
    ]


def _hangs(seconds: float) -> Callable[[], None]:
    def ask() -> None:
        time.sleep(seconds)
        raise ConnectionError

    return ask


def _retries() -> list[_Row]:
    """Ask a server of which each answer takes 0.4 s and fails, with a limit of 0.7 s for the whole operation."""
    from surefoot.adapters.mlflow.client import RetryingClient  # noqa: PLC0415 - imports MLflow
    from surefoot.core.errors import Unavailable  # noqa: PLC0415 - same

    limit, ask = 0.7, _hangs(0.4)

    def unavailable(_client: object) -> None:
        try:
            ask()
        except ConnectionError as error:
            raise Unavailable("down") from error

    RetryingClient("http://127.0.0.1:9", limit)._client()  # noqa: SLF001 - the import is not the retry
    client = RetryingClient("http://127.0.0.1:9", limit)
    client._client()  # noqa: SLF001 - same
    began = time.perf_counter()
    try:
        client.call(unavailable)
    except Unavailable:
        took = time.perf_counter() - began
    made = [_row("reads that fail within a limit of 0.7 s end after, ours", took, "s", "<= 0.7", ok=took <= limit)]
    try:
        import tenacity  # type: ignore[import-not-found,unused-ignore]  # noqa: PLC0415 - no part of the installation
    except ModuleNotFoundError:
        return [*made, _row("the same with tenacity: install tenacity to measure it", 0.0, "not measured")]
    patient = tenacity.Retrying(
        stop=tenacity.stop_before_delay(limit), wait=tenacity.wait_exponential(0.1, max=2.0), reraise=True
    )
    began = time.perf_counter()
    try:
        patient(ask)
    except ConnectionError:
        took = time.perf_counter() - began
    return [*made, _row("the same with tenacity (stop_before_delay)", took, "s")]


def _idle_time() -> list[_Row]:
    """Sample the host's idle time through psutil."""
    monitor, took = IdleMonitor(0.3), []
    for _ in range(500):
        began = time.perf_counter()
        monitor.measure_idle()
        took.append((time.perf_counter() - began) * 1e6)
    value = statistics.median(took)
    return [
        _row("sample the host's idle time (psutil), ten times a second", value, "us", "<= 1000", ok=value <= 1000.0)
    ]


def _journal_entries(times: int) -> list[_Row]:
    """Write and read the entries of the golden journals through cattrs."""
    entries = [json.loads(line) for file in sorted(_GOLDEN.glob("*.jsonl")) for line in file.read_text().splitlines()]
    events = [decode_event(entry["kind"], entry["data"]) for entry in entries]
    read, written = [], []
    for _ in range(times):
        began = time.perf_counter()
        for entry in entries:
            decode_event(entry["kind"], entry["data"])
        middle = time.perf_counter()
        for event in events:
            encode_event(event)
        read.append((middle - began) / len(entries) * 1e6)
        written.append((time.perf_counter() - middle) / len(entries) * 1e6)
    imported, nothing = (
        statistics.median(_fresh(program) for _ in range(5))
        for program in ("import cattrs", "import dataclasses, typing")
    )
    return [
        _row(f"read a journal entry (cattrs), median of {len(entries)} entries", statistics.median(read), "us"),
        _row(f"write a journal entry (cattrs), median of {len(entries)} entries", statistics.median(written), "us"),
        _row("import cattrs, in each command", imported - nothing, "ms"),
    ]


def main() -> int:
    """Print the table; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.libraries", description=__doc__)
    parser.add_argument("--times", type=int, default=20, help="how often each is measured")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows = [
        *_forkservers(options.times),
        *_journals(options.times),
        *_retries(),
        *_idle_time(),
        *_journal_entries(options.times),
    ]
    table = Table("what", "value", "unit", "demand", "")
    for each in rows:
        table.add_row(
            *(str(each[key]) for key in ("name", "value", "unit", "demand")), "ok" if each["ok"] else "MISSED"
        )
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(each["ok"] for each in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
