"""Define the read-only commands `lint`, `plan`, `schema`, `history` and `verify`."""

import contextlib
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from surefoot import wiring
from surefoot.adapters.access.roles_file import roles_file_problems
from surefoot.adapters.approvals.approval_files_check import find_approval_problems, list_missing_approval_tools
from surefoot.adapters.config.notify_file import NOTIFY_FILE
from surefoot.adapters.config.policy_fallback import read_fallback_answer
from surefoot.adapters.config.policy_file import find_line, read_policy
from surefoot.adapters.config.policy_folder import (
    duplicate_policy_message,
    find_policy_file,
    list_policy_files,
    policy_files_by_model,
    read_declared_model,
    read_model_policy,
)
from surefoot.adapters.datalayer.table_policy_check import TableCheckReport, check_tables
from surefoot.adapters.evidence_store.request_key_index import altered_file_message, find_altered_files
from surefoot.adapters.evidence_store.verdict_recount import recount_verdict
from surefoot.adapters.freeze.freeze_calendar import find_calendar_problem, read_open_window
from surefoot.adapters.notify.notify_file_check import NotifyFileReport, check_notify_file
from surefoot.adapters.predictions.erasure.erasure_check import find_erasure_problem
from surefoot.adapters.signing.signing_keys import find_signing_key_problems, missing_signing_library_notes
from surefoot.cli.printing import plan_output
from surefoot.cli.printing.console import console, print_json
from surefoot.cli.printing.journal_output import entry_json, print_history
from surefoot.cli.printing.plan_output import print_plan
from surefoot.cli.shared.actor import current_actor
from surefoot.core import planning
from surefoot.core.domain import Version
from surefoot.core.erasure.erasure_events import UnitForgotten
from surefoot.core.errors import FallbackInvalid, JournalTampered, NotFound, PolicyInvalid, Rejected, SurefootError
from surefoot.core.journal.chain import Entry, check_chain
from surefoot.core.journal.events import Event, as_json, decode_event
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.judging.reverify import RecountResult, reverify
from surefoot.core.naming.model_names import model_file_name
from surefoot.core.policy.governance.artifact_trust import ArtifactContents
from surefoot.core.policy.policy_types import Policy
from surefoot.core.policy.recovery.notify_config import NotifyConfig
from surefoot.core.policy.schema import policy_schema, settings_file_schema
from surefoot.core.ports import Journal
from surefoot.incidents.incident_cases import check_policy_on_cases
from surefoot.rollout import describe_journal_behind_gateway
from surefoot.rollout.decisions.promotion_checks import check_signature, collect_provenance
from surefoot.settings import Settings, read_settings

