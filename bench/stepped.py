"""`python -m bench.stepped [--only STORY ...] [--json FILE]`: tests stepped rollbacks to a version not yet loaded.

Version 2 has been promoted, and version 1, which served before it, is outside of `rollback.window` and not loaded any
more. Callers ask without a pause over many connections, each request for another unit, while the real command
`surefoot rollback` takes version 2 back by two weights; MLflow and Prefect are down. In the other stories the rollback
is aborted, or the command, a front worker of the gateway or the target's process is killed, in the middle.
"""

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import psutil
from rich.console import Console

from bench.gateway import free_port, running_process
from bench.rollback import save_models
from bench.rolling.callers import FAILED
from bench.rolling.engines import CANDIDATE, CHAMPION, TOKEN
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.adapters.mlflow.artifacts import directory_digest
from surefoot.adapters.traffic.gateway import GatewayTraffic
from surefoot.core.domain import RolloutKind, Split, Stage, Version
from surefoot.core.journal.events import (
    ChampionAdopted,
    EffectDone,
    EffectIntended,
    Event,
    GateJudged,
    RolloutEnded,
    RolloutOpened,
    SetSplit,
    StageEntered,
    decode_event,
)
from surefoot.core.journal.ledger import Ledger
from surefoot.core.rollback.stepped_rollback import is_rolling_back_in_steps
from surefoot.rollout import Ports
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from surefoot.settings import Settings

_MODEL = "u"
_CALLERS = 64
_UNITS = 1_000_000
_HOLD_S = 6.0
_WEIGHTS = (10.0, 50.0)
_PATIENCE_S = 120.0
_WITHOUT_REGISTRY = 4
"""Exit code of a rollback whose traffic is back and whose aliases have to wait."""
_STORIES = ("to its end", "aborted", "command killed", "front worker killed", "target killed")
POLICY: dict[str, object] = {
    "model": _MODEL,
    "owners": ["bench"],
    "unit": "unit",
    "traffic": {"engine": "gateway", "requests_per_minute": 60_000},
    "data": {"suite": _MODEL, "window": "7d"},
    "gates": {"errors": {"metric": "error_rate", "margin": "1pp"}},
    "steps": [{"weight": 50, "hold": {"for": "10m", "gates": ["errors"]}}],
    "bake": {"for": "1h", "gates": ["errors"]},
    "rollback": {"mode": "stepped", "steps": list(_WEIGHTS), "hold": f"{_HOLD_S:g}s", "window": {"age": "1s"}},
}
_NOTES = Console(stderr=True)


