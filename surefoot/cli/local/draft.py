"""Define the command `draft`, which writes a policy from a sample of past requests."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from surefoot import wiring
from surefoot.adapters.predictions.prediction_log import LoggedRequest
from surefoot.adapters.predictions.recorded.sample_table import SampleTable, read_sample
from surefoot.adapters.replay.batch_scoring import score_requests
from surefoot.adapters.replay.version_processes import VersionProcesses
from surefoot.cli.printing.console import console
from surefoot.cli.printing.plan_output import print_detectability
from surefoot.cli.read_only import ModelArgument
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core import planning
from surefoot.core.answers.losses import compute_losses
from surefoot.core.domain import Version
from surefoot.core.drafting.policy_draft import DraftedPolicy, DraftOptions, draft_policy
from surefoot.core.drafting.policy_text import write_policy_text
from surefoot.core.drafting.sample_spread import measure_spread
from surefoot.core.drafting.sample_summary import SampleSummary
from surefoot.core.drafting.suite_draft import draft_suite
from surefoot.core.errors import InvariantBroken, Rejected
from surefoot.core.naming.model_names import is_model_name, model_file_name
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.policy_types import PairedGate
from surefoot.core.policy.scalars import parse_duration
from surefoot.core.policy.violations import Violation
from surefoot.settings import read_settings

_ASKED_ROWS = 5000
"""Most rows of a sample that versions are asked [count]."""
_NOT_IN_SUITE, _LONGEST_SUITE = re.compile(r"[^A-Za-z0-9_-]"), 80
"""What the name of a suite cannot hold, and its most characters."""
_TWO = 2


def draft(
    model: ModelArgument,
    data: Annotated[Path, typer.Option(help="Parquet or CSV table of past requests: a column for each feature.")],
    label: Annotated[str, typer.Option(help="Column of what came true; 'label' without, if there is one.")] = "",
    version: Annotated[
        list[str] | None,
        typer.Option(help="Version that answers the sample, to measure its loss; twice to measure two."),
    ] = None,
    unit: Annotated[str, typer.Option(help="Column that sticks to one version, such as a customer.")] = "",
    requests_per_minute: Annotated[
        float | None, typer.Option(help="Planned traffic; that of the sample's times ('at') without.", min=1e-6)
    ] = None,
    maturity: Annotated[str, typer.Option(help="Time until labels are known, such as 12h; see 'label_at'.")] = "",
    project: Annotated[Path, typer.Option(help="Folder with configs/ and expectations/.")] = Path(),
    force: Annotated[bool, typer.Option("--force", help="Replace a policy or a suite that is there.")] = False,
) -> None:
    """Draft a policy and an expectation suite from a sample, and say what is doubtful and what each step can see."""
    if not is_model_name(model):
        raise Rejected(f"{model!r} is no name of a registered model: it has no '/' and ':', and at most 256 characters")
    if len(version or []) > _TWO:
        raise Rejected("name one version or two: --version 1 --version 2")
    name = _NOT_IN_SUITE.sub("-", model)[:_LONGEST_SUITE] or "suite"
    policy_file = project / "configs" / f"{model_file_name(model)}.yaml"
    suite_file = project / "expectations" / f"{name}.json"
    there = [file for file in (policy_file, suite_file) if file.exists()]
    if there and not force:
        raise Rejected(f"{there[0]} is there: --force replaces it")
    table = read_sample(data, label)
    if unit and unit not in {column.name for column in table.columns}:
        raise Rejected(f"{data} has no feature {unit!r}: correct --unit")
    answers = _ask_versions(model, version or [], table)
    sample = table.summarize(answers[0] if answers else ())
    delay = _duration(maturity)
    order = DraftOptions(model, name, unit, requests_per_minute, delay)
    made = draft_policy(order, sample)
    if answers and (expect := _measured(made.policy, table, answers)):
        made = draft_policy(DraftOptions(model, name, unit, requests_per_minute, delay, expect), sample)
    suite = draft_suite(name, sample)
    _write(policy_file, write_policy_text(made.policy, made.comments))
    _write(suite_file, json.dumps(suite.suite, indent=2, ensure_ascii=False) + "\n")
    _tell(made, suite.doubts, sample, (policy_file, suite_file), len(answers))


def _duration(text: str) -> float | None:
    try:
        return parse_duration(text) if text else None
    except (Violation, ValueError) as error:
        raise Rejected(f"--maturity {text!r} is no length of time: write 30s, 10m, 2h or 7d") from error


def _ask_versions(model: str, numbers: Sequence[str], table: SampleTable) -> list[list[object]]:
    """What each version answers to the sample's first rows; None where it has no answer.

    Raises:
        Rejected: A version answers none of them.
    """
    if not numbers:
        return []
    config = read_settings()
    registry, processes = wiring.make_registry(config, REGISTRY_TIMEOUT_S), wiring.make_version_processes(config)
    return [_ask(processes, model, registry.resolve(model, number), table) for number in numbers]


def _ask(processes: VersionProcesses, model: str, version: Version, table: SampleTable) -> list[object]:
    asked = [
        LoggedRequest((f"sample-{n}", 0), 0.0, "", "", None, row) for n, row in enumerate(table.rows[:_ASKED_ROWS])
    ]
    scorer = processes.start_scorer(model, version)
    try:
        found = score_requests(scorer, asked)
    finally:
        scorer.close()
    if not found.answers:
        raise Rejected(f"version {version.number} answers no row of the sample: {found.problem}")
    return [found.answers.get(one.key) for one in asked]


def _measured(
    policy: Mapping[str, object], table: SampleTable, answers: Sequence[Sequence[object]]
) -> dict[str, dict[str, float]]:
    """The spread of the loss that each paired gate should expect, where it can be measured.

    Raises:
        Rejected: The answers do not fit the labels.
    """
    parsed, found = parse_policy(policy), dict[str, dict[str, float]]()
    both = [
        n
        for n, told in enumerate(zip(*answers, strict=True))
        if table.labels[n] is not None and all(one is not None for one in told)
    ]
    for gate in parsed.gates.values():
        if not isinstance(gate, PairedGate) or not both or not gate.block:
            continue
        labels = [table.labels[n] for n in both]
        try:
            losses = [compute_losses(gate, [side[n] for n in both], labels) for side in answers]
        except InvariantBroken as error:
            raise Rejected(f"the answers do not fit the labels: {error}; name the right --label") from error
        times = [table.times[n] for n in both] if table.times else []
        whole = losses[0] if len(losses) == 1 else losses[1] - losses[0]
        spread = measure_spread(whole, times, gate.block, parsed.requests_per_minute * gate.block / 60.0)
        if spread is not None:
            found[gate.name] = {"spread": spread}
    return found


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Rejected(f"{file} cannot be written: {error.strerror or error}") from error


def _tell(
    made: DraftedPolicy, doubts: Sequence[str], sample: SampleSummary, files: tuple[Path, Path], asked: int
) -> None:
    """Print what was written, what is doubtful, and what each step can see."""
    said = f"{sample.rows:,} rows, {len(sample.columns)} features, {sample.labelled:.0%} with a label"
    console.print(f"{files[0]} and {files[1]} are drafted from {said}: {sample.task.value}", markup=False)
    for doubt in (*made.doubts, *doubts):
        console.print(f"[yellow]check[/yellow]: {escape(doubt)}")
    if asked == 1:
        console.print(
            "the spread is that of one version's own loss, which is wider than that of two similar versions: name"
            " two with --version, or run 'surefoot spread' when requests and labels are logged"
        )
    policy = parse_policy(made.policy)
    print_detectability(policy, planning.plan_policy(policy), planning.false_alarms_a_year(policy))
    console.print(f"next: read both files, then 'surefoot lint {files[0]}'", markup=False)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(draft)
