"""`python -m bench.reconcile [--models N ...] [--json FILE]`: measures the cost and delay of registry checks.

One embedded stack (MLflow on SQLite, Prefect, the controller) has 1, 10, 100 and 1,000 registered models of five
versions each. Measured are calls to MLflow and time of the controller's first look, of a later look without news, and
of the registry's part of the flow `reconcile`. Then alias `candidate` is moved, and the time is taken until the rollout
is opened: with MLflow's webhook, and after the webhook was removed.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.idle import running_bench_stack
from bench.linear_model import POLICY, SUITE, log_linear_model
from bench.reconciling.one_pass import PassCost, run_flow, run_two_looks
from bench.reconciling.registered_models import build_installation, model_name, register_models
from surefoot import wiring
from surefoot.cli.local.start_services import SERVER_ENVIRONMENT
from surefoot.core.domain import Stage
from surefoot.rollout import adopt_champion, end_rollout, finish_decided_ending
from surefoot.settings import Settings

_NOTES = Console(stderr=True)
_KINDS = ("first look", "look without news", "flow")
MOST_GROWTH_OF_CALLS, MOST_GROWTH_OF_TIME = 1.0, 2.0
"""Calls and time a model at the largest number of models, as a multiple of those at the number before it, at most."""
_MOST_CALLS_A_HUNDRED = 8.0
"""Calls of any pass for each hundred models, at most [count]."""
_MOST_OPENING_S = 2.0
"""Time from a moved alias to the opened rollout with a webhook, at most [s]."""
_MOVES = 3
_SETTLE_S = 20.0
"""How long after a tick the next alias is moved [s]."""
_Row = dict[str, object]


def _row(name: str, value: float, unit: str, demand: str = "", *, ok: bool = True) -> _Row:
    """One measured number, and what is asked of it."""
    return {"name": name, "value": round(value, 4), "unit": unit, "demand": demand, "ok": ok}


def _passes(config: Settings, counts: list[int], folder: Path) -> dict[int, dict[str, PassCost]]:
    """One pass of each kind over each number of models."""
    found: dict[int, dict[str, PassCost]] = {}
    registered = 0
    for count in sorted(counts):
        register_models(config.home / "mlflow" / "mlflow.db", registered, count)
        registered = count
        own = build_installation(config, folder / f"of-{count}", count)
        names = [model_name(number) for number in range(count)]
        first, later = run_two_looks(own, names)
        found[count] = dict(zip(_KINDS, (first, later, run_flow(own, names)), strict=True))
        _NOTES.print(f"{count} models: {found[count]}")
    return found


def _rows_of_passes(found: dict[int, dict[str, PassCost]]) -> list[_Row]:
    """Calls and time of each pass, and how they grow."""
    made: list[_Row] = []
    for count, of_kind in found.items():
        for kind, one in of_kind.items():
            most = max(_MOST_CALLS_A_HUNDRED, count / 100.0 * _MOST_CALLS_A_HUNDRED)
            asked = count >= 10
            said = f"<= {most:g}" if asked else ""
            made.append(
                _row(f"{count} models, {kind}: calls", one.calls, "calls", said, ok=not asked or one.calls <= most)
            )
            made.append(_row(f"{count} models, {kind}: time", one.seconds, "s"))
    larger = [count for count in found if count >= 100]
    for before, after in pairwise(larger):
        for kind in _KINDS:
            one, other = found[before][kind], found[after][kind]
            for what, grown, most in (
                ("calls", other.calls / after / (one.calls / before), MOST_GROWTH_OF_CALLS),
                ("time", other.seconds / after / (one.seconds / before), MOST_GROWTH_OF_TIME),
            ):
                name = f"{kind}: {what} a model at {after} as a multiple of those at {before}"
                made.append(_row(name, grown, "times", f"<= {most:g}", ok=grown <= most))
    return made


def _serve(config: Settings, name: str, sources: tuple[str, ...]) -> None:
    """Register two versions of a model, and serve the first one."""
    import mlflow  # noqa: PLC0415 - costs seconds

    for source in sources:
        mlflow.register_model(source, name)
    mlflow.MlflowClient(config.mlflow, config.mlflow).set_registered_model_alias(name, "champion", "1")
    (config.configs / f"{name}.yaml").write_text(POLICY.replace("MODEL", name), encoding="utf-8")
    with wiring.open_ports(config, "bench") as ports:
        adopt_champion(ports, name)


def _opening(config: Settings, name: str, most: float) -> float:
    """Time from the call that moves the alias until the rollout is in the journal [s]; `most` where it never is."""
    import mlflow  # noqa: PLC0415 - costs seconds

    client = mlflow.MlflowClient(config.mlflow, config.mlflow)
    began = time.monotonic()
    client.set_registered_model_alias(name, "candidate", "2")
    while (took := time.monotonic() - began) < most:
        with wiring.open_journal(config) as journal:
            if any(entry.kind == "RolloutOpened" for entry in journal.read(name)):
                return took
        time.sleep(0.02)
    return most


def _abort(config: Settings, name: str) -> None:
    """End a rollout before a run drives it."""
    with wiring.open_ports(config, "bench") as ports:
        if ports.ledger(name).open:
            end_rollout(ports, name, Stage.ABORTED, "a bench")
            finish_decided_ending(ports, name)


def _remove_webhooks(config: Settings) -> None:
    """Have MLflow tell of nothing any more."""
    import mlflow  # noqa: PLC0415 - costs seconds

    client = mlflow.MlflowClient(config.mlflow, config.mlflow)
    for one in client.list_webhooks():
        client.delete_webhook(one.webhook_id)


def _openings(config: Settings) -> list[_Row]:
    """How soon a moved alias opens a rollout, with and without webhook."""
    sources, made = tuple(log_linear_model(config, "bench", slope) for slope in (1.0, 1.5)), list[_Row]()
    (config.project / "expectations" / "idle.json").write_text(SUITE, encoding="utf-8")
    names = [f"told-{number}" for number in range(_MOVES)]
    for name in (*names, "untold"):
        _serve(config, name, sources)
    time.sleep(2.0 * config.tick)  # what was served a moment ago is work for a tick, which would open them as well
    told = []
    for name in names:
        told.append(_opening(config, name, config.tick * 2.0))
        _abort(config, name)
        time.sleep(config.tick + _SETTLE_S)  # until the ticks have shown it: flow runs that start take the processors
    _NOTES.print(f"with a webhook: {told}")
    name, took = "alias moved to rollout opened, with a webhook, median", statistics.median(told)
    made.append(_row(name, took, "s", f"<= {_MOST_OPENING_S:g}", ok=took <= _MOST_OPENING_S))
    made.append(_row("the same, slowest", max(told), "s"))
    _remove_webhooks(config)
    time.sleep(2.0 * config.tick)
    took = _opening(config, "untold", config.tick * 3.0)
    name = "alias moved to rollout opened, without webhook"
    made.append(_row(name, took, "s", f"<= {config.tick}, one tick", ok=took <= config.tick))
    return made


def main() -> int:
    """Print what a pass costs and how soon a move is seen; 1 when a demand is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.reconcile", description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=[1, 10, 100, 1000], help="how many are registered")
    parser.add_argument("--no-openings", action="store_true", help="leave out the times of opening")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    os.environ.update(SERVER_ENVIRONMENT)
    with tempfile.TemporaryDirectory(prefix="surefoot-reconcile-") as name, running_bench_stack(Path(name)) as config:
        found = _passes(config, options.models, Path(name))
        made = _rows_of_passes(found) + ([] if options.no_openings else _openings(config))
    table = Table("", "value", "unit", "demand", "")
    for each in made:
        table.add_row(*(str(each[key]) for key in ("name", "value", "unit", "demand")), "" if each["ok"] else "MISSED")
    Console(width=140).print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": made}, indent=2), encoding="utf-8")
    return 0 if all(each["ok"] for each in made) else 1


if __name__ == "__main__":
    sys.exit(main())
