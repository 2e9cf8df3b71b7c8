"""`python -m bench.idle [--minutes N] [--models N ...] [--json FILE]`: measures processor time of an idle stack.

One stack of real servers stands still: first with both schedules off and no controller (that is what MLflow, the
Prefect server and its worker cost by themselves), then with the schedules on and 0, 1, 10 and 100 models that bake.
Each model is looked at every ten minutes, and the looks of many models are spread evenly over them.
"""

import argparse
import contextlib
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench.linear_model import POLICY, SUITE, log_linear_model
from surefoot import wiring
from surefoot.adapters.clock import SystemClock
from surefoot.cli.local import stack
from surefoot.cli.local.prefect_server import SCHEDULED_FLOWS, _request_prefect
from surefoot.cli.local.processes import STACK_PROCESS_VARIABLE, end_processes, find_stack_processes
from surefoot.cli.local.stack_options import StackOptions
from surefoot.cli.local.start_services import SERVER_ENVIRONMENT, STACK_SERVICES
from surefoot.core.domain import RolloutKind, Stage
from surefoot.core.journal.chain import canonical_digest
from surefoot.core.journal.events import ChampionAdopted, RolloutOpened, SetSplit, StageEntered
from surefoot.rollout import Ports, advance_rollout
from surefoot.rollout.advance_rollout import journal_and_apply_effect
from surefoot.settings import Settings

_ROOT = Path(__file__).resolve().parents[1]
_SERVERS = ("mlflow", "prefect", "worker")
"""Parts that any stack of MLflow and Prefect has."""
_EVERY_S = 600.0
"""Time between two looks at a model [s]."""
_SETTLE_S = 150.0
"""How long a stack is left alone before it is measured: its start, and what was changed, is over by then [s]."""
_MOST_ABOVE_S = 1.5
"""Most that a stack with one model may cost above its servers by themselves [CPU s a minute]."""
_MOST_TIMES = 20.0
"""Most that a hundred models may cost above the servers, as a multiple of one model."""

_Spent = dict[str, float]
"""Processor time by part of the stack [s]."""


class _EarlierClock(SystemClock):
    """The host's clock, some time ago."""

    def __init__(self, ago: float) -> None:
        """Remember how long ago [s]."""
        self._ago = ago

    def now(self) -> float:
        """Time of the host, less what it is behind [Unix seconds]."""
        return super().now() - self._ago


def _spent(home: Path) -> _Spent:
    """Processor time of all processes of a stack since they started, those that have ended among them [s]."""
    found: _Spent = {}
    for process in find_stack_processes(home):
        with contextlib.suppress(psutil.Error):
            part, times = process.environ().get(STACK_PROCESS_VARIABLE, "other"), process.cpu_times()
            own = times.user + times.system + times.children_user + times.children_system
            found[part] = found.get(part, 0.0) + own
    return found


def _measured(home: Path, minutes: float) -> _Spent:
    """Processor time by part of the stack while it is left alone [CPU s a minute]."""
    before = _spent(home)
    time.sleep(minutes * 60.0)
    after = _spent(home)
    return {part: (after[part] - before.get(part, 0.0)) / minutes for part in after}


@contextlib.contextmanager
def running_bench_stack(folder: Path) -> Iterator[Settings]:
    """A stack of this checkout with a project of its own."""
    project, home = folder / "project", folder / "home"
    (project / "configs").mkdir(parents=True)
    (project / "expectations").mkdir()
    (project / "expectations" / "idle.json").write_text(SUITE, encoding="utf-8")
    for name in ("flows", "tasks", "prefect.yaml"):
        (project / name).symlink_to(_ROOT / name)
    config = stack.start_stack(home, project, StackOptions())
    try:
        yield config
    finally:
        stack.stop_stack_of_home(home)


def _switch(config: Settings, *, on: bool) -> None:
    """Turn both schedules on or off."""
    for name in SCHEDULED_FLOWS:
        trouble = f"Prefect does not switch {name}"
        found = _request_prefect(config, "GET", f"/deployments/name/{name}/{name}", trouble).json()
        _request_prefect(config, "PATCH", f"/deployments/{found['id']}", trouble, {"paused": not on})


