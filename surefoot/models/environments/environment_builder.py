"""Build the virtual environment of a saved model in a separate process.

Usage: `python -m surefoot.models.environments.environment_builder FOLDER MODEL_DIRECTORY`
"""

import fcntl
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from surefoot.core.errors import Rejected
from surefoot.models.environments.requirements import VersionRequirements, read_requirements

_BUILD_TIMEOUT_S = 1800.0
_OFFLINE = ("connection", "temporary failure", "timed out", "max retries", "network is unreachable", "name resolution")
"""Words of an installer that met no package index."""
_NO_PACKAGE = re.compile(
    r"No matching distribution found for (\S+)|[Bb]ecause (\S+) was not found|there (?:is|are) no versions? of (\S+)"
)
_MAX_PROBLEM = 300


def failure_file(folder: Path, digest: str) -> Path:
    """Where a failed build says why: {"problem": one line, "retry": whether a later try may help}."""
    return folder / f"{digest}.json"


def lock_file(folder: Path, digest: str) -> Path:
    """What a build holds locked while it runs."""
    return folder / f"{digest}.lock"


def build_environment(folder: Path, model: Path) -> str:
    """Build the environment of a saved model, unless it is there.

    Args:
        folder: Folder of all environments.
        model: Directory of the saved model.

    Returns:
        Why it failed; empty when the environment is there.
    """
    asked = read_requirements(model)
    target, failed = folder / asked.digest, failure_file(folder, asked.digest)
    with lock_file(folder, asked.digest).open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if target.is_dir():
            return ""
        draft = folder / f".{asked.digest}"
        shutil.rmtree(draft, ignore_errors=True)
        log = folder / f"{asked.digest}.log"
        with log.open("wb") as output:
            problem = _install(asked, draft, model, output.fileno())
        if not problem:
            failed.unlink(missing_ok=True)
            draft.rename(target)
            return ""
        said = log.read_text(encoding="utf-8", errors="replace")
        retry = any(word in said.lower() for word in _OFFLINE) and not _NO_PACKAGE.search(said)
        told = _problem(problem, said, asked)
        fresh = failed.with_suffix(".new")
        fresh.write_text(json.dumps({"problem": told, "retry": retry}), encoding="utf-8")
        fresh.replace(failed)
        shutil.rmtree(draft, ignore_errors=True)
        return told


def _install(asked: VersionRequirements, draft: Path, model: Path, output: int) -> str:
    """Make the environment and install the packages; which of both failed, empty when none did."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    for problem, command in _steps(asked.python, draft).items():
        try:
            done = subprocess.run(  # noqa: S603 - our own command
                command, cwd=model, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                timeout=_BUILD_TIMEOUT_S, check=False,
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"{problem}: {error}"
        if done.returncode:
            return problem
    return ""


def _steps(python: str, draft: Path) -> dict[str, list[str]]:
    """Commands that make the environment and install the packages, by what it means when one fails."""
    made, wanted = str(draft / "bin" / "python"), ["-r", "requirements.txt"]
    no_environment, no_packages = "no environment could be made", "its packages could not be installed"
    if installer := shutil.which("uv"):
        return {
            no_environment: [installer, "venv", "--python", python, str(draft)],
            no_packages: [installer, "pip", "install", "--python", made, *wanted],
        }
    options = ["--disable-pip-version-check", *wanted]
    if importlib.util.find_spec("pip"):  # ours installs there: an environment without a pip is made in no time
        return {
            no_environment: [python, "-m", "venv", "--without-pip", str(draft)],
            no_packages: [sys.executable, "-m", "pip", "--python", made, "install", *options],
        }
    return {
        no_environment: [python, "-m", "venv", str(draft)],
        no_packages: [made, "-m", "pip", "install", *options],
    }


def _problem(problem: str, said: str, asked: VersionRequirements) -> str:
    """One line for people, from what the installer has printed."""
    python = f"{Path(asked.python).name} ({sys.version_info[0]}.{sys.version_info[1]})"
    if missing := _NO_PACKAGE.search(said):
        name = next(filter(None, missing.groups())).rstrip(".,")
        return f"its environment cannot be built: there is no package {name} for {python} in the package index"
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith(("error", "\u00d7 "))]
    last = (errors or lines or ["the installer printed nothing"])[-1]
    return f"its environment cannot be built: {problem}: {last}"[:_MAX_PROBLEM]


def main() -> int:
    """Build one environment; 1 when that failed."""
    folder, model = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return 1 if build_environment(folder, model) else 0
    except Rejected:
        return 1  # who asked reads the requirements too


if __name__ == "__main__":
    sys.exit(main())
