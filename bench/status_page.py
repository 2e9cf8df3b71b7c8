"""`python -m bench.status_page [--quick] [--json FILE]`: measures the status page and the load of its viewers."""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import httpx
from rich.console import Console
from rich.table import Table

from bench.serving.measuring import run_burst
from bench.serving.model_server import Server, free_port, running_process
from bench.serving.models import save_models, write_wrk_script
from bench.serving.on_gateway import gateway_starter
from bench.viewing.long_journal import write_long_journal
from surefoot.adapters.clock import SystemClock
from surefoot.adapters.journal.sql_journal import SqlJournal
from surefoot.core.domain import Outcome
from surefoot.core.journal.events import Paused, encode_event
from surefoot.settings import Settings

_NOTES = Console(stderr=True)
_MODEL = "m"
LONGEST_PAGE_MS, LONGEST_UPDATE_S, LEAST_THROUGHPUT = 300.0, 2.0, 0.95
_VIEWERS = 200
_Row = dict[str, object]


def _row(name: str, value: float, unit: str, demand: str, *, ok: bool) -> _Row:
    """One measured number."""
    return {"name": name, "value": round(value, 4), "unit": unit, "demand": demand, "ok": ok}


def _page_times(base: str, rounds: int) -> dict[str, float]:
    """Median time of each kind of page, none of them taken from memory [ms]."""
    times: dict[str, list[float]] = {"model": [], "rollout": [], "version": []}
    for number in range(rounds + 1):
        for name, path in (
            ("model", f"/models/{_MODEL}?page={number + 1}"),
            ("rollout", f"/models/{_MODEL}/rollouts/r{number:05d}?all={number % 2}"),
            ("version", f"/models/{_MODEL}/versions/{number + 2}"),
        ):
            began = time.perf_counter()
            httpx.get(base + path, timeout=120.0, trust_env=False).raise_for_status()
            if number:
                times[name].append((time.perf_counter() - began) * 1000.0)
    return {name: statistics.median(some) for name, some in times.items()}


def _append(config: Settings, text: str) -> float:
    """Journal one entry of the open rollout; when [Unix seconds]."""
    journal = SqlJournal(config.journal_url, SystemClock())
    try:
        (head, _) = journal.heads()[_MODEL]
        kind, data = encode_event(Paused(_open(journal), Outcome.INCONCLUSIVE, "errors", text))
        journal.append(_MODEL, head, time.time(), "bench", kind, data)
        return time.time()
    finally:
        journal.close()


def _open(journal: SqlJournal) -> str:
    entries = journal.read(_MODEL, after=max(0, journal.heads()[_MODEL][0] - 200))
    return next(str(one.data["rollout"]) for one in reversed(entries) if one.data.get("rollout"))


def _updates(config: Settings, count: int) -> list[float]:
    """Time from an entry until an open page has shown it [s]."""
    path = f"/models/{_MODEL}"
    viewer = subprocess.Popen(
        [sys.executable, "-m", "bench.viewing.viewers", config.page, path, "1", str(4.0 * count + 6.0)],
        stdout=subprocess.PIPE,
        text=True,
    )
    time.sleep(4.0)
    written = []
    for number in range(count):
        written.append(_append(config, f"update {number}"))
        time.sleep(3.3)
    told = json.loads(viewer.communicate()[0])
    return [min((at - began for at in told if at >= began), default=float("inf")) for began in written]


def _throughput(server: Server, config: Settings, folder: Path, rounds: int, seconds: float) -> tuple[float, int]:
    """Median ratio of the gateway's answers a second with viewers to those without, and its failed requests."""
    lua = write_wrk_script(folder, 1, "flights", server.body)
    ratios, failed = [], 0
    run_burst(server.url, server.process, lua, 16, 2.0)
    for number in range(rounds):
        alone = run_burst(server.url, server.process, lua, 16, seconds)
        viewers = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bench.viewing.viewers",
                config.page,
                f"/models/{_MODEL}",
                str(_VIEWERS),
                str(seconds + 8),
            ],
            stdout=subprocess.DEVNULL,
        )
        time.sleep(6.0)
        _append(config, f"while {_VIEWERS} look, {number}")
        watched = run_burst(server.url, server.process, lua, 16, seconds)
        viewers.wait()
        ratios.append(watched.rps / alone.rps)
        failed += alone.failed + watched.failed
        _NOTES.print(
            f"round {number + 1}: {alone.rps:.0f} answers a second alone, {watched.rps:.0f} with {_VIEWERS} viewers"
        )
    return statistics.median(ratios), failed


def _measure(*, quick: bool) -> list[_Row]:
    """All rows."""
    rollouts, entries, rounds, seconds = (100, 5_000, 1, 4.0) if quick else (1_000, 100_000, 5, 20.0)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        dead = f"http://127.0.0.1:{free_port()}"
        page = f"http://127.0.0.1:{free_port()}"
        config = Settings(folder / "home", folder / "home", dead, dead, dead, "t", page=page)
        (config.configs).mkdir(parents=True)
        config.save()
        count = write_long_journal(config.journal_url, _MODEL, rollouts, entries)
        _NOTES.print(f"{count:,} entries of {rollouts:,} rollouts are written")
        models = folder / "models"
        save_models(models)
        with gateway_starter(2)(models, "flights", folder) as server:
            gateway = server.url.partition("/models/")[0]
            replace(config, gateway=gateway).save()
            command = [sys.executable, "-m", "bench.viewing.page_process", str(config.home)]
            began = time.monotonic()
            with running_process(command, {}, f"{page}/models/{_MODEL}", folder / "page.log"):
                while httpx.get(f"{page}/models/{_MODEL}", timeout=60.0, trust_env=False).status_code != 200:
                    time.sleep(0.2)
                first = time.monotonic() - began
                pages = _page_times(page, 5 if quick else 30)
                late = statistics.median(_updates(config, 2 if quick else 5))
                ratio, failed = _throughput(server, config, folder, rounds, seconds)
    ok = failed == 0
    return [
        _row("entries of the journal", count, "entries", "", ok=True),
        _row("from the start of the process to the first page", first, "s", "", ok=True),
        *(
            _row(f"page of a {name}", took, "ms", f"< {LONGEST_PAGE_MS:g}", ok=took < LONGEST_PAGE_MS)
            for name, took in pages.items()
        ),
        _row("an entry until an open page shows it", late, "s", f"< {LONGEST_UPDATE_S:g}", ok=late < LONGEST_UPDATE_S),
        _row(f"throughput with {_VIEWERS} viewers", ratio, "of that without", ">= 0.95", ok=ratio >= LEAST_THROUGHPUT),
        _row("failed requests of callers", failed, "requests", "0", ok=ok),
    ]


def main() -> int:
    """Measure, print, and say whether each demand is met."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="A short journal and one round.")
    parser.add_argument("--json", type=Path, help="Write the rows to this file.")
    options = parser.parse_args()
    rows = _measure(quick=options.quick)
    table = Table("what", "value", "unit", "demand", "")
    for one in rows:
        table.add_row(*(str(one[key]) for key in ("name", "value", "unit", "demand")), "ok" if one["ok"] else "MISSED")
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(one["ok"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
