"""Names are the field's standard terms: those that needed a private dictionary do not come back."""

import ast
import builtins
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CODE = ("surefoot", "flows", "tasks", "tests", "bench")
DEFINITIONS = frozenset(
    [
        *(
            "Arms",
            "Board",
            "Chosen",
            "Evidences",
            "Following",
            "Foundling",
            "Keeper",
            "Keeping",
            "Kept",
            "Lane",
            "Level",
        ),
        *(
            "Nursery",
            "Question",
            "Sight",
            "Wishes",
            "keeper",
            "nursery",
            "foundling",
            "board",
            "lane",
            "beside",
            "aside",
        ),
        *("leisure", "haunt", "keeping", "manner", "joins", "flaw", "recheck", "soundness", "foresee", "discordant"),
        *("insist", "sink", "stretch", "stretches", "world", "worlds"),
        *("WrongCount", "Sliced", "Alarms", "Recipe", "Outline", "Examined", "Opened"),
        *("unwrap", "share_of_budget", "shadow_alpha", "workers_behind", "record_deaths", "growth_of", "carry_out"),
        *("GIVE_UP", "MICRO", "OLD_LOOKS", "ONE_IN", "SPOKEN"),
        *("CasePlayer", "DemoScene", "DemoStory", "FallbackVersionControl", "LeftOutRecords", "LogFileCounter"),
        *("PlayedPolicy", "RemoteScorer", "StandIn", "StandInRecord", "UsualInputs", "VersionOrder"),
        *("claim_rows", "looks_json", "play_case", "print_looks", "watch_level"),
    ]
)
"""Classes, functions, constants and modules that had these names: none says what it is the name of."""
MODULES = frozenset(
    [
        *("arms", "say", "tell", "question", "sums", "following", "answers", "speed", "left", "words"),
        *(
            "case_output",
            "drift",
            "fallback_drill",
            "last_flow_runs",
            "left_out_records",
            "matured_labels",
            "play_case",
        ),
        *("recorded_blocks", "remote_scorer", "service_events", "story", "version_order"),
    ]
)
"""Modules of the package that had these names."""
WORDS = re.compile(
    r"\b(keepers?|nursery|nurseries|foundlings?|leisure|haunts?|sinks?|stretch(?:es)?|whoever)\b", re.IGNORECASE
)
"""Words that stand nowhere, in code or in documents."""
VERBS = frozenset(
    re.findall(
        r"[\w-]+",
        "Add Advance Answer Append Ask Assign Back-test Build Bundle Call Carry Cast Check Checkpoint Choose "
        "Clean Collect Combine Compact Compare Compute Connect Control Convert Copy Count Damage Decide "
        "Decode Define Derive Describe Detect Determine Dispatch Distinguish Divide Download Draft Draw Drive "
        "Edit Encode End Erase Estimate Evaluate Exchange Explain Export Find Fold Forecast Fork Format Gather "
        "Generate Give Group Hand Handle Hash Hold Host Identify Import Index Inject Install Join Journal Judge Keep "
        "List Load Lower Maintain Manage Map Measure Merge Mirror Name Open Order Parse Plan Plot Predict "
        "Prepare Print Probe Project Promote Provide Query Queue Rank Read Recompute Reconcile Record Redact "
        "Refuse Register Rehearse Release Remove Render Rewrite Save Replay Report Resolve Restore Review Roll Route "
        "Run Score Select Send Serve Share Show Simulate Speak Split Start Stop Store Stream Sum Summarise "
        "Supervise Take Tell Test Trace Track Train Try Update Use Validate Verify Wait Wake Wire Wrap Write",
    )
)
"""How the first line of a module begins."""
ALLOWED = {
    "CHANGELOG.md",  # what earlier releases said
    "tests/golden",  # what an earlier release wrote
    "tests/unit/test_names.py",
    "tests/unit/test_golden_journals.py",
    "tests/unit/test_words.py",
    "tests/unit/test_events.py",
    "surefoot/core/domain.py",  # labels of figures that release 0.1.0 journalled
    "surefoot/core/journal/events.py",  # a field of the journal
    "surefoot/gateway/supervision/supervisor.py",  # a lock that a running worker of release 0.1.0 holds
}
FIELD = re.compile(r"\[\"sink\"\]|\"sink\":|\"nursery\"")
"""Fields of journals, JSON outputs and messages that keep their names."""