ModelArgument = Annotated[str, typer.Argument(help="Registered model.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def lint(
    models: Annotated[
        list[str] | None, typer.Argument(help="Policies to check, by model or file; all without.")
    ] = None,
    project: Annotated[Path, typer.Option(help="Folder with configs/ and expectations/.")] = Path(),
    strict: Annotated[
        bool, typer.Option("--strict", help="A step that cannot see what it should is an error.")
    ] = False,
    on_incidents: Annotated[
        bool, typer.Option("--incidents", help="Back-test each policy on the recorded incidents of its model.")
    ] = False,
    json_: JsonOption = False,
) -> int:
    """Check policy files and their suites, and say what each step can see at the planned traffic."""
    configs = project / "configs"
    named = [_policy_path(configs, one) for one in models or []]
    files = [one for one in named if one.name != NOTIFY_FILE]
    files = files if named else list_policy_files(configs)
    if not files and not named:
        raise NotFound(f"there is no policy in {configs}")
    wrong, blind = 0, 0
    found: list[dict[str, object]] = []
    for file in files:
        name = read_declared_model(file)
        policy, expectations, problems = _examined(file, project / "expectations")
        problems = _duplicates(configs, file) + problems
        tables = check_tables(policy, project) if policy is not None else TableCheckReport()
        problems += [f"{file}:{find_line(file, ('data_layer', at))}: {problem}" for at, problem in tables.problems]
        if problems or policy is None:
            wrong += 1
            found.append({"model": name, "error": problems[0], "errors": problems})
            if not json_:
                for problem in problems:
                    console.print(f"[red]{escape(problem)}[/red]")
            continue
        sights = planning.plan_policy(policy)
        blind += sum(bool(sight.warning) for sight in sights)
        checked = check_policy_on_cases(project, file) if on_incidents else []
        unstopped = [f"{file}: case {one.folder}: {one.problem}" for one in checked if one.problem]
        wrong += bool(unstopped)
        a_year = planning.false_alarms_a_year(policy)
        if json_:
            steps = [as_json(s) for s in sights]
            said = [*planning.list_policy_notes(policy), *_host_notes(policy), *tables.notes]
            cases = [{"case": str(one.folder), "said": one.sentence, "problem": one.problem} for one in checked]
            found.append(
                {"model": name, "false_rollbacks_a_year": a_year, "steps": steps, "notes": said, "incidents": cases}
            )
            continue
        suite = f"{expectations} expectation{'' if expectations == 1 else 's'}"
        console.print(f"[green]ok[/green] {escape(name)}: {len(policy.steps)} steps, {suite}")
        plan_output.print_detectability(policy, sights, a_year)
        for note in (*planning.list_policy_notes(policy), *_host_notes(policy), *tables.notes):
            console.print(f"note: {escape(note)}")
        for one in checked:
            if not one.problem:
                console.print(
                    f"[green]ok[/green] case {escape(one.folder.name)}: {escape(one.sentence)}", soft_wrap=True
                )
        if on_incidents and not checked:
            console.print(
                f"no incident of {escape(name)} is recorded: 'surefoot incident review' does it", soft_wrap=True
            )
        for problem in unstopped:
            console.print(f"[red]{escape(problem)}[/red]", soft_wrap=True)
    notified = _lint_notify_file(project, silent=json_) if len(files) != len(named) or not named else NotifyFileReport()
    wrong += bool(notified.problems)
    others = {} if named else _lint_other_files(configs, silent=json_)
    wrong += len(others)
    if json_:
        notify = {"errors": list(notified.problems), "notes": list(notified.notes)}
        more: dict[str, object] = {"notify": notify} if notified != NotifyFileReport() else {}
        print_json({"policies": found, **more, **others})
    return 2 if wrong or (strict and blind) else 0


def _lint_other_files(configs: Path, *, silent: bool) -> dict[str, dict[str, list[str]]]:
    """Check the calendar of freezes and the file of roles, and print what is wrong; the same as JSON."""
    calendar = find_calendar_problem(configs)
    found = {"freeze": [calendar] if calendar else [], "roles": roles_file_problems(configs)}
    for problem in () if silent else (one for problems in found.values() for one in problems):
        console.print(f"[red]{escape(problem)}[/red]")
    return {name: {"errors": problems} for name, problems in found.items() if problems}


def _host_notes(policy: Policy) -> list[str]:
    """What this host lacks for a policy."""
    return [
        *plan_output.describe_missing_dependencies(policy),
        *list_missing_approval_tools(policy),
        *missing_signing_library_notes(policy),
    ]


def _policy_path(configs: Path, named: str) -> Path:
    """The file that an argument of `lint` means: a path, or the model that a policy names."""
    return Path(named) if named.endswith(".yaml") else find_policy_file(configs, named)


def _duplicates(configs: Path, file: Path) -> list[str]:
    """Say that another file is a policy of the same model."""
    model = read_declared_model(file)
    others = [one for one in policy_files_by_model(configs).get(model, []) if one.resolve() != file.resolve()]
    return (
        [duplicate_policy_message(model, [others[0], file])]
        if others and file.resolve().is_relative_to(configs.resolve())
        else []
    )


def _lint_notify_file(project: Path, *, silent: bool) -> NotifyFileReport:
    """Check the file of receivers and routes, and print what is found."""
    policies = {}
    for model, files in policy_files_by_model(project / "configs").items():
        with contextlib.suppress(PolicyInvalid, NotFound):
            if len(files) == 1:
                policies[model] = read_policy(files[0])[1]
    found = check_notify_file(project, policies)
    if silent:
        return found
    for problem in found.problems:
        console.print(f"[red]{escape(problem)}[/red]")
    if found.config is not None and not found.problems:
        count, routes = len(found.config.receivers), len(found.config.routes)
        console.print(f"[green]ok[/green] notify: {count} receivers, {routes} routes")
    for note in found.notes:
        console.print(f"note: {escape(note)}")
    return found


def _examined(file: Path, suites: Path) -> tuple[Policy | None, int, list[str]]:
    """A policy, the number of expectations of its suite, and everything that is wrong with the two files."""
    policy, suite, problems = None, "", []
    try:
        _, policy = read_policy(file)
        suite = policy.suite
    except PolicyInvalid as error:
        problems = [f"{error.path}:{line}: {rule}" for line, rule in error.problems()]
        suite = error.suite
    except NotFound as error:
        return None, 0, [str(error)]
    if policy is not None:
        try:
            read_fallback_answer(suites.parent, policy)
        except FallbackInvalid as error:
            problems += [f"{file}:{find_line(file, ('fallback', 'table'))}: {error}"]
        problems += find_approval_problems(file, policy)
        problems += find_signing_key_problems(file, policy)
    if not suite:
        return policy, 0, problems
    path = suites / f"{suite}.json"
    if not path.is_file():
        return policy, 0, [*problems, f"there is no suite {path}"]
    if policy is not None and policy.corners is not None:
        from surefoot.wiring.policy_column_checks import find_corner_problems  # noqa: PLC0415 - only corners read the log here

        problems += find_corner_problems(file, policy, path)
    if policy is not None and policy.log.encrypted:
        from surefoot.wiring.policy_column_checks import find_encrypted_expectations  # noqa: PLC0415 - same

        line = find_line(file, ("log", "encrypt"))
        problems += [f"{file}:{line}: {problem}" for problem in find_encrypted_expectations(policy, path)]
    from surefoot.adapters.expectations.suite import find_suite_problems  # noqa: PLC0415 - Great Expectations costs 5 CPU seconds

    expectations, wrong = find_suite_problems(path)
    return policy, expectations, [*problems, *(f"{path}:1: {problem}" for problem in wrong)]


def plan(model: ModelArgument, version: Annotated[str, typer.Argument(help="Version to promote.")]) -> None:
    """Say what a promotion would do, step by step, without doing any of it."""
    config = read_settings()
    _, policy = read_model_policy(config.configs, model)
    registry = wiring.make_registry(config, 5.0)
    candidate = registry.resolve(model, version)
    champion = registry.alias(model, "champion")
    if champion is None:
        raise Rejected(f"{model} has no champion yet: set the alias 'champion' on the version that serves today")
    if champion == candidate.number:
        raise Rejected(f"version {version} of {model} is the champion: nothing to promote")
    contents, trust = _artifact_trust(config, policy, candidate)
    hosted = wiring.make_version_processes(config)
    trial = hosted.try_loading(model, candidate)
    if trial.problem:
        raise Rejected(trial.problem)
    if (named := policy.fallback_reference) is not None:
        problem = hosted.find_load_problem(named.model, registry.resolve(named.model, named.number))
        if problem:
            raise Rejected(f"the fallback cannot be loaded: {problem}")
    print_plan(policy, candidate.number, champion)
    plan_output.print_artifact_trust(policy, candidate, contents, trust)
    with wiring.open_journal(config) as journal:
        ledger, now = fold_entries(model, journal.read(model)), wiring.make_clock(config).now()
    if stale := ledger.drills.promotion_problem(model, policy.drill, now):
        console.print(f"[magenta]it would be refused now[/magenta]: {escape(stale)}")
    window = read_open_window(config.configs, now)
    for frozen in (*ledger.freezes.in_force(now), *(() if window is None else (window,))):
        console.print(f"[magenta]it would be held before any traffic now[/magenta]: frozen, {escape(frozen.reason)}")
    plan_output.print_load_trial(candidate.number, trial)
    plan_output.print_detectability(policy, planning.plan_policy(policy), planning.false_alarms_a_year(policy))
    for note in (*planning.list_engine_notes(policy), *_host_notes(policy)):
        console.print(f"note: {escape(note)}")


def _artifact_trust(config: Settings, policy: Policy, candidate: Version) -> tuple[ArtifactContents, dict[str, str]]:
    """What the files of a version are, and who signed it and how it came to be where the policy asks for that.

    Raises:
        Rejected: The policy demands a signature that it does not have: its code must not be loaded here either.
    """
    with wiring.open_ports(config, current_actor(), 5.0) as ports:
        signed = check_signature(ports, policy, candidate)
        contents = ports.artifact_contents(policy.model, candidate)
        return contents, signed | (collect_provenance(ports, policy, candidate) if policy.provenance else {})


def schema(
    notify: Annotated[bool, typer.Option("--notify", help="Of configs/notify.yaml instead of a policy.")] = False,
) -> None:
    """Print the JSON Schema of a policy file, for editors."""
    print_json(settings_file_schema(NotifyConfig) if notify else policy_schema())


def history(
    model: ModelArgument,
    json_: JsonOption = False,
    everything: Annotated[bool, typer.Option("--all", help="Show intents too.")] = False,
) -> None:
    """Print the journal of a model: who did what, when, why, on which evidence."""
    with wiring.open_journal(read_settings()) as journal:
        entries = journal.read(model)
    if not entries:
        raise NotFound(f"the journal holds nothing of {model}")
    if json_:
        print_json([entry_json(entry) for entry in entries])
    else:
        print_history(entries, everything=everything)


def verify(model: Annotated[str | None, typer.Argument(help="Registered model; all without a name.")] = None) -> None:
    """Re-derive the hash chain, judge every verdict again from counters and kept sums, and name what is wrong first."""
    config = read_settings()
    generations, unseen = _generations(config)
    with wiring.open_journal(config) as journal:
        _verify(config, journal, model, generations)
    if unseen:
        console.print(f"not compared with the gateway: {unseen}", markup=False)


def _verify(config: Settings, journal: Journal, model: str | None, generations: dict[str, int]) -> None:
    known = journal.models()
    for name, generation in generations.items():
        head = len(journal.read(name)) if name in known else 0
        if generation > head and model in (None, name):
            raise JournalTampered(describe_journal_behind_gateway(name, head, generation))
    for name in [model] if model else known:
        entries = journal.read(name)
        if not entries:
            raise NotFound(f"the journal holds nothing of {name}")
        count, judged, skipped = check_chain(entries), 0, 0
        erasures = [event for event in map(_event, entries) if isinstance(event, UnitForgotten)]
        replaced = {old: new for one in erasures for old, new in one.replaced.items() if old != new}
        store, recounts = wiring.open_evidence_store(config, name, replaced), Counter[RecountResult]()
        for found in reverify(entries, partial(recount_verdict, store)):
            if found.skipped:
                skipped += 1
                continue
            if found.problem:
                raise JournalTampered(f"entry {found.seq} of {name}, gate {found.gate}: {found.problem}")
            judged += 1
            recounts[found.recount] += 1
        if altered := find_altered_files(store.indexes, config.log / model_file_name(name)):
            raise JournalTampered(altered_file_message(altered[0]))
        if problem := find_erasure_problem(config.log / model_file_name(name), erasures):
            raise JournalTampered(problem)
        more = [f"{skipped} cannot be judged again"] if skipped else []
        more += (
            [f"counters of {done} were added up again from kept sums"] if (done := recounts[RecountResult.DONE]) else []
        )
        more += [f"the kept sums of {gone} are not on this host"] if (gone := recounts[RecountResult.GONE]) else []
        more += [f"{len(erasures)} erasure{'' if len(erasures) == 1 else 's'}"] if erasures else []
        console.print(
            f"[green]ok[/green] {escape(name)}: {count} entries, head {entries[-1].hash[:16]}; "
            + ", ".join([f"{judged} verdicts follow from their counters", *more])
        )


def _event(entry: Entry) -> Event:
    return decode_event(entry.kind, entry.data)


def _generations(config: Settings) -> tuple[dict[str, int], str]:
    """The generation that the gateway serves of each model, which is an entry's number; and why that cannot be said."""
    try:
        with wiring.open_gateway_traffic(config) as traffic:
            return traffic.generations(), ""
    except SurefootError as error:
        return {}, str(error)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (lint, plan, schema, history, verify):
        app.command()(command)
