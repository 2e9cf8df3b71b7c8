"""A policy file is refused with its path, the line and the key, or it means exactly what it says."""

from pathlib import Path

import pytest

from surefoot.adapters.config.policy_file import read_policy
from surefoot.adapters.config.strict_yaml import MAX_POLICY_BYTES
from surefoot.core.domain import Outcome
from surefoot.core.errors import NotFound, PolicyInvalid
from surefoot.core.policy.policy_types import FailureAction, Reaction
from surefoot.settings import Settings
from surefoot.wiring import find_broken_policies, read_policies
from tests.gates import gate_of

BAD = Path(__file__).parent.parent / "e2e" / "expected_failures"
NUMBER = "is not a number that can be compared"
REFUSED = {
    "alias": (20, "aliases (*h)"),
    "approve_step": (17, "steps.2.approve.quorum: must be at least 1"),
    "boolean": (3, "unit: expected text"),
    "control_character": (3, "special characters"),
    "duplicate_gate": (9, "key 'errors' is written twice"),
    "duplicate_key": (19, "key 'unit' is written twice"),
    "duplicate_key_in_a_hold": (16, "steps.1.hold.for: key 'for' is written twice"),
    "duration_without_unit": (19, "bake.for: expected a duration"),
    "empty": (1, "the file is empty"),
    "endless_duration": (19, f"bake.for: a number (inf) {NUMBER}"),
    "endless_margin": (8, f"gates.latency.margin: a number (inf) {NUMBER}"),
    "endless_number": (16, NUMBER),
    "fallback_null": (20, "fallback.constant: null is no answer"),
    "fallback_of_no_kind": (20, "fallback: exactly one of 'constant', 'table', 'pyfunc' and 'refuse' is written"),
    "fallback_of_two_kinds": (20, "fallback: exactly one of 'constant', 'table', 'pyfunc' and 'refuse' is written"),
    "fallback_pyfunc": (20, "fallback.pyfunc: expected the number of a version, or 'models:/<model>/<number>', found"),
    "fallback_table": (20, "fallback.table.file: expected a .csv or .parquet file below the project's folder, found"),
    "rollback_cohort_too_large": (20, "rollback.cohort.share: 10 is not below the first step, 10"),
    "fallback_that_does_not_refuse": (20, "fallback.refuse: expected true, found true/false (False)"),
    "fraction_of_a_request": (16, "steps.1.hold.min_requests: expected a whole number"),
    "gate_never_judged": (9, "gate 'quality' is never judged"),
    "gate_not_defined": (18, "steps.2.hold.gates: there is no gate 'error'; gates: errors, latency, quality"),
    "gate_not_defined_in_bake": (19, "bake.gates: there is no gate 'drift'"),
    "gate_with_a_strange_name": (9, "gates.q/lity: expected a name"),
    "gate_with_the_name_of_the_suite": (9, "gates.data: 'data' is the name of the suite's own gate"),
    "gauge_block_of_no_length": (8, "gates.latency.block: must be above 0s"),
    "half_a_character": (2, "owners.0: '\\ud800' holds half a character"),
    "hold_without_then": (12, "on.no_data: 'then' is missing"),
    "huge_number": (16, f"min_requests: {10**39} {NUMBER}"),
    "infinite": (9, f"gates.quality.margin: .inf {NUMBER}"),
    "key_of_another_metric": (
        9,
        "gates.quality.costs: unknown key 'costs'; known here: block, by, classes, expect, labels,",
    ),
    "line_break_in_a_key": (11, "on.fa\\nil: unknown key 'fa\\nil'; known here: baseline_unhealthy,"),
    "list_as_a_key": (4, "keys are plain words"),
    "list_at_top": (1, "a policy is a mapping"),
    "golden_in_a_live_shadow": (
        15,
        "steps.0.shadow.gates: gate 'rows' measures golden, which mirrored requests do not show: it asks for no live",
    ),
    "live_shadow_after_a_weight": (16, "steps.1: a shadow step with 'source: live' comes before the weights, once"),
    "live_shadow_without_a_share": (14, "steps.0.shadow: 'share' is missing"),
    "live_latency_in_a_replay": (14, "steps.0.shadow.gates: gate 'latency' measures live latency"),
    "loss_without_labels": (9, "gates.quality: 'labels' is missing"),
    "margin_in_milliseconds": (8, "gates.latency.margin: a latency margin is a share"),
    "merge_key": (6, "data.<<: keys are plain words"),
    "missing_model": (1, "'model' is missing"),
    "misspelt_key_that_is_needed": (
        9,
        "gates.quality.labels.maturty: unknown key 'maturty'; known here: coverage, maturity",
    ),
    "more_than_json_can_count": (16, f"min_requests: 9007199254740993 {NUMBER}"),
    "name_with_a_slash": (5, "data.suite: expected a name"),
    "nan": (4, f"traffic.requests_per_minute: .nan {NUMBER}"),
    "negative_margin": (9, "gates.quality.margin: must be at least 0, found -0.1"),
    "nested_too_deeply": (2, "levels deep"),
    "no_as_a_boolean": (3, "unit: 'no' means true or false"),
    "no_gates_in_a_step": (18, "steps.2.hold.gates: at least one gate is needed"),
    "no_steps": (13, "steps: expected a list of steps"),
    "no_weight_step": (13, "steps: at least one weight step is needed"),
    "not_utf_8": (2, "not UTF-8 text: byte 0xe9"),
    "nothing": (3, "unit: expected text, found nothing"),
    "octal": (4, f"traffic.requests_per_minute: 0600 {NUMBER}"),
    "old_name_and_new_name": (12, "on.both_sick: this is the old name of 'baseline_unhealthy': write one"),
    "optional_key_as_null": (8, "gates.latency.quantile: expected a number, found nothing"),
    "overflowing": (4, f"traffic.requests_per_minute: 1.5e+400 {NUMBER}"),
    "protected_slice_of_no_column": (9, "gates.quality.protected: names slices, so 'by' must say of which columns"),
    "recursive_alias": (2, "aliases (*o)"),
    "scalar_at_top": (1, "a policy is a mapping"),
    "sexagesimal": (19, f"bake.for: 12:30:00 {NUMBER}"),
    "scoring_address_of_a_local_engine": (17, "scoring.address: only engine 'dask' has it"),
    "scoring_address_without_a_port": (
        17,
        "scoring.address: expected the address of a scheduler such as tcp://10.0.0.5:8786, found text ('10.0.0.5')",
    ),
    "scoring_by_an_unknown_engine": (17, "scoring.engine: expected one of local, dask, found text ('spark')"),
    "scoring_by_ray": (
        17,
        "scoring.engine: 'ray' is not supported: 'dask' spreads the same work over processes or hosts",
    ),
    "scoring_no_workers": (17, "scoring.workers: must be at least 1, found 0"),
    "scoring_workers_and_address": (
        17,
        "scoring.workers: the cluster at 'address' has workers of its own: one of the two",
    ),
    "scoring_workers_without_dask": (17, "scoring.workers: only engine 'dask' has it"),
    "shadow_after_a_weight": (18, "steps.2: the shadow step comes first"),
    "tab": (18, "'\\t'"),
    "tag": (2, "owners: tags (set) are not allowed"),
    "tagged_scalar": (3, "unit: 'user' is a YAML !unit"),
    "timestamp": (3, "unit: '2013-06-24' is a YAML timestamp: quote it"),
    "two_documents": (19, "another document"),
    "unclosed": (3, "expected ',' or ']'"),
    "undefined_alias": (2, "aliases (*nobody)"),
    "unknown_action": (11, "on.fail: expected one of rollback, pause, hold, found text ('shrug')"),
    "unknown_key": (4, "unknown key 'owner'; known here: artifacts, bake, bundle, corners, data,"),
    "unknown_key_in_a_gate": (
        7,
        "gates.errors.quantile: unknown key 'quantile'; known here: by, expect, margin, max, metric, min_per_slice,",
    ),
    "unknown_key_in_a_step": (19, "steps.2.pause: unknown key 'pause'; known here: hold, weight"),
    "unknown_key_in_labels": (9, "gates.quality.labels.covered: unknown key 'covered'"),
    "unknown_key_in_on": (12, "on.nodata: unknown key 'nodata'; known here: baseline_unhealthy, error, fail,"),
    "unknown_metric": (9, "gates.quality.metric: expected one of error_rate, missing_label, latency,"),
    "unknown_nested_key": (5, "data.windows: unknown key 'windows'; known here: answers, every, suite, window"),
    "live_shadow_without_a_source": (14, "steps.0.shadow: 'source' is missing"),
    "unknown_source_of_a_live_shadow": (
        14,
        "steps.0.shadow.source: expected one of replay, live, found text ('lives')",
    ),
    "unknown_source": (14, "steps.0.shadow.source: expected one of replay, live, found text ('mirror')"),
    "unknown_step": (17, "steps.2: a step is"),
    "weight_not_growing": (17, "steps.2.weight: weights must grow; 5 follows 5"),
    "weight_of_everything": (17, "steps.2.weight: must be at most 99, found 100"),
    "weight_without_hold": (17, "steps.2: 'hold' is missing"),
    "wrong_type_list_for_mapping": (5, "data: expected a mapping, found a list"),
    "wrong_type_mapping_for_list": (18, "steps.2.hold.gates: expected a list, found a mapping"),
    "wrong_type_number_for_text": (3, "unit: expected text, found a number (7)"),
    "wrong_type_scalar_for_steps": (13, "steps: expected a list of steps, found text ('canary')"),
    "wrong_type_text_for_number": (4, "traffic.requests_per_minute: expected a number, found text ('600')"),
    "zero_margin_on_error_rate": (7, "gates.errors.margin: must be above 0"),
}
GOOD = """\
# Comments stay comments.
model: good
unit: tail_num
traffic: {requests_per_minute: 600}
data: {suite: flights}
gates:
  errors: {metric: error_rate, margin: 0.5pp}
on: {fail: pause, no_data: {hold: 2h, then: rollback}, stale: hold}
steps:
  - weight: 0.5
    hold: {for: 10m, min_requests: 2000, gates: errors}
bake: {for: 14d, gates: [errors]}
"""