def definitions(file: Path) -> Iterator[str]:
    """Names that a file defines, and its own."""
    yield file.stem
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
    if "surefoot" in file.parts[len(ROOT.parts) :]:
        for node in tree.body:
            targets = node.targets if isinstance(node, ast.Assign) else []
            yield from (one.id for target in targets for one in ast.walk(target) if isinstance(one, ast.Name))


def test_no_definition_has_an_old_name() -> None:
    """No class, function or module is named by one of the words that only the authors understood."""
    found = {
        f"{file.relative_to(ROOT)}: {name}"
        for folder in CODE
        for file in (ROOT / folder).rglob("*.py")
        for name in definitions(file)
        if name.strip("_") in DEFINITIONS
    } | {str(file.relative_to(ROOT)) for file in (ROOT / "surefoot").rglob("*.py") if file.stem in MODULES}
    assert found == set()


def test_no_text_has_an_old_word() -> None:
    """Code, tests and documents use standard terms; what a release has written to a file keeps its name."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    found = [
        f"{name}:{number}: {line.strip()[:80]}"
        for name in listed
        if name.endswith((".py", ".md", ".yaml", ".toml")) and not any(name.startswith(one) for one in ALLOWED)
        for number, line in enumerate((ROOT / name).read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if WORDS.search(FIELD.sub("", line))
    ]
    assert found == []


def test_the_first_line_of_a_module_says_what_it_does() -> None:
    """Each module's documentation begins with a verb, in the imperative."""
    others = {}
    for folder in ("surefoot", "flows", "tasks"):
        for file in sorted((ROOT / folder).rglob("*.py")):
            first = (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]
            if first and first.split()[0].strip(",:") not in VERBS:
                others[str(file.relative_to(ROOT))] = first
    assert not others


ACRONYMS = {
    "FAILED", "RUNNING", "ERROR", "STALE", "NO_DATA", "READY",  # states and outcomes
    "ASCII", "POSIX", "SELECT", "VACUUM", "WRITE", "OPTIMIZE", "PROTOCOL",  # standards and statements
    "LOGNAME", "MLFLOW_HTTP_REQUEST_TIMEOUT",  # environment variables
    "MODEL", "MODULE", "FOLDER", "MODEL_DIRECTORY", "DIGEST", "MEMORY_MB",  # places in a command line
}  # fmt: skip
"""Words in capitals that docstrings use, which are no constants."""


def _docstrings(tree: ast.Module) -> Iterator[str]:
    """The docstrings of a module, its classes and functions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield ast.get_docstring(node) or ""


def test_constants_and_errors_in_docstrings_exist() -> None:
    """A docstring names no constant that no module has, and no error that no class is."""
    sources = {file: file.read_text(encoding="utf-8") for folder in CODE[:3] for file in (ROOT / folder).rglob("*.py")}
    code = {file: re.sub(r'"""[\s\S]*?"""', "", source) for file, source in sources.items()}
    constants = {name for text in code.values() for name in re.findall(r"\b[A-Z][A-Z_]{3,}[A-Z]\b", text)}
    errors = set(dir(builtins)) | {
        name for text in code.values() for name in re.findall(r"^class (\w+)", text, re.MULTILINE)
    }
    unknown = set()
    for file, source in sources.items():
        for text in _docstrings(ast.parse(source)):
            raised = re.search(r"Raises:\n((?:    .*\n?)+)", text)
            named = set(re.findall(r"^    ([A-Z]\w+):", raised[1], re.MULTILINE)) - errors if raised else set()
            named = {name for name in named if name not in code[file]}
            named |= set(re.findall(r"\b[A-Z][A-Z_]{3,}[A-Z]\b", text)) - ACRONYMS - constants
            unknown |= {(str(file.relative_to(ROOT)), name) for name in named}
    assert unknown == set()
