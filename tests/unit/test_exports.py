"""What other programs may import from the package."""

import importlib.metadata
import subprocess
import sys
from importlib.resources import files

import pytest
import typer

import surefoot
from surefoot import cli


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
    """No command loads a model library, Prefect, plots, data frames or statistics before it needs them."""
    code = "import sys; from surefoot import cli; cli.build_app()"
    code += "; print(*sorted(m for m in sys.argv[1:] if m in sys.modules))"
    large = ["mlflow", "prefect", "great_expectations", "sklearn", "matplotlib", "scipy", "pandas", "apprise", "dask"]
    done = subprocess.run([sys.executable, "-c", code, *large], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_command_loads_its_own_module_alone() -> None:
    """The table of modules names every command once, in its module; one that is not known meets all commands."""
    for command, module in cli.MODULES.items():
        alone = cli.build_app(command)
        assert command in {*_names(alone)}, module
        assert {*_names(alone)} == {name for name, own in cli.MODULES.items() if own == module}
    assert {*_names(cli.build_app("histroy"))} == {*cli.MODULES}


def _names(app: typer.Typer) -> list[str]:
    """Names of the commands and groups of an app."""
    commands = [one.name or getattr(one.callback, "__name__", "") for one in app.registered_commands]
    return [*commands, *(str(group.name) for group in app.registered_groups)]


def test_the_version_is_printed() -> None:
    """`surefoot --version` prints the version of the installed package, without loading a command."""
    done = subprocess.run([sys.executable, "-m", "surefoot", "--version"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, f"surefoot {importlib.metadata.version('surefoot')}")
