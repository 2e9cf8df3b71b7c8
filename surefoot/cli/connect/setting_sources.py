"""Resolve each setting's value and source, and list environment variables that are not used."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from surefoot.cli.connect.secret_urls import has_password
from surefoot.cli.connect.setting_table import EMBEDDED_SERVICE, SETTINGS, SETTINGS_FILE_NAME, Setting
from surefoot.core.errors import Rejected

_SERVER_VARIABLES = {"MLFLOW_TRACKING_URI": "mlflow", "PREFECT_API_URL": "prefect"}
"""Variables of other tools that name a server, and the setting that says which server Surefoot uses."""


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """What the command line, the environment and surefoot.toml say together.

    Attributes:
        values: The value of every setting.
        sources: Where each value came from, of those that have not their default: an option, a variable, or the file.
    """

    values: Mapping[str, str | int]
    sources: Mapping[str, str] = field(default_factory=dict)

    def text(self, name: str) -> str:
        """The value of a setting as text; empty where it is embedded."""
        value = str(self.values[name])
        return "" if value == EMBEDDED_SERVICE else value

    def number(self, name: str) -> int:
        """The value of a setting that is a number."""
        return int(self.values[name])


def resolve_settings(
    project: Path, given: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> ResolvedSettings:
    """Resolve every setting: the command line before the environment, before surefoot.toml, before what is embedded.

    Args:
        project: Folder in which surefoot.toml may be.
        given: What the command line says, by name; None means that it says nothing.
        environment: Environment variables; those of this process without it.

    Raises:
        Rejected: A value is wrong, surefoot.toml cannot be read, or it holds a password.
    """
    variables = os.environ if environment is None else environment
    file = _read_file(project / SETTINGS_FILE_NAME)
    values: dict[str, str | int] = {}
    sources: dict[str, str] = {}
    for one in SETTINGS:
        found = (given or {}).get(one.name)
        if found is not None:
            values[one.name], sources[one.name] = _checked(one, found, one.option), one.option
        elif variables.get(one.variable):
            value = one.read(variables[one.variable], one.variable)
            # The variable itself is the reference: nothing writes its password down.
            secret = one.name == "journal" and has_password(str(value))
            values[one.name], sources[one.name] = f"${{{one.variable}}}" if secret else value, one.variable
        elif one.name in file:
            values[one.name], sources[one.name] = (
                _checked(one, file[one.name], f"{SETTINGS_FILE_NAME}: {one.name}"),
                SETTINGS_FILE_NAME,
            )
        elif one.standard_variable and variables.get(one.standard_variable):
            found = one.read(variables[one.standard_variable], one.standard_variable)
            values[one.name], sources[one.name] = found, one.standard_variable
        else:
            values[one.name] = one.default
    for one in SETTINGS:
        if one.is_path and values[one.name]:
            folder = project if sources[one.name] == SETTINGS_FILE_NAME else Path.cwd()
            values[one.name] = str(folder / Path(str(values[one.name])).expanduser())
    if bool(values["tls-certificate"]) != bool(values["tls-key"]) or (values["tls-ca"] and not values["tls-key"]):
        raise Rejected("TLS needs tls-certificate and tls-key, both: name the one that is missing")
    if values["listen"] and values["gateway-port"]:
        raise Rejected("--listen names the gateway's port already: leave --gateway-port out")
    return ResolvedSettings(values, sources)


def _checked(setting: Setting, found: object, source: str) -> str | int:
    value = setting.read(found, source)
    if setting.name == "journal" and has_password(str(value)):
        raise Rejected(
            f"{source} holds a password, which would be stored in plain text: write ${{NAME}} for it and set the"
            " environment variable NAME, set SUREFOOT_JOURNAL, or leave it to ~/.pgpass"
        )
    return value


def _read_file(path: Path) -> Mapping[str, object]:
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Rejected(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise Rejected(f"{path} is no TOML: {error}") from None
    known = {one.name for one in SETTINGS}
    if unknown := sorted(set(found) - known):
        raise Rejected(f"{path}: '{unknown[0]}' is no setting; known here: {', '.join(sorted(known))}")
    return found


def list_unused_variables(resolved: ResolvedSettings, environment: Mapping[str, str] | None = None) -> list[str]:
    """One line for each variable of MLflow or Prefect that names a server which Surefoot does not use.

    Args:
        resolved: The settings in force.
        environment: Environment variables; those of this process without it.
    """
    variables = os.environ if environment is None else environment
    lines = []
    for variable, name in _SERVER_VARIABLES.items():
        server, used = variables.get(variable, ""), resolved.text(name)
        if server and server.rstrip("/").removesuffix("/api") != used.removesuffix("/api"):
            lines.append(
                f"{variable} is set and not used: SUREFOOT_{name.upper()} or --{name} says which server Surefoot uses"
            )
    return lines
