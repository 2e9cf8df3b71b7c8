"""The benchmarks of the judge keep their promises on few rollouts; those that measure time stay on request.

What any of them lacks is named.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sweeps import EVERYTHING

ROOT = Path(__file__).parents[2]
TIMED = 19
"""The demand that measures processor time."""
RATIO = 11
"""The demand on a ratio of medians, which knows no bad luck: a part of the rollouts does not do for it."""
WANTED = set(range(1, 21)) - ({TIMED} if EVERYTHING else {TIMED, RATIO})


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What the quick form says, once."""
    file = tmp_path_factory.mktemp("bench") / "judge.json"
    wanted = list(map(str, sorted(WANTED)))
    share = "1" if EVERYTHING else "0.25"
    command = [sys.executable, "bench/judge.py", "--quick", "--share", share, "--json", str(file), "--rows", *wanted]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    return list(json.loads(file.read_text())["rows"])


@pytest.mark.sweep("judge")
def test_every_demand_is_met(rows: list[dict[str, object]]) -> None:
    """Each demand has rows of its own, and every row is within its demand or beyond it by bad luck only."""
    assert {str(row["name"]).split(".")[0] for row in rows} == set(map(str, WANTED))
    assert all(row["ok"] for row in rows)


@pytest.mark.sweep("judge")
def test_rivals_saw_the_same_traffic(rows: list[dict[str, object]]) -> None:
    """Each false-alarm row has the numbers of all seven rivals, and naive repetition is far above its level."""
    first = next(row for row in rows if str(row["name"]).startswith("1. A/A, ramp"))
    rivals = first["rivals"]
    assert isinstance(rivals, dict)
    assert set(rivals) == {"Kayenta", "Argo", "Flagger", "repeated z", "OBF", "mSPRT", "SPRT"}
    assert rivals["repeated z"] > 0.05


@pytest.mark.sweep("judge")
def test_a_judge_that_sees_nothing_misses(tmp_path: Path) -> None:
    """The bench can fail: with a level of one in 10^12 the demands on detection are missed, and it exits with 1."""
    broken = (
        "import bench.judging.ours as ours, runpy, sys; ours.ALPHA = 1e-12; ours.fails.__kwdefaults__['alpha'] = 1e-12;"
        " sys.argv = ['bench/judge.py', '--quick', '--rows', '8', '--json', sys.argv[1]];"
        " runpy.run_path('bench/judge.py', run_name='__main__')"
    )
    file = tmp_path / "judge.json"
    done = subprocess.run(
        [sys.executable, "-c", broken, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    assert not all(row["ok"] for row in json.loads(file.read_text())["rows"])


@pytest.mark.parametrize(
    ("command", "missing"),
    [("bench.rollback --only envoy", "envoy"), ("bench.gateway --only ours-1 bentoml", "bentoml")],
)
def test_what_a_bench_needs_is_named_before_it_begins(tmp_path: Path, command: str, missing: str) -> None:
    """Where another server is not installed, one line says how it is, and nothing is started."""
    (tmp_path / "wrk").symlink_to("/bin/true")
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *command.split()],
        cwd=tmp_path,  # no environments are here
        env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert (
        done.stderr == f"this bench needs {missing}: python -m bench.serving.install {missing}, or choose with --only\n"
    )


@pytest.mark.sweep("damage")
def test_nothing_damaged_is_used(tmp_path: Path) -> None:
    """A fiftieth of the sweep over damaged artifacts and checkpoints is stopped as a whole, in every place."""
    file = tmp_path / "damage.json"
    command = [sys.executable, "-m", "bench.damage", "--share", "0.02", "--json", str(file)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    rows = json.loads(file.read_text())["rows"]
    assert len(rows) == 9
    assert all(row["ok"] and row["value"] > 0 for row in rows)


@pytest.mark.sweep("damage")
def test_a_sweep_that_stops_nothing_misses(tmp_path: Path) -> None:
    """The bench can fail: with a cache that gives out whatever it has, damaged copies are named and it exits with 1."""
    broken = (
        "import runpy, sys; from surefoot.adapters.mlflow.artifacts import ArtifactCache;"
        " ArtifactCache._holds = staticmethod(lambda home, digest: home.is_dir());"
        " sys.argv = ['bench.damage', '--share', '0.02', '--json', sys.argv[1]];"
        " runpy.run_module('bench.damage', run_name='__main__')"
    )
    file = tmp_path / "damage.json"
    done = subprocess.run(
        [sys.executable, "-c", broken, str(file)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout[-2000:] + done.stderr[-2000:]
    assert "NOT STOPPED cached sklearn model" in done.stdout
