"""Risk tier, retention, artifacts and provenance in a policy: what it refuses, and what a promotion is refused for."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from surefoot.cli.printing.plan_output import print_artifact_trust
from surefoot.core.approvals.version_claims import VersionClaims, VersionFacts
from surefoot.core.domain import Version
from surefoot.core.errors import Rejected
from surefoot.core.planning import list_policy_notes
from surefoot.core.policy.governance.artifact_trust import (
    ArtifactContents,
    ArtifactSection,
    describe_missing_provenance,
    find_artifact_problem,
    read_provenance,
)
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.rollout import open_promotion
from tests.fakes import POLICY
from tests.scripted import scenario

SKLEARN = ArtifactContents(("python_function", "sklearn"), ("model.pkl",))
WHOLE = VersionFacts(
    data={"dataset flights": "abc"},
    features={"x": "double"},
    parameters={"depth": "3"},
    metrics={"auc": "0.8"},
    code={"commit": "1234567", "source": "train.py"},
)
KINDS = ["data", "features", "hyperparameters", "evaluation", "code", "author"]


def section(**keys: object) -> ArtifactSection:
    """The section with these keys."""
    return ArtifactSection.model_validate(keys)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"tier": "high-risk"},
            r"retention\.log must be at least 183d, six months, for tier high-risk: without it 90d",
        ),
        ({"tier": "high-risk", "retention": {"log": "182d"}}, r"at least 183d.*found 182d"),
        ({"tier": "high-risk", "retention": {"log": "1y", "reports": "30d"}}, r"retention\.reports must be.*found 30d"),
        ({"retention": {"log": "90"}}, "expected a number of days or years such as 90d or 1y"),
        ({"retention": {"log": "0d"}}, "expected a number of days or years"),
        ({"provenance": ["data", "data"]}, "expected a list of different kinds"),
        ({"provenance": ["horoscope"]}, "provenance"),
        ({"artifacts": {"pickle": "never"}}, "pickle"),
    ],
)
def test_what_is_too_short_or_unknown_is_refused(more: Mapping[str, object], said: str) -> None:
    """A high-risk model keeps its records six months; periods, kinds and words that are none are named."""
    with pytest.raises(Violation, match=said):
        parse_policy({**POLICY, **more})


def test_periods_are_days_and_years() -> None:
    """What is written in days or years is kept for so many days; ninety without a word."""
    policy = parse_policy({**POLICY, "tier": "high-risk", "retention": {"log": "183d", "reports": "2y"}})
    assert (policy.retention.log_days, policy.retention.reports) == (183.0, 2 * 365 * 86400.0)
    assert parse_policy(POLICY).retention.log_days == 90.0


@pytest.mark.parametrize(("word", "noted"), [("warn", True), ("allow", False), ("refuse", False)])
def test_lint_notes_that_pickles_are_taken(word: str, noted: bool) -> None:
    """Pickles are allowed with a note until the policy says what it wants."""
    notes = list_policy_notes(parse_policy({**POLICY, "artifacts": {"pickle": word}}))
    assert any("pickles" in note for note in notes) is noted


def test_flavours_and_pickles_are_held_against_the_policy() -> None:
    """A flavour that is not listed and a pickle that is refused are named; python_function tells no format."""
    assert find_artifact_problem(section(), SKLEARN) == ""
    assert find_artifact_problem(section(flavors=["sklearn"]), SKLEARN) == ""
    assert "its flavour sklearn is not in" in find_artifact_problem(section(flavors=["onnx"]), SKLEARN)
    bare = ArtifactContents(("python_function",))
    assert "python_function" in find_artifact_problem(section(flavors=["onnx"]), bare)
    assert "the pickle model.pkl" in find_artifact_problem(section(pickle="refuse"), SKLEARN)


def test_what_is_missing_of_the_provenance_is_named() -> None:
    """Each kind that the policy demands and MLflow does not have is named with the place where it is said."""
    policy = parse_policy({**POLICY, "provenance": KINDS})
    assert describe_missing_provenance(policy.provenance, read_provenance(WHOLE, ["ann"])) == ""
    said = describe_missing_provenance(
        policy.provenance, read_provenance(VersionFacts(code={"source": "train.py"}), [])
    )
    assert all(kind in said for kind in KINDS)
    assert "mlflow.log_input" in said


def test_long_provenance_is_shortened_for_the_journal() -> None:
    """Of hundreds of parameters the journal keeps a line."""
    many = VersionFacts(parameters={f"parameter {number}": "1" for number in range(500)})
    assert len(read_provenance(many, [])["hyperparameters"]) == 300


@pytest.mark.parametrize("facts", [VersionFacts(), WHOLE], ids=["unknown", "known"])
def test_a_promotion_opens_only_with_its_provenance(facts: VersionFacts) -> None:
    """Without it the version is rejected before anything happens; with it the journal keeps what was known."""
    env = scenario({**POLICY, "provenance": ["data", "author"]})
    env.claims = VersionClaims(("ann",))
    ports = replace(env.ports(), version_facts=lambda _model, _version: facts)
    if facts is WHOLE:
        open_promotion(ports, env.request())
        (opened,) = [entry.data for entry in env.journal.entries if entry.kind == "RolloutOpened"]
        assert opened["provenance"] == {"data": "dataset flights=abc", "author": "ann"}
        return
    with pytest.raises(Rejected, match=r"demands provenance that MLflow does not have of it: data \("):
        open_promotion(ports, env.request())
    assert not [entry for entry in env.journal.entries if entry.kind == "RolloutOpened"]


def test_a_promotion_of_a_pickle_is_refused_where_the_policy_says_so() -> None:
    """The version is rejected by the name of its file, before any traffic."""
    env = scenario({**POLICY, "artifacts": {"pickle": "refuse", "flavors": ["sklearn"]}})
    ports = replace(env.ports(), artifact_contents=lambda _model, _version: SKLEARN)
    with pytest.raises(Rejected, match=r"version 2 of m is not promoted: it holds the pickle model\.pkl"):
        open_promotion(ports, env.request())


def test_plan_shows_files_and_provenance(capsys: pytest.CaptureFixture[str]) -> None:
    """A plan names flavours, pickles, what is known of the provenance, and why the version would be refused."""
    policy = parse_policy({**POLICY, "provenance": ["data", "author"], "artifacts": {"pickle": "refuse"}})
    known = {"author": "ann", "signature": "keys/release.pem (key sha256:12)"}
    print_artifact_trust(policy, Version("2", "sha256:2"), SKLEARN, known)
    said = " ".join(capsys.readouterr().out.split())
    assert "files: flavours python_function, sklearn; the pickle model.pkl" in said
    assert "signature: keys/release.pem (key sha256:12) data: not known to MLflow author: ann" in said
    assert said.count("version 2 would be refused") == 2