class _Stack:
    """A gateway with two front workers and a journal; nothing answers for MLflow and Prefect."""

    def __init__(self, home: Path, models: Path, port: int) -> None:
        """Promote version 2 over version 1, and have version 1 unloaded."""
        dead = f"http://127.0.0.1:{free_port()}"
        config = Settings(home, home, dead, dead, f"http://127.0.0.1:{port}", TOKEN)
        config.save()
        self.home, self.port = home, port
        self.traffic = GatewayTraffic(config.gateway, TOKEN)
        self.journal = SqlJournal(config.journal_url, SystemClock())
        self._ports = Ports(self.journal, None, self.traffic, None, SystemClock(), "bench")  # type: ignore[arg-type]
        old, new = (Version(number, directory_digest(models / number)) for number in (CHAMPION, CANDIDATE))
        self._append(ChampionAdopted(old))
        journal_and_apply_effect(self._ports, self.ledger(), SetSplit(old, None, 0.0))
        self._append(RolloutOpened("up", RolloutKind.PROMOTION, new, old, POLICY, "", "", "salt", 1, "bench"))
        self._append(StageEntered("up", Stage.PROMOTING, 0, "bench"))
        journal_and_apply_effect(self._ports, self.ledger(), SetSplit(new, None, 0.0))
        self._append(RolloutEnded("up", Stage.PROMOTED, "bench"))
        self.traffic.set_standby(_MODEL, self.live().generation, None)
        _wait_until(lambda: not self.is_loaded(CHAMPION))

    def _append(self, event: Event) -> None:
        self._ports.append(self.ledger(), event)

    def ledger(self) -> Ledger:
        """What the journal says."""
        return self._ports.ledger(_MODEL)

    def live(self) -> Split:
        """What the gateway serves."""
        live = self.traffic.live(_MODEL)
        if live is None:
            raise RuntimeError("the gateway serves nothing")
        return live

    def is_loaded(self, number: str) -> bool:
        """Whether a version is loaded: only then its batches are counted."""
        versions: dict[str, dict[str, object]] = self.traffic.stats(_MODEL)["versions"]  # type: ignore[assignment]
        return "row_wise" in versions.get(number, {})

    def is_rolling_back_in_steps(self) -> bool:
        """Whether a weight of the rollback is in force."""
        ledger = self.ledger()
        return (
            ledger.rollout is not None
            and bool(ledger.rollout.done)
            and is_rolling_back_in_steps(ledger, ledger.rollout)
        )

    def command(self, *words: str) -> subprocess.Popen[bytes]:
        """Run a command of surefoot in a process of its own."""
        whole = [sys.executable, "-m", "surefoot", *words]
        plain = {**os.environ, "SUREFOOT_HOME": str(self.home)}
        return subprocess.Popen(whole, env=plain, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_until(ready: Callable[[], bool]) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: It was not in time.
    """
    deadline = time.monotonic() + _PATIENCE_S
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError("the bench waits in vain")
        time.sleep(0.05)


def _kill_worker(stack: _Stack, gateway: psutil.Process) -> None:
    """Kill a front worker."""
    listening = [child for child in gateway.children() if _listens(child, stack.port)]
    listening[0].kill()


def _listens(found: psutil.Process, port: int) -> bool:
    with contextlib.suppress(psutil.Error):
        return any(one.laddr and one.laddr.port == port for one in found.net_connections(kind="tcp"))
    return False


def _kill_target(models: Path, gateway: psutil.Process) -> None:
    """Kill the processes that hold the target."""
    for child in gateway.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if any(word == str(models / CHAMPION) for word in child.cmdline()):
                child.kill()


@contextlib.contextmanager
def _load(port: int, file: Path) -> Iterator[None]:
    """Ask without a pause meanwhile; what was seen is in the file after that."""
    words = ["127.0.0.1", str(port), f"/models/{_MODEL}/invocations", str(_CALLERS), str(file), str(_UNITS)]
    with subprocess.Popen([sys.executable, "-m", "bench.rolling.callers", *words]) as callers:
        try:
            time.sleep(1.0)
            yield
            time.sleep(0.5)
        finally:
            callers.send_signal(signal.SIGTERM)


def _play(story: str, models: Path, folder: Path) -> list[dict[str, object]]:
    """Tell one story on a gateway of its own; its rows."""
    port, home = free_port(), folder / "home"
    home.mkdir(parents=True)
    command = [sys.executable, "-m", "bench.gateway_process", str(home / "gateway"), str(models), str(port), "2"]
    with running_process(
        command, {"OMP_NUM_THREADS": "1"}, f"http://127.0.0.1:{port}/version", folder / "gateway.log"
    ) as gateway:
        stack = _Stack(home, models, port)
        before, began = len(stack.journal.read(_MODEL)), time.monotonic()
        with _load(port, folder / "seen.npz"):
            running = stack.command("rollback", _MODEL, "-m", story)
            _wait_until(stack.is_rolling_back_in_steps)
            _disturb(story, stack, running, gateway, models)
            code = running.wait(_PATIENCE_S)
            if story == "command killed":
                code = stack.command("rollback", _MODEL).wait(_PATIENCE_S)
            lasted = time.monotonic() - began
        return _rows_of(story, stack, code, lasted, before, np.load(folder / "seen.npz")["seen"])


def _disturb(
    story: str, stack: _Stack, running: subprocess.Popen[bytes], gateway: psutil.Process, models: Path
) -> None:
    """Do in the middle what the story says."""
    if story == "aborted":
        stack.command("abort", _MODEL, "-m", "not that").wait(_PATIENCE_S)
    elif story == "command killed":
        running.kill()
    elif story == "front worker killed":
        _kill_worker(stack, gateway)
    elif story == "target killed":
        _kill_target(models, gateway)


def _rows_of(
    story: str,
    stack: _Stack,
    code: int,
    lasted: float,
    before: int,
    seen: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
) -> list[dict[str, object]]:
    """What was shown, with its demands."""
    entries = stack.journal.read(_MODEL, after=before)
    events = [decode_event(entry.kind, entry.data) for entry in entries]
    entered = [event.step for event in events if isinstance(event, StageEntered) and event.stage is Stage.RAMPING]
    judged = {event.step for event in events if isinstance(event, GateJudged)}
    splits = {
        entry.seq: event.effect
        for entry, event in zip(entries, events, strict=True)
        if isinstance(event, EffectIntended) and isinstance(event.effect, SetSplit)
    }
    took = {
        splits[event.intent].weight: event.took_ms
        for event in events
        if isinstance(event, EffectDone) and event.intent in splits
    }
    aborted = story == "aborted"
    live, served = stack.live(), CANDIDATE if aborted else CHAMPION
    right = (live.champion.number, live.candidate) == (served, None) and stack.ledger().split == live
    failed, steps = int((seen[:, 1] == FAILED).sum()), 1 if aborted else len(_WEIGHTS)
    most = _CALLERS if story == "front worker killed" else 0
    rows: list[dict[str, object]] = []
    for name, value, unit, demand, ok in (
        ("callers without an answer", failed, f"of {len(seen):,}", f"<= {most}", failed <= most),
        ("load", round(len(seen) / (lasted + 1.5)), "req/s", ">= 1000", len(seen) / (lasted + 1.5) >= 1000),
        ("steps with gate and time in the journal", len(judged & {*entered}), "steps", f">= {steps - aborted}",
         len(judged & {*entered}) >= steps - aborted and len(took) >= steps),
        ("route as in the journal, on the right version", int(right), "of 1", ">= 1", right),
        ("exit code of the command", code, "", f"== {1 if aborted else _WITHOUT_REGISTRY}",
         code == (1 if aborted else _WITHOUT_REGISTRY)),
        ("slowest split", round(max(took.values(), default=0.0)), "ms", "", True),
    ):  # fmt: skip
        rows.append({"name": f"{story}: {name}", "value": value, "unit": unit, "demand": demand, "ok": ok})
    return rows


def main() -> int:
    """Print the rows; 1 when one misses its demand."""
    parser = argparse.ArgumentParser(prog="python -m bench.stepped", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_STORIES, default=_STORIES, help="stories to tell")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as place:
        models = Path(place) / "models"
        save_models(models)
        for story in options.only:
            _NOTES.print(story)
            rows += _play(story, models, Path(place) / story.replace(" ", "-"))
    for row in rows:
        mark = "ok" if row["ok"] else "MISSED"
        print(f"{row['name']:<66} {row['value']!s:>7} {row['unit']:<12} {row['demand']:<8} {mark}")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
