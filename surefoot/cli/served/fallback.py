"""Define the command `fallback`, which shows and tries out a policy's fallback."""

from typing import Annotated

import typer

from surefoot import wiring
from surefoot.adapters.config.policy_fallback import read_fallback_or_reference
from surefoot.adapters.config.policy_folder import read_model_policy
from surefoot.cli.access.permission import require_allowed_actor
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.read_only import JsonOption, ModelArgument
from surefoot.cli.shared.actor import current_actor
from surefoot.cli.shared.timeouts import REGISTRY_TIMEOUT_S
from surefoot.core.access.roles import Action
from surefoot.core.errors import Rejected
from surefoot.core.fallback import PYFUNC_FALLBACK_KIND, FallbackAnswer, FallbackReference, FallbackVersion
from surefoot.core.journal.event_sentences import describe_event
from surefoot.core.journal.events import as_json
from surefoot.rollout import check_fallback
from surefoot.settings import read_settings


def fallback(
    model: ModelArgument,
    drill_: Annotated[
        bool, typer.Option("--drill", help="Ask it recent rows of the log, and journal whether its answers will do.")
    ] = False,
    json_: JsonOption = False,
) -> None:
    """Say what callers get when no version can answer, and when that was tried last; --drill tries it now."""
    config = read_settings()
    _, policy = read_model_policy(config.configs, model)
    found = read_fallback_or_reference(config.project, policy)
    if found is None:
        raise Rejected(f"the policy of {model} has no fallback: a request that no version can answer is refused")
    if drill_:
        require_allowed_actor(config, Action.DRILL, model)
    with wiring.open_ports(config, current_actor(), REGISTRY_TIMEOUT_S) as ports:
        tried = check_fallback(ports, model) if drill_ else None
        if drill_ and tried is None:
            raise Rejected(f"{model} has no champion yet: there are no answers to compare with")
        ledger = ports.ledger(model)
    last = tried or (ledger.drilled[0] if ledger.drilled else None)
    loadable = ledger.fallback if isinstance(found, FallbackReference) else None
    if json_:
        shown = _answers_json(found) if isinstance(found, FallbackAnswer) else _version_json(found, loadable)
        print_json({**shown, "drill": as_json(last) if last else None})
    else:
        text = _answers_text(found) if isinstance(found, FallbackAnswer) else _version_text(found, loadable)
        console.print(text, markup=False)
        console.print(describe_event(last) if last else "it was never tried: --drill does that", markup=False)
    if tried is not None and tried.problem:
        raise typer.Exit(1)


def _answers_json(found: FallbackAnswer) -> dict[str, object]:
    """A constant or a table, for a program."""
    shown = {"kind": found.kind, "keys": list(found.columns), "rows": len(found.answers), "digest": found.digest}
    return {**shown, "default": found.json}


def _answers_text(found: FallbackAnswer) -> str:
    """A constant or a table, for a person."""
    keys = f", {len(found.answers):,} rows by {', '.join(found.columns)}" if found.columns else ""
    return f"{found.kind}{keys}; else {found.json}"


def _version_json(source: FallbackReference, loadable: FallbackVersion | None) -> dict[str, object]:
    """The version that the policy names and the one that the gateway is to load, for a program."""
    used = {"answers": loadable.uri, "digest": loadable.version.digest} if loadable else {"answers": None, "digest": ""}
    return {"kind": PYFUNC_FALLBACK_KIND, "source": source.uri, **used}


def _version_text(source: FallbackReference, loadable: FallbackVersion | None) -> str:
    """The same for a person."""
    if loadable is None:
        return f"{PYFUNC_FALLBACK_KIND} {source.uri}; no drill has loaded it yet, so the gateway does not know it"
    other = "" if loadable.uri == source.uri else f"; until a drill has loaded that, {loadable.uri} answers"
    return f"{PYFUNC_FALLBACK_KIND} {source.uri}{other}; {loadable.version.digest}"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(fallback)
