"""Connect `surefoot up` to existing MLflow, Prefect and journal servers, and promote a version by alias.

`python -m bench.connect --json FILE`: MLflow, with basic authentication, and the journal are in PostgreSQL; so is
Prefect, with an auth string, where the host's PostgreSQL has the extension pg_trgm that Prefect needs. The user of
Surefoot has the right MANAGE on one model, and no more. Exits with 1 when a row misses its demand.
"""

import argparse
import json
import os
import secrets
import sys
import tempfile
import time
from pathlib import Path

from bench.connecting.postgres import Postgres, running_postgres
from bench.connecting.rollout import (
    JOURNAL_VARIABLE,
    MODEL,
    Caller,
    Installation,
    make_project,
    promote_by_alias,
    register_versions,
    user_environment,
    wait_until_served,
)
from bench.connecting.servers import Mlflow, Prefect, running_mlflow, running_prefect

_TICK_S = 10
_Row = tuple[str, object, bool]


def connect(folder: Path, postgres: Postgres, mlflow: Mlflow, prefect: Prefect) -> list[_Row]:
    """Run the whole story once; each row has a name, what was seen, and whether that is right."""
    password = secrets.token_hex(8)
    postgres.run(f"CREATE ROLE surefoot LOGIN PASSWORD '{password}'")
    postgres.run("CREATE DATABASE journal OWNER surefoot")
    installation = Installation(
        folder / "home",
        make_project(folder / "project"),
        user_environment(mlflow, prefect, password),
        postgres.url("journal", user="surefoot", password=password),
    )
    url = postgres.url("journal", user="surefoot", password=f"${{{JOURNAL_VARIABLE}}}")
    (installation.project / "surefoot.toml").write_text(
        f'mlflow = "{mlflow.url}"\nprefect = "{prefect.url}/api"\njournal = "{url}"\ntick = {_TICK_S}\n',
        encoding="utf-8",
    )
    rows: list[_Row] = [("Prefect keeps its records in", prefect.database, True)]
    doctor = installation.run("doctor")
    rows.append(("doctor finds no fault", doctor.stdout.strip().splitlines(), doctor.returncode == 0))
    began = time.monotonic()
    up = installation.run("up")
    rows.append(("up connects", up.stdout.strip().splitlines() or up.stderr, up.returncode == 0))
    if up.returncode:
        return rows
    rows.append(("seconds that up took", round(time.monotonic() - began, 1), True))
    try:
        rows += _roll_out(installation, mlflow)
    finally:
        down = installation.run("down")
        rows.append(("down stops only what up started", down.stdout.strip().splitlines(), down.returncode == 0))
    alive = [name for name, pid in (("mlflow", mlflow.process), ("prefect", prefect.process)) if _runs(pid)]
    rows.append(("servers of others that run on after down", alive, alive == ["mlflow", "prefect"]))
    rows.append(("their answers after down", *_answers(mlflow, prefect)))
    known = (password, *mlflow.bot[1:], prefect.auth.partition(":")[2])
    spread = [str(path.relative_to(folder)) for path in _files(folder / "home") if _holds(path, known)]
    rows.append(("files of the home folder that hold a password", spread, spread == []))
    return rows


def _roll_out(installation: Installation, mlflow: Mlflow) -> list[_Row]:
    started = sorted(installation.settings.processes)
    rows: list[_Row] = [("processes that up started", started, started == ["controller", "gateway", "worker"])]
    register_versions(mlflow)
    wait_until_served(installation)
    with Caller(installation.settings.gateway).asking() as caller:
        time.sleep(5.0)
        began = time.monotonic()
        stage = promote_by_alias(installation, mlflow)
        rows.append(("the rollout ends as", stage, stage == "Promoted"))
        rows.append(("seconds from alias to promotion", round(time.monotonic() - began, 1), True))
    answers = {f"{status} from version {version}": count for (status, version), count in sorted(caller.seen.items())}
    rows.append(("answers to callers", answers, {status for status, _ in caller.seen} == {200}))
    aliases = mlflow.aliases(MODEL)
    rows.append(("aliases in MLflow", aliases, aliases == {"champion": "2", "previous": "1"}))
    verify = installation.run("verify", MODEL)
    rows.append(("verify", verify.stdout.strip().splitlines()[:1], verify.returncode == 0))
    status = json.loads(installation.run("status", "--json").stdout)
    trouble = [*status["trouble"], *(line for model in status["models"] for line in model["trouble"])]
    rows.append(("status finds nothing wrong", trouble, status["ok"]))
    problems = {name: one["problem"] for name, one in status["connected"].items()}
    rows.append(("status names the connected servers", problems, problems == {"mlflow": "", "prefect": ""}))
    return rows


def _answers(mlflow: Mlflow, prefect: Prefect) -> tuple[dict[str, int], bool]:
    codes = {
        "mlflow": mlflow.ask("GET", "2.0/mlflow/registered-models/get", name=MODEL).status_code,
        "prefect": prefect.ask("GET", "/admin/version").status_code,
    }
    return codes, set(codes.values()) == {200}


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def _holds(path: Path, secret: tuple[str, ...]) -> bool:
    data = path.read_bytes()
    return any(word.encode() in data for word in secret)


def main() -> int:
    """Print every row, write JSON on request; 1 when a row is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.connect", description=__doc__)
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="surefoot-connect-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with (
            running_postgres() as postgres,
            running_mlflow(folder / "mlflow", postgres) as mlflow,
            running_prefect(folder / "prefect", postgres) as prefect,
        ):
            rows = connect(folder, postgres, mlflow, prefect)
    for what, seen, good in rows:
        print(f"{'ok    ' if good else 'WRONG '} {what}: {seen}")
    if options.json:
        found = [
            {"name": what, "value": seen, "unit": "", "demand": "as described", "ok": good} for what, seen, good in rows
        ]
        options.json.write_text(json.dumps({"rows": found}, indent=2), encoding="utf-8")
    return 0 if all(good for _, _, good in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
