"""`python -m bench.damage [--share S] [--json FILE]`: damages 1,000 artifacts and checkpoints; none may be used.

Bits are flipped, files cut, swapped, replaced by older ones, made longer or removed: of models of two kinds in the
cache and in the registry, of checkpoints of Parquet and Delta tables, of rows in SQLite and PostgreSQL, of files.
Stopped is what is refused before any traffic or restore; or, of a copy, what is replaced by the registry's bytes.
"""

import argparse
import json
import logging
import os
import sys
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.damaging.artifacts import damage_artifacts
from bench.damaging.files import DAMAGE_KINDS
from bench.damaging.tables import (
    damage_delta_checkpoint,
    damage_parquet_checkpoint,
    damage_postgresql_checkpoint,
    damage_sqlite_checkpoint,
)

_EACH = {
    damage_artifacts: 100,
    damage_parquet_checkpoint: 150,
    damage_delta_checkpoint: 150,
    damage_sqlite_checkpoint: 200,
    damage_postgresql_checkpoint: 100,
}
"""How often each sweep damages something; the first one in four places."""


def main() -> int:
    """Print what was stopped; 1 when something damaged was used."""
    parser = argparse.ArgumentParser(prog="python -m bench.damage", description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="share of the 1,000 damages that are tried")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    logging.disable(logging.WARNING)  # advice on saving a model
    tried: Counter[tuple[str, str]] = Counter()
    stopped: Counter[tuple[str, str]] = Counter()
    problems = []
    with tempfile.TemporaryDirectory() as place:
        for sweep, times in _EACH.items():
            folder = Path(place) / sweep.__name__
            folder.mkdir()
            for name, way, problem in sweep(folder, max(round(times * options.share), 1)):
                tried[name, way] += 1
                stopped[name, way] += not problem
                if problem:
                    problems.append(f"{name}, {way}: {problem}")
    table = Table("damaged", *DAMAGE_KINDS)
    for name in dict.fromkeys(name for name, _ in tried):
        table.add_row(name, *(f"{stopped[name, way]} of {tried[name, way]}" for way in DAMAGE_KINDS))
    Console(width=140).print(table)
    for line in problems[:20]:
        print(f"NOT STOPPED {line}")
    rows: list[dict[str, object]] = []
    for name in dict.fromkeys(name for name, _ in tried):
        whole, held = (sum(count[name, way] for way in (*DAMAGE_KINDS, "none")) for count in (tried, stopped))
        rows.append({"name": f"{name}: stopped", "value": held, "unit": f"of {whole}", "demand": f">= {whole}",
                     "ok": held == whole})  # fmt: skip
    print(f"{sum(stopped.values())} of {sum(tried.values())} were stopped")
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
