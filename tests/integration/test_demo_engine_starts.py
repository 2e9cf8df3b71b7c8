"""The demo's start with other engines: a real stack, HAProxy or an application, the first answers and their records."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from surefoot import wiring
from surefoot.adapters.predictions.prediction_log import PredictionLog
from surefoot.cli.local.processes import find_stack_processes
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.serving_engines.engine_abilities import EngineName
from surefoot.settings import read_settings
from tests.commands import run_command

MODEL = "flights-late"


@pytest.mark.sweep("engines of the demo")
@pytest.mark.parametrize("engine", [EngineName.HAPROXY, EngineName.ALIAS])
def test_the_demo_answers_its_first_callers_with_each_engine(engine: EngineName, tmp_path: Path) -> None:
    """The champion answers through the engine, what callers got is in the log, and `down` ends every process."""
    environment = {**os.environ, "COLUMNS": "500"}
    command = [sys.executable, "-m", "surefoot", "demo", "--engine", engine, "--start-only", "--keep"]
    command += ["--home", str(tmp_path)]
    said = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    homes = [path.parent for path in tmp_path.glob("*/stack.json")]
    try:
        assert said.returncode == 0, said.stdout + said.stderr
        assert "first answer came from version 1; 0 requests failed" in said.stdout
        (home,) = homes
        config = read_settings(home)
        with wiring.open_journal(config) as journal:
            ledger = fold_entries(MODEL, journal.read(MODEL))
        assert ledger.engine.name is engine
        rows = PredictionLog(config.log).query_rows(MODEL, "SELECT DISTINCT answered_by, error FROM log", ())
        assert rows == [("1", None)]
        assert {"application"} <= {each.environ().get("SUREFOOT_PART") for each in find_stack_processes(home)}
    finally:
        for home in homes:
            run_command("down", environment={**environment, "SUREFOOT_HOME": str(home)})
    assert [each.cmdline() for home in homes for each in find_stack_processes(home)] == []
