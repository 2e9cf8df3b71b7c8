"""Install the wheel with the lowest and with the newest releases that its requirements allow, and use each.

`python -m bench.requirement_ranges [--only lowest|newest] [--json FILE]`: builds the wheel, installs it into two empty
environments (the resolver is uv, which is installed into a third one), and in each imports every module, runs unit
tests of the parts that touch a library most, and goes from `surefoot init` to a first promotion. Exits with 1 when a
row misses its demand.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import zipfile
from email.parser import Parser
from pathlib import Path

from bench.connecting.rollout import ROOT
from bench.from_wheel import make_result_row, run_first_rollout

_RESOLUTIONS = {"lowest": "lowest-direct", "newest": "highest"}
_UV = "uv>=0.9,<1"
_TEST_TOOLS = ("pytest>=9", "jsonschema>=4.23", "requests>=2.32")
"""What the unit tests import beside the wheel."""
_UNIT_TESTS = (
    "test_config.py",
    "test_policy.py",
    "test_policy_schema.py",
    "test_replay.py",
    "test_counts.py",
    "test_plots.py",
    "test_freeze_calendar.py",
    "test_records.py",
    "test_notify.py",
    "test_rate_eprocess.py",
)
_TIMEOUT_S = 3600.0
_IMPORT_ALL = """
import importlib, pkgutil, sys, surefoot
optional = {"prefect_dask", "deltalake", "kubernetes", "openfeature", "model_signing", "OpenSSL", "s3fs", "psycopg"}
optional.add("ray")
count = 0
for module in pkgutil.walk_packages(surefoot.__path__, "surefoot."):
    if module.name == "surefoot.__main__" or ".project." in module.name:
        continue
    try:
        importlib.import_module(module.name)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in optional:
            raise
    count += 1
print(count)
"""
_Row = dict[str, object]


def required_distributions(wheel: Path) -> list[str]:
    """What a wheel requires without extras, and with its extra `postgres`; each of it is a direct requirement then."""
    with zipfile.ZipFile(wheel) as packed:
        (name,) = (name for name in packed.namelist() if name.endswith(".dist-info/METADATA"))
        told = Parser().parsestr(packed.read(name).decode())
    found = []
    for line in told.get_all("Requires-Dist", []):
        requirement, _, marker = line.partition(";")
        if not marker or re.search(r"""extra == ['"]postgres['"]""", marker):
            found.append(requirement.strip())
    return found


def build_wheel(folder: Path) -> Path:
    """Build the wheel of this clone."""
    pip = [sys.executable, "-m", "pip", "wheel", "-q", "--disable-pip-version-check", "--no-deps"]
    _run([*pip, "--wheel-dir", str(folder), str(ROOT)])
    (wheel,) = folder.glob("*.whl")
    return wheel


def install_resolver(folder: Path) -> Path:
    """Install uv into an environment of its own; its program."""
    _run([sys.executable, "-m", "venv", str(folder / "resolver")])
    _run([str(folder / "resolver" / "bin" / "python"), "-m", "pip", "install", "-q", _UV])
    return folder / "resolver" / "bin" / "uv"


def install_end(uv: Path, wheel: Path, end: str, folder: Path) -> tuple[Path, list[_Row]]:
    """Install the wheel at one end of its ranges; the interpreter, and what was installed."""
    folder.mkdir()
    wanted, found = folder / "wanted.txt", folder / "found.txt"
    requirements = required_distributions(wheel)
    wanted.write_text("".join(f"{one}\n" for one in requirements))
    compile_ = [str(uv), "pip", "compile", "-q", "--no-header", "--no-annotate", "--python", sys.executable]
    _run([*compile_, "--resolution", _RESOLUTIONS[end], str(wanted), "-o", str(found)])
    _run([str(uv), "venv", "-q", "--python", sys.executable, str(folder / "env")])
    python = folder / "env" / "bin" / "python"
    install = [str(uv), "pip", "install", "-q", "--compile-bytecode", "--python", str(python)]
    _run([*install, "-r", str(found)])
    _run([*install, "--no-deps", str(wheel)])
    _run([*install, "-c", str(found), *_TEST_TOOLS])
    names = {re.split(r"[\[<>=!~ ]", one)[0].lower() for one in requirements}
    installed = [line for line in found.read_text().splitlines() if line.partition("==")[0].lower() in names]
    return python, [make_result_row(f"{end}: installed", " ".join(installed), "", "", ok=bool(installed))]


def use_installed(python: Path, end: str, folder: Path) -> list[_Row]:
    """Import every module, run unit tests and a rollout; the rows."""
    imported = _say([str(python), "-I", "-c", _IMPORT_ALL], folder)
    rows = [make_result_row(f"{end}: modules imported", _last(imported), "modules", "all", ok=imported.returncode == 0)]
    # The tests are those of this clone, the package is the installed one: the clone's folder is not on the path.
    place = folder / "clone"
    place.mkdir()
    for name in ("tests", "pyproject.toml", "configs", "expectations", "docs", "flows", "tasks", "bench"):
        (place / name).symlink_to(ROOT / name)
    tests = [str(place / "tests" / "unit" / name) for name in _UNIT_TESTS]
    # Other releases of a library warn of other things than the locked ones, which `make test` answers for.
    pytest = [str(python), "-m", "pytest", "-p", "no:cacheprovider", "-o", "filterwarnings=default", "--rootdir"]
    tested = _say([*pytest, str(place), "-c", str(place / "pyproject.toml"), *tests], place)
    rows.append(make_result_row(f"{end}: unit tests", _last(tested), "", "all pass", ok=tested.returncode == 0))
    return rows + [{**one, "name": f"{end}: {one['name']}"} for one in run_first_rollout(folder / "first", python)]


def _environment() -> dict[str, str]:
    left_out = {"PYTHONPATH", "VIRTUAL_ENV"}
    return {**{name: value for name, value in os.environ.items() if name not in left_out}, "OMP_NUM_THREADS": "1"}


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, env=_environment(), cwd="/", timeout=_TIMEOUT_S)


def _say(command: list[str], folder: Path) -> "subprocess.CompletedProcess[str]":
    done = subprocess.run(
        command, check=False, env=_environment(), cwd=folder, timeout=_TIMEOUT_S, capture_output=True, text=True
    )
    if done.returncode:
        print(done.stdout[-3000:], done.stderr[-3000:], flush=True)
    return done


def _last(done: "subprocess.CompletedProcess[str]") -> str:
    return ((done.stdout.strip() or done.stderr.strip()).splitlines() or ["nothing"])[-1]


def main() -> int:
    """Print every row, write JSON on request; 1 when a row is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.requirement_ranges", description=__doc__)
    parser.add_argument("--only", choices=sorted(_RESOLUTIONS), help="one end of the ranges")
    parser.add_argument("--json", type=Path, help="write the rows to this file")
    options = parser.parse_args()
    rows: list[_Row] = []
    with tempfile.TemporaryDirectory(prefix="surefoot-ranges-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        wheel, uv = build_wheel(folder), install_resolver(folder)
        for end in [options.only] if options.only else _RESOLUTIONS:
            began = time.monotonic()
            python, installed = install_end(uv, wheel, end, folder / end)
            rows += installed + use_installed(python, end, folder / end)
            rows.append(make_result_row(f"{end}: took", round(time.monotonic() - began), "s", "", ok=True))
    if options.json:
        options.json.write_text(json.dumps({"rows": rows}, indent=2), encoding="utf-8")
    return 0 if all(one["ok"] for one in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
