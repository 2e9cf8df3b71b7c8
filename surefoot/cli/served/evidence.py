"""Define the command `evidence`, which previews a policy's data sources."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import orjson
import typer
from rich.markup import escape
from rich.table import Table

from surefoot import wiring
from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.adapters.evidence_providers.prometheus.counter_preview import CounterPreview, preview_counters
from surefoot.adapters.evidence_providers.prometheus.prometheus_api import PrometheusApi
from surefoot.adapters.evidence_providers.provided_rows import ProvidedLabel, ProvidedPrediction
from surefoot.adapters.evidence_providers.source_preview import SourcePreview, preview_labels, preview_predictions
from surefoot.adapters.evidence_providers.source_reading import SourceReader
from surefoot.cli.printing.console import console, format_utc_time, print_json, print_table
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.core.durations import DAY_S, format_duration
from surefoot.core.errors import Rejected
from surefoot.core.journal.events import as_json
from surefoot.core.policy.evidence.evidence_section import EvidenceSection
from surefoot.core.policy.policy_types import Policy
from surefoot.settings import Settings, read_settings

_MAX_FEATURES = 120
"""Most of a row's features that is shown [characters]."""


def evidence(
    model: ModelArgument,
    rows: Annotated[int, typer.Option(min=1, max=1000, help="Rows of each source that are shown.")] = 10,
    days: Annotated[float, typer.Option(min=0.001, help="How far back the sources are read.")] = 1.0,
    project: Annotated[Path | None, typer.Option(help="Folder with configs/; that of the stack without it.")] = None,
    import_: Annotated[bool, typer.Option("--import", help="Import what is new into the prediction log.")] = False,
    json_: JsonOption = False,
) -> int:
    """Show the newest rows of the policy's sources as gates read them, and count what cannot be used."""
    config = _settings(needed=import_ or project is None)
    folder = project or (config.project if config else Path())
    _, policy = read_model_policy(folder / "configs", model)
    if policy.evidence is None or policy.evidence_origin is None:
        raise Rejected(f"the policy of {model} has no section 'evidence': Surefoot's own log is what its gates read")
    until = wiring.make_clock(config).now() if config else time.time()
    if import_ and config is not None:
        found = wiring.EvidenceImporter(config).refresh(model, policy.evidence_origin, until)
        for done in (found.predictions, found.labels):
            if done.place:
                console.print(f"{done.place}: {done.read:,} rows read, {done.added:,} are new in the log", markup=False)
    window = (until - days * DAY_S, until)
    shown, counters = _preview(policy, folder, window, rows), _counters(policy.evidence, window)
    if json_:
        told = {"counters": _counter_json(counters)} if counters else {}
        print_json({"model": model, "sources": [_source_json(one) for one in shown], **told})
    else:
        for one in shown:
            _print_source(one, days)
        if counters is not None:
            _print_counters(counters, days)
    bad = any(one.failure or one.unusable.total for one in shown)
    return 1 if bad or (counters is not None and (counters.failure or counters.unnamed)) else 0


def _settings(*, needed: bool) -> Settings | None:
    """The settings of the stack; None where there is none, and none is needed."""
    try:
        return read_settings()
    except Rejected:
        if needed:
            raise
        return None


def _preview(policy: Policy, project: Path, window: tuple[float, float], rows: int) -> list[SourcePreview]:
    section = policy.evidence
    assert section is not None  # noqa: S101 - looked at before
    reader, made = SourceReader(project, section.timeout), list[SourcePreview]()
    if section.predictions is not None:
        made.append(preview_predictions(reader, section.predictions, policy.unit, *window, rows))
    if section.labels is not None:
        made.append(preview_labels(reader, section.labels, *window, rows))
    return made


def _counters(section: EvidenceSection, window: tuple[float, float]) -> CounterPreview | None:
    if section.prometheus is None:
        return None
    return preview_counters(section.prometheus, PrometheusApi(section.prometheus, section.timeout), *window)


def _print_counters(found: CounterPreview, days: float) -> None:
    console.print(escape(f"{found.place}: counted in {format_duration(days * DAY_S)}"))
    table = Table("version", "requests", "failed", "with a latency", box=None, padding=(0, 1))
    for number, counts in sorted(found.versions.items()):
        shown = [f"{counts[name]:,}" if name in counts else "" for name in ("requests", "errors", "latency")]
        table.add_row(escape(number), *shown)
    print_table(table)
    if found.unnamed:
        console.print(f"[yellow]not used:[/yellow] {found.unnamed:,} requests of series without a version")
    if found.failure is not None:
        console.print(f"[red]{found.failure.problem}:[/red] {escape(str(found.failure))}")


def _counter_json(found: CounterPreview) -> dict[str, object]:
    return {
        "server": found.place,
        "versions": {number: dict(counts) for number, counts in found.versions.items()},
        "unnamed": found.unnamed,
        "problem": found.failure.problem.value if found.failure else "",
        "reason": str(found.failure) if found.failure else "",
    }


def _print_source(found: SourcePreview, days: float) -> None:
    versions = ", ".join(f"version {number}: {n:,}" for number, n in sorted(found.versions.items()))
    said = f"{found.place}: {found.read:,} rows in {format_duration(days * DAY_S)}"
    console.print(escape(f"{said}{f' ({versions})' if versions else ''}, {found.labelled:,} labels"))
    labels = {one.key: one for one in found.labels}
    if found.predictions:
        print_table(_prediction_table(found.predictions, labels))
    elif found.labels:
        table = Table("request", "row", "known (UTC)", "label", box=None, padding=(0, 1))
        for one in found.labels:
            table.add_row(escape(one.key[0]), str(one.key[1]), format_utc_time(one.at), _text(one.label))
        print_table(table)
    for reason in found.unusable.reasons(len(found.unusable.counts)):
        console.print(f"[yellow]not used:[/yellow] {escape(reason)}")
    if found.failure is not None:
        console.print(f"[red]{found.failure.problem}:[/red] {escape(str(found.failure))}")


def _prediction_table(rows: Sequence[ProvidedPrediction], labels: Mapping[tuple[str, int], ProvidedLabel]) -> Table:
    names = ("request", "row", "time (UTC)", "version", "unit", "answer", "error", "ms", "label", "features")
    table = Table(*names, box=None, padding=(0, 1))
    for one in rows:
        label = labels.get(one.key)
        table.add_row(
            escape(one.key[0]),
            str(one.key[1]),
            format_utc_time(one.at),
            escape(one.version),
            escape(one.unit or ""),
            "" if one.answer is None else _text(one.answer),
            escape(one.error or ""),
            "" if one.latency_ms is None else f"{one.latency_ms:.1f}",
            "" if label is None else f"{_text(label.label)} at {format_utc_time(label.at)}",
            _text(one.features),
        )
    return table


def _text(value: object) -> str:
    found = orjson.dumps(value).decode()
    return escape(found if len(found) <= _MAX_FEATURES else f"{found[: _MAX_FEATURES - 1]}…")


def _source_json(found: SourcePreview) -> dict[str, object]:
    return {
        "source": found.place,
        "rows": found.read,
        "versions": found.versions,
        "labelled": found.labelled,
        "predictions": [as_json(one) for one in found.predictions],
        "labels": [as_json(one) for one in found.labels],
        "unusable": dict(found.unusable.counts),
        "problem": found.failure.problem.value if found.failure else "",
        "reason": str(found.failure) if found.failure else "",
    }


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(evidence)