@dataclass
class _Registered:
    """Two versions of a model that does nearly nothing, under as many names as are asked for."""

    config: Settings
    sources: tuple[str, ...] = ()
    count: int = 0

    def bake(self, count: int) -> None:
        """Have so many models bake."""
        if count and not self.sources:
            self.sources = tuple(log_linear_model(self.config, "idle", slope) for slope in (1.0, 1.5))
        for number in range(self.count, count):
            self._bake(f"idle-{number:03d}", (number % 10 + 0.5) / 10.0 * _EVERY_S * 0.9)
        self.count = count

    def _bake(self, model: str, ago: float) -> None:
        """Register both versions, and journal that the second one has come to its bake and was looked at."""
        import mlflow  # noqa: PLC0415 - costs seconds

        client = mlflow.MlflowClient(self.config.mlflow, self.config.mlflow)
        for source in self.sources:
            mlflow.register_model(source, model)
        client.set_registered_model_alias(model, "champion", "2")
        client.set_registered_model_alias(model, "previous", "1")
        (self.config.configs / f"{model}.yaml").write_text(POLICY.replace("MODEL", model), encoding="utf-8")
        request = wiring.promotion_request(self.config, model, "2", "a bench")
        with wiring.open_ports(self.config, "bench") as ports:
            old, new = (ports.registry.resolve(model, number) for number in ("1", "2"))
            opened = RolloutOpened(
                rollout="r1",
                kind=RolloutKind.PROMOTION,
                candidate=new,
                champion=old,
                policy=request.policy,
                policy_digest=canonical_digest(request.policy),
                suite_digest=request.suite_digest,
                salt="salt",
                attempt=1,
                reason="a bench",
            )
            earlier = replace(ports, clock=_EarlierClock(ago))
            ledger = earlier.append(earlier.ledger(model), ChampionAdopted(old))
            ledger = earlier.append(ledger, opened)
            ledger = earlier.append(ledger, StageEntered("r1", Stage.BAKING, 0, "a bench"))
            ledger = journal_and_apply_effect(ports, ledger, SetSplit(new, None, 0.0))
            self._look(earlier, model)

    @staticmethod
    def _look(ports: Ports, model: str) -> None:
        advance_rollout(ports, ports.ledger(model))


def _row(name: str, value: float, unit: str, demand: str = "", *, ok: bool = True) -> dict[str, object]:
    """One measured number, and what is asked of it."""
    return {"name": name, "value": round(value, 2), "unit": unit, "demand": demand, "ok": ok}


def rows(base: _Spent, found: dict[int, _Spent]) -> list[dict[str, object]]:
    """Every row of the report."""
    unit, alone = "CPU s a minute", sum(base.get(part, 0.0) for part in _SERVERS)
    made = [_row("MLflow, Prefect server and worker by themselves", alone, unit)]
    made += [_row(f"by themselves: {part}", base.get(part, 0.0), unit) for part in _SERVERS]
    above = {count: sum(by_part.values()) - alone for count, by_part in found.items()}
    for count, by_part in found.items():
        said = f"{count} model{'' if count == 1 else 's'} baking"
        made.append(_row(f"{said}: the whole stack", sum(by_part.values()), unit))
        made += [_row(f"{said}: {part}", value, unit) for part, value in sorted(by_part.items())]
        ok = count != 1 or above[count] <= _MOST_ABOVE_S
        made.append(
            _row(f"{said}: above the servers", above[count], unit, f"<= {_MOST_ABOVE_S}" if count == 1 else "", ok=ok)
        )
    if 1 in above and 100 in above:
        times = above[100] / max(above[1], 0.01)
        made.append(
            _row(
                "100 models baking, as a multiple of 1", times, "times", f"<= {_MOST_TIMES:g}", ok=times <= _MOST_TIMES
            )
        )
    return made


def main() -> int:
    """Print what a stack that stands still costs; 1 when it is more than it may be."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long each number of models is measured")
    parser.add_argument("--settle", type=float, default=_SETTLE_S, help="seconds before each measurement")
    parser.add_argument("--models", type=int, nargs="+", default=[0, 1, 10, 100], help="how many models bake")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    os.environ.update(SERVER_ENVIRONMENT)
    found: dict[int, _Spent] = {}
    with tempfile.TemporaryDirectory(prefix="surefoot-idle-") as folder, running_bench_stack(Path(folder)) as config:
        _switch(config, on=False)
        end_processes(find_stack_processes(config.home, ("controller",)), [], 15.0)
        time.sleep(options.settle)
        base = _measured(config.home, options.minutes)
        print(f"servers by themselves: {base}", file=sys.stderr, flush=True)
        if "controller" in STACK_SERVICES:
            stack.start_stack(config.home, config.project, StackOptions())
        models = _Registered(config)
        for count in sorted(options.models):
            models.bake(count)
            _switch(config, on=True)
            time.sleep(options.settle)
            found[count] = _measured(config.home, options.minutes)
            print(f"{count} models: {found[count]}", file=sys.stderr, flush=True)
            _switch(config, on=False)
    made = rows(base, found)
    table = Table("", "value", "unit", "demand", "")
    for each in made:
        table.add_row(*(str(each[key]) for key in ("name", "value", "unit", "demand")), "" if each["ok"] else "MISSED")
    Console(width=140).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": made}, indent=2), encoding="utf-8")
    return 0 if all(each["ok"] for each in made) else 1


if __name__ == "__main__":
    sys.exit(main())
