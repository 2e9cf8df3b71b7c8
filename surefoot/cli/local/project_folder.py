"""Define the command `init`, which writes a project folder from a template."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

import surefoot
from surefoot.cli.printing.console import console
from surefoot.core.errors import Rejected
from surefoot.core.policy.schema import policy_schema

_PACKAGED = Path(surefoot.__file__).parent / "project"
"""Where a wheel carries the project's files; in a clone they stand beside the package."""
_CLONES_SCHEMA, _SCHEMA = b"../docs/policy.schema.json", b"policy.schema.json"
"""Where the first line of a policy points editors to: in a clone, and in a project of its own."""
_IGNORED = ".surefoot/\n__pycache__/\n"
_README = """# Promotions of our models

Surefoot promotes versions of the models in `configs/` one judged step at a time, and takes them back when they get
worse. Everything in this folder is ours: keep it in git.

```text
configs/        one policy a model: gates, steps, actions; any file name, any subfolder
expectations/   one Great Expectations suite a model, JSON
flows/          when: promote, rollback, watch, reconcile, drill
tasks/          with what patience: time limits, retries, artifacts
prefect.yaml    the deployments and their schedules
```

1. `surefoot up` starts MLflow, Prefect, the gateway and the controller; the state is in `.surefoot/`, not in git.
2. Register a version in that MLflow, and set alias `champion` on it.
3. Write `configs/MODEL.yaml` and `expectations/SUITE.json`; `surefoot lint` names every mistake in them, and
   `configs/policy.schema.json` helps an editor.
4. Send requests to the gateway, and labels when they are known.
5. Move alias `candidate` onto the next version. `surefoot status` says the rest.
"""


def find_project_template() -> Path:
    """The folder with flows, tasks, prefect.yaml and the demo's policy and suite: in the wheel, or of the clone."""
    return _PACKAGED if _PACKAGED.is_dir() else _PACKAGED.parents[1]


def init(
    project: Annotated[Path, typer.Argument(help="Folder to write; it may exist.")],
    example: Annotated[
        bool, typer.Option("--example", help="With policy and suite of the demo's model, to start from.")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Replace files that differ; your policies and suites stay.")
    ] = False,
) -> None:
    """Write a project folder that you own: flows, tasks, prefect.yaml, configs/, expectations/ and a README."""
    if project.exists() and not project.is_dir():
        raise Rejected(f"{project} cannot be written: it is no folder")
    files = _files(example=example)
    differing = [name for name, body in files.items() if _differs(project / name, body)]
    if differing and not force:
        more = f" and {len(differing) - 1} more" if len(differing) > 1 else ""
        raise Rejected(f"{project / differing[0]}{more} would be replaced: 'surefoot init {project} --force' does so")
    try:
        for name in ("configs", "expectations"):
            (project / name).mkdir(parents=True, exist_ok=True)
        for name, body in files.items():
            (project / name).parent.mkdir(parents=True, exist_ok=True)
            (project / name).write_bytes(body)
    except OSError as error:
        raise Rejected(f"{project} cannot be written: {error.strerror or error}") from error
    console.print(f"{len(files)} files in {escape(str(project))}; next: cd there, 'surefoot up', and read README.md")


def _files(*, example: bool) -> dict[str, bytes]:
    """What is written: path in the project -> content."""
    template = find_project_template()
    found = [template / "prefect.yaml"]
    found += [file for name in ("flows", "tasks") for file in sorted((template / name).glob("*.py"))]
    if example:
        found += [template / "configs" / "flights-late.yaml", template / "expectations" / "flights-late.json"]
    files = {str(file.relative_to(template)): file.read_bytes() for file in found}
    policies = {name: body.replace(_CLONES_SCHEMA, _SCHEMA) for name, body in files.items()}
    schema = json.dumps(policy_schema(), indent=2).encode()
    return policies | {
        "README.md": _README.encode(),
        ".gitignore": _IGNORED.encode(),
        f"configs/{_SCHEMA.decode()}": schema,
    }


def _differs(file: Path, body: bytes) -> bool:
    try:
        return file.read_bytes() != body
    except FileNotFoundError:
        return False
    except OSError:
        return True


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)
