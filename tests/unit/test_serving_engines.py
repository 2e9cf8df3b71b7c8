"""What engines can do, what a policy may ask of them, and which one serves a model."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from surefoot import cli
from surefoot.core.domain import Stage
from surefoot.core.errors import Rejected
from surefoot.core.journal.events import SetAlias, decode_event, encode_event
from surefoot.core.journal.ledger import fold_entries
from surefoot.core.planning import list_policy_notes
from surefoot.core.policy.parse import parse_policy
from surefoot.core.policy.violations import Violation
from surefoot.core.serving_engines.engine_abilities import ENGINES, EngineName, missing_abilities, whole_number_weights
from surefoot.core.serving_engines.engine_choice import EngineChoice, EngineChosen
from surefoot.rollout import Ports, adopt_champion, drive_rollout, end_rollout, open_promotion, open_rollback
from tests.fakes import BY_ALIAS, POLICY, Scenario

SHADOW = {"shadow": {"window": "7d", "gates": ["errors"]}}
LIVE_SHADOW = {"shadow": {"source": "live", "share": 5, "for": "1h", "gates": ["errors"]}}
HAPROXY: dict[str, Any] = {
    **POLICY,
    "traffic": {
        "engine": "haproxy",
        "requests_per_minute": 600,
        "candidate_errors_reach_callers": True,
        "haproxy": {"addresses": "unix:/run/haproxy/admin.sock", "backend": "models"},
    },
}
del HAPROXY["unit"]
OBJECT = {"kind": "httproute", "namespace": "models", "name": "flights", "backend": "flights-v{version}"}


def kubernetes(**keys: Any) -> dict[str, Any]:
    """A policy of engine kubernetes, with these keys of its object."""
    traffic = {**HAPROXY["traffic"], "engine": "kubernetes", "kubernetes": {**OBJECT, **keys}}
    return {**HAPROXY, "traffic": {key: item for key, item in traffic.items() if key != "haproxy"}}


def ray(**keys: Any) -> dict[str, Any]:
    """A policy of engine ray, with these keys of its cluster."""
    where = {"address": "http://127.0.0.1:8265", "unit": POLICY["unit"], **keys}
    traffic = {"engine": "ray", "requests_per_minute": 600, "candidate_errors_reach_callers": True, "ray": where}
    return {**POLICY, "traffic": traffic}


KUBERNETES, KSERVE, RAY = kubernetes(), kubernetes(kind="inferenceservice"), ray()


def held(weight: float, gate: str = "errors") -> dict[str, object]:
    """A step of the ramp."""
    return {"weight": weight, "hold": {"for": "10m", "gates": [gate]}}


GATES = {"errors": POLICY["gates"]["errors"], "slow": {"metric": "latency", "margin": "20%"}}
BROKEN: list[tuple[dict[str, Any], str, str]] = [
    ({**BY_ALIAS, "steps": [SHADOW, held(5)]}, "steps.1.weight", "engine 'alias' moves all traffic at once"),
    (
        {**BY_ALIAS, "steps": [SHADOW, LIVE_SHADOW]},
        "steps.1.shadow.source",
        "engine 'alias' mirrors no requests",
    ),
    ({**BY_ALIAS, "gates": GATES, "bake": {"for": "1h", "gates": ["slow"]}}, "bake.gates", "measures no request"),
    ({**BY_ALIAS, "rollback": {"mode": "stepped"}}, "rollback.mode", "takes all traffic back at once"),
    ({**BY_ALIAS, "fallback": {"constant": 0.5}}, "fallback", "engine 'alias' has no fallback"),
    ({**BY_ALIAS, "drill": {}}, "drill", "engine 'alias' is not rehearsed"),
    (
        {**BY_ALIAS, "traffic": {"engine": "alias", "requests_per_minute": 6}},
        "traffic.engine",
        "write 'candidate_errors_reach_callers: true' beside it",
    ),
    (
        {**POLICY, "traffic": {**POLICY["traffic"], "candidate_errors_reach_callers": True}},
        "traffic.candidate_errors_reach_callers",
        "answers for a candidate that fails",
    ),
    ({**HAPROXY, "unit": "user"}, "unit", "engine 'haproxy' keeps no unit with one version"),
    ({**HAPROXY, "steps": [SHADOW, held(33.3)]}, "steps.1.weight", "none of them give 33.3 percent"),
    ({**HAPROXY, "gates": GATES, "steps": [SHADOW, held(5, "slow")]}, "steps.1.hold.gates", "measures no request"),
    (
        {**HAPROXY, "traffic": {k: v for k, v in HAPROXY["traffic"].items() if k != "haproxy"}},
        "traffic.engine",
        "engine 'haproxy' needs 'haproxy: {",
    ),
    (
        {**BY_ALIAS, "traffic": {**BY_ALIAS["traffic"], "haproxy": HAPROXY["traffic"]["haproxy"]}},
        "traffic.haproxy",
        "only engine 'haproxy' has it",
    ),
    (
        {**HAPROXY, "traffic": {**HAPROXY["traffic"], "haproxy": {"addresses": "10.0.0.5:9999", "backend": "m"}}},
        "traffic.haproxy.addresses",
        "expected a runtime address such as unix:/run/haproxy/admin.sock or tcp://10.0.0.5:9999",
    ),
    (
        {
            **HAPROXY,
            "traffic": {**HAPROXY["traffic"], "haproxy": {**HAPROXY["traffic"]["haproxy"], "server": "candidate"}},
        },
        "traffic.haproxy.server",
        "expected a server's name with {version} in it",
    ),
    ({**KUBERNETES, "unit": "user"}, "unit", "engine 'kubernetes' keeps no unit with one version"),
    (
        {**KUBERNETES, "steps": [SHADOW, LIVE_SHADOW, held(5)]},
        "steps.1.shadow.source",
        "engine 'kubernetes' mirrors no requests",
    ),
    (
        {**KUBERNETES, "steps": [SHADOW, held(0.12345678)]},
        "steps.1.weight",
        "has whole numbers up to 1000000 as weights, and none of them give 0.123457 percent",
    ),
    (
        {**KSERVE, "steps": [SHADOW, held(12.5)]},
        "steps.1.weight",
        "engine 'kubernetes' gives whole percents alone, and 12.5 percent is none: choose another weight",
    ),
    (
        {**KUBERNETES, "traffic": {**KUBERNETES["traffic"], "candidate_errors_reach_callers": False}},
        "traffic.engine",
        "write 'candidate_errors_reach_callers: true' beside it",
    ),
    (
        {**KUBERNETES, "traffic": {k: v for k, v in KUBERNETES["traffic"].items() if k != "kubernetes"}},
        "traffic.engine",
        "engine 'kubernetes' needs 'kubernetes: {kind: ..., namespace: ..., name: ...}' beside it",
    ),
    (
        {**HAPROXY, "traffic": {**HAPROXY["traffic"], "kubernetes": OBJECT}},
        "traffic.kubernetes",
        "only engine 'kubernetes' has it",
    ),
    (kubernetes(kind="virtualservice"), "traffic.kubernetes.kind", "httproute, inferenceservice"),
    (kubernetes(backend="{version}"), "traffic.kubernetes.backend", "with {version} in it that begins with a letter"),
    (kubernetes(namespace="Models"), "traffic.kubernetes.namespace", "Models"),
    (kubernetes(patience="6m"), "traffic.kubernetes.patience", "expected 5m at most"),
    (kubernetes(token="t"), "traffic.kubernetes.token", "known here: backend, context, kind, name, namespace"),  # noqa: S106 - a key that a policy must not have
    ({**RAY, "steps": [SHADOW, LIVE_SHADOW, held(5)]}, "steps.1.shadow.source", "engine 'ray' mirrors no requests"),
    ({**RAY, "gates": GATES, "steps": [SHADOW, held(5, "slow")]}, "steps.1.hold.gates", "measures no request"),
    (ray(address="127.0.0.1:8265"), "traffic.ray.address", "such as http://127.0.0.1:8265, found text"),
    (ray(address="http://user:secret@10.0.0.9:8265"), "traffic.ray.address", "without a path or a user"),
    (ray(unit="plane"), "traffic.ray.unit", "write 'unit: user' here too"),
    ({key: item for key, item in RAY.items() if key != "unit"}, "traffic.ray.unit", "write 'unit' beside 'traffic'"),
    (ray(patience="2h"), "traffic.ray.patience", "expected 1h at most"),
    (ray(replicas=0), "traffic.ray.replicas", "1"),
    (
        {**RAY, "traffic": {key: item for key, item in RAY["traffic"].items() if key != "ray"}},
        "traffic.engine",
        "engine 'ray' needs 'ray: {address: ...}' beside it",
    ),
    ({**POLICY, "traffic": {**POLICY["traffic"], "engine": "istio"}}, "traffic.engine", "gateway, alias, haproxy"),
    ({**POLICY, "steps": [SHADOW]}, "steps", "at least one weight step is needed between shadow and promotion"),
]


@pytest.mark.parametrize(("value", "path", "rule"), BROKEN, ids=[f"{path}: {rule[:30]}" for _, path, rule in BROKEN])
def test_a_policy_that_asks_for_more_is_refused(value: dict[str, Any], path: str, rule: str) -> None:
    """What an engine cannot do is refused with the key that asks for it, in one line."""
    with pytest.raises(Violation) as refused:
        parse_policy(value)
    assert ".".join(map(str, refused.value.path)) == path
    assert rule in refused.value.rule
    assert "\n" not in str(refused.value)


def test_lint_names_the_line_and_says_what_the_engine_cannot_do(tmp_path: Path) -> None:
    """`lint` refuses a weight of engine alias by path and line; of a good policy it tells every consequence."""
    (tmp_path / "configs").mkdir()
    (tmp_path / "expectations").mkdir()
    suite = (
        '{"name": "m", "expectations": [{"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}}]}'
    )
    (tmp_path / "expectations" / "m.json").write_text(suite)
    file = tmp_path / "configs" / "m.yaml"
    file.write_text(yaml.safe_dump({**BY_ALIAS, "steps": [SHADOW, held(5)]}, sort_keys=False))
    said = CliRunner().invoke(cli.build_app("lint"), ["lint", "--project", str(tmp_path)], standalone_mode=False)
    line = 1 + next(n for n, text in enumerate(file.read_text().splitlines()) if "weight: 5" in text)
    assert said.return_value == 2
    assert f"m.yaml:{line}: steps.1.weight: engine 'alias' moves all traffic at once" in said.output.replace("\n", "")
    file.write_text(yaml.safe_dump(BY_ALIAS, sort_keys=False))
    said = CliRunner().invoke(cli.build_app("lint"), ["lint", "--project", str(tmp_path)], standalone_mode=False)
    assert said.return_value == 0
    told = " ".join(said.output.split())
    for note in list_policy_notes(parse_policy(BY_ALIAS)):
        assert note in told
    assert "a rollback needs MLflow; while it does not answer, traffic stays" in told


def test_the_gateway_lacks_nothing_and_every_other_engine_says_what_it_lacks() -> None:
    """Only the gateway answers for a failing candidate; the notes of any other engine begin with that."""
    assert not list(missing_abilities(EngineName.GATEWAY))
    for name in set(EngineName) - {EngineName.GATEWAY}:
        assert not ENGINES[name].answers_for_failing_candidate
        assert "its callers get as a failure" in next(missing_abilities(name))
        policies = {EngineName.ALIAS: BY_ALIAS, EngineName.HAPROXY: HAPROXY, EngineName.KUBERNETES: KUBERNETES}
        policy = {**policies, EngineName.RAY: RAY}[name]
        assert parse_policy(policy).traffic.engine is name
    assert "a proxy may still send requests to the candidate" in list(missing_abilities(EngineName.KUBERNETES))[-1]
    assert parse_policy({**KUBERNETES, "steps": [SHADOW, held(12.5)]}).traffic.engine_choice.abilities.ramps


def test_the_journal_keeps_what_reaches_the_object_and_no_secret() -> None:
    """Kind, names, context and patience are journalled; a rollback reads them back to the same place."""
    assert parse_policy(ray(cpus=2)).traffic.engine_choice.settings == {
        "address": "http://127.0.0.1:8265",
        "unit": "user",
        "replicas": 1,
        "cpus": 2.0,
        "cache": "~/.cache/surefoot/models",
        "patience_s": 300.0,
    }
    choice = parse_policy(kubernetes(context="production", patience="45s")).traffic.engine_choice
    assert choice.settings == {**OBJECT, "context": "production", "patience_s": 45.0}
    event = EngineChosen(choice.name, choice.settings, EngineName.GATEWAY)
    kind, data = encode_event(event)
    assert decode_event(kind, data) == event


@given(st.integers(0, 1000))
def test_whole_weights_give_exactly_the_share(tenths: int) -> None:
    """Weights are whole numbers up to the largest, and their share is the asked one, or there are none."""
    weight = tenths / 10
    found = whole_number_weights(weight, 256)
    if found is None:
        assert not weight.is_integer()
        return
    champion, candidate = found
    assert min(found) >= 0
    assert max(found) <= 256
    assert candidate * 1000 == tenths * (champion + candidate)


def by_alias(story: str = "good") -> Scenario:
    """A model that alias champion serves."""
    return Scenario(story, policy=dict(BY_ALIAS))


def test_the_engine_is_journalled_before_the_champion_is_served() -> None:
    """The first entry names an engine that is not the gateway, so that a rollback reads no policy; it is named once."""
    env = by_alias()
    ledger = adopt_champion(env.ports(), "m", EngineChoice(EngineName.ALIAS))
    kinds = [entry.kind for entry in env.journal.entries]
    assert kinds == ["EngineChosen", "ChampionAdopted", "EffectIntended", "EffectDone"]
    assert ledger.engine == EngineChoice(EngineName.ALIAS)
    adopt_champion(env.ports(), "m", EngineChoice(EngineName.ALIAS))
    assert len(env.journal.entries) == 4
    first = env.journal.entries[0]
    assert decode_event(first.kind, first.data) == EngineChosen(EngineName.ALIAS, {}, EngineName.GATEWAY)


def test_another_engine_waits_for_the_end_of_a_rollout() -> None:
    """While a rollout is open its engine stays; after it the new engine gets the champion, and the old one nothing."""
    env = Scenario()
    adopt_champion(env.ports(), "m")
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda seen: bool(seen.rollout and seen.rollout.stage is Stage.RAMPING))
    wanted = EngineChoice(EngineName.HAPROXY, {"addresses": ["unix:/x"], "backend": "b", "server": "v{version}"})
    assert adopt_champion(env.ports(), "m", wanted).engine == EngineChoice()
    end_rollout(env.ports(), "m", Stage.ABORTED, "a test")
    drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    other = Scenario().traffic
    ports = replace(env.ports(), other_engine=lambda choice: other if choice == wanted else pytest.fail("another one"))
    changes = len(env.traffic.changes)
    ledger = adopt_champion(ports, "m", wanted)
    assert ledger.engine == wanted
    assert [split.champion.number for split in other.changes] == ["1"]
    assert len(env.traffic.changes) == changes
    assert fold_entries("m", env.journal.entries) == ledger


def test_a_process_that_cannot_reach_an_engine_says_so() -> None:
    """Ports without the model's engine refuse in one line, and nothing is journalled as done."""
    env = by_alias()
    ports = env.ports()
    adopt_champion(ports, "m", EngineChoice(EngineName.ALIAS))
    bare = Ports(ports.journal, ports.registry, ports.traffic, ports.evidence_source, ports.clock, "test")
    with pytest.raises(Rejected, match="this process cannot reach engine 'alias'"):
        bare.engine(bare.ledger("m"))


def test_a_stepped_rollback_of_an_engine_without_steps_goes_at_once() -> None:
    """An operator who asks for steps gets all traffic back at once, and the journal says why."""
    env = by_alias()
    open_promotion(env.ports(), env.request())
    drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    ledger = open_rollback(env.ports(), "m", "an operator", mode="stepped")
    assert ledger.rollout is not None
    assert ledger.rollout.opened.stepped is None
    assert ledger.rollout.opened.mode_reason == "engine 'alias' takes all traffic back at once"
    drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    assert env.registry.aliases["champion"] == "1"


def test_a_version_whose_alias_was_set_may_have_answered() -> None:
    """A rollout that ends between the alias and the split lists what its version answered: its alias was set."""
    env = by_alias()
    open_promotion(env.ports(), env.request())

    def moved(seen: Any) -> bool:
        return bool(seen.rollout and SetAlias("champion", "2", "1") in seen.rollout.done)

    drive_rollout(env.ports(), "m", until=moved)
    end_rollout(env.ports(), "m", Stage.ABORTED, "a test")
    ledger = drive_rollout(env.ports(), "m", until=lambda seen: not seen.open)
    assert env.registry.aliases["champion"] == "1"
    assert ledger.unlisted
