"""What other programs may import from the package."""

import subprocess
import sys
from importlib.resources import files

import pytest

import surefoot


@pytest.mark.parametrize("name", surefoot.__all__)
def test_every_exported_name_exists(name: str) -> None:
    """An exported name is something with a documentation of its own."""
    assert getattr(surefoot, name).__doc__


def test_names_are_sorted_and_listed_once() -> None:
    """`__all__` and `dir` say the same, in order; another name is an AttributeError that names it."""
    assert surefoot.__all__ == sorted(set(surefoot.__all__)) == dir(surefoot)
    with pytest.raises(AttributeError, match="'nothing'"):
        surefoot.nothing  # noqa: B018 - asking for it is the test


def test_importing_the_package_imports_nothing_else() -> None:
    """The package alone loads none of the large libraries, and carries the mark of a typed package."""
    code = "import sys, surefoot; print(*sorted(m for m in sys.modules if m.split('.')[0] in set(sys.argv[1:])))"
    large = ["mlflow", "pandas", "prefect", "great_expectations", "sqlalchemy", "pydantic"]
    done = subprocess.run([sys.executable, "-c", code, *large], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
    assert files("surefoot").joinpath("py.typed").is_file()


def test_commands_start_without_libraries_that_only_some_of_them_need() -> None:
    """The command line loads no model library, no Prefect, no plots and no statistics before a command needs them."""
    code = "import sys, surefoot.cli; print(*sorted(m for m in sys.argv[1:] if m in sys.modules))"
    large = ["mlflow", "prefect", "great_expectations", "sklearn", "matplotlib", "scipy.stats", "apprise", "dask"]
    done = subprocess.run([sys.executable, "-c", code, *large], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