def test_every_bad_file_is_in_the_table() -> None:
    """The table and the folder of bad policies name the same files."""
    assert {path.stem for path in BAD.glob("*.yaml")} == set(REFUSED)


@pytest.mark.parametrize("name", REFUSED)
def test_bad_policy_is_refused(name: str) -> None:
    """A bad policy is refused with its path, the line of the mistake and words that name the key."""
    line, words = REFUSED[name]
    path = BAD / f"{name}.yaml"
    with pytest.raises(PolicyInvalid) as caught:
        read_policy(path)
    assert (caught.value.path, caught.value.line) == (str(path), line)
    assert words in caught.value.rule
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert caught.value.exit_code == 2


def test_good_policy_means_what_it_says(tmp_path: Path) -> None:
    """A good file gives the mapping as written and the policy it means; a bare `on` is a key like any other."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    value, policy = read_policy(path)
    assert value["on"] == {"fail": "pause", "no_data": {"hold": "2h", "then": "rollback"}, "stale": "hold"}
    assert policy.on[Outcome.FAIL] == Reaction(0.0, FailureAction.PAUSE)
    assert policy.on[Outcome.NO_DATA] == Reaction(7200.0, FailureAction.ROLLBACK)
    assert (policy.model, policy.unit, policy.ramp[0].weight) == ("good", "tail_num", 0.5)
    errors = gate_of(policy, "errors")
    assert (errors.margin, errors.relative) == (0.005, False)
    assert (policy.bake.hold, policy.ramp[0].min_requests) == (14 * 86400.0, 2000)


@pytest.mark.parametrize("word", ["on", "'on'", '"on"', "? on\n"])
def test_every_way_to_write_the_key_on(tmp_path: Path, word: str) -> None:
    """`on` is the same key however it is quoted."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD.replace("on: {fail", f"{word}: {{fail"))
    assert read_policy(path)[1].on[Outcome.FAIL].then is FailureAction.PAUSE


def test_missing_file_lists_its_neighbours(tmp_path: Path) -> None:
    """A wrong model name is answered with those that exist."""
    (tmp_path / "good.yaml").write_text(GOOD)
    with pytest.raises(NotFound, match=r"policies in .*: good$"):
        read_policy(tmp_path / "god.yaml")


def test_large_file_is_not_read(tmp_path: Path) -> None:
    """A file that no person wrote is refused by its size."""
    path = tmp_path / "good.yaml"
    path.write_text(GOOD + "#" * MAX_POLICY_BYTES)
    with pytest.raises(PolicyInvalid, match="larger than"):
        read_policy(path)


def test_what_is_no_policy_file_is_skipped_and_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    """An editor's lock and a folder stop nothing; a link to nowhere is one broken policy, and the others are read."""
    config = Settings(tmp_path, tmp_path, "", "", "", "token")
    config.configs.mkdir()
    (config.configs / "flights-late.yaml").write_text(
        (Path(__file__).parents[2] / "configs" / "flights-late.yaml").read_text()
    )
    (config.configs / ".#cat.yaml").symlink_to("user@host.1:9")
    (config.configs / "folder.yaml").mkdir()
    assert list(read_policies(config)) == ["flights-late"]
    assert find_broken_policies(config) == {}
    (config.configs / "gone.yaml").symlink_to(tmp_path / "nowhere")
    assert list(read_policies(config)) == ["flights-late"]
    (problem,) = find_broken_policies(config).values()
    assert problem.startswith(f"there is no policy {config.configs / 'gone.yaml'}")
