"""What every serving engine promises, tried on real ones, and on a test API server of Kubernetes."""

import contextlib
import itertools
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from surefoot.core.errors import GatewayUnavailable, OutcomeUnknown, Rejected, RouteSuperseded, Unavailable
from surefoot.core.serving_engines.engine_abilities import ENGINES, EngineName, KubernetesKind
from tests.integration.engine_harness import (
    CANDIDATE,
    CHAMPION,
    FAILING,
    AliasHarness,
    Answer,
    EngineHarness,
    GatewayHarness,
    HaproxyHarness,
    make_impatient,
)
from tests.integration.haproxy_process import haproxies
from tests.integration.kubernetes_harness import KubernetesHarness, kubernetes_engine
from tests.integration.ray_harness import RayHarness
from tests.integration.waiting import wait_for

if TYPE_CHECKING:
    from surefoot.core.domain import Split

RAMP = (1.0, 12.5, 25.0, 50.0)
CALLERS = 8


ENGINES_TRIED = [EngineName.GATEWAY, EngineName.ALIAS, EngineName.HAPROXY, *KubernetesKind]
RAY = pytest.param(EngineName.RAY, marks=pytest.mark.sweep("engine ray"))


@pytest.fixture(params=[*ENGINES_TRIED, RAY], ids=str)
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[EngineHarness]:
    """Each engine, running, without a split of ours."""
    with contextlib.ExitStack() as stack:
        if request.param is EngineName.GATEWAY:
            yield GatewayHarness(request.getfixturevalue("gateway"))
        elif request.param is EngineName.ALIAS:
            yield AliasHarness(request.getfixturevalue("mlflow_server"))
        elif isinstance(request.param, KubernetesKind):
            yield stack.enter_context(kubernetes_engine(request.param, tmp_path / "kubernetes"))
        elif request.param is EngineName.RAY:
            harness = request.getfixturevalue("ray_engine")
            stack.callback(harness.remove_router)
            yield harness
        else:
            yield HaproxyHarness(stack.enter_context(haproxies(tmp_path, count=2)), tmp_path)


def shares(engine: EngineHarness) -> tuple[float, ...]:
    """Weights that the engine can give a candidate between 0 and 100 percent."""
    able = engine.abilities
    return tuple(weight for weight in RAMP if not able.weight_problem(weight)) if able.ramps else ()


def test_every_engine_is_tried() -> None:
    """Each engine that a policy can name has its abilities, and none is left out here."""
    assert set(ENGINES) == set(EngineName) == {*ENGINES_TRIED[:3], EngineName.KUBERNETES, EngineName.RAY}


def test_weights_applied_are_weights_read_back(engine: EngineHarness) -> None:
    """Nothing is live before the first split; then exactly the split that was put in force last, in every part."""
    assert engine.traffic.live(engine.model) is None
    asked = [engine.split(0.0, None)]
    asked += [engine.split(weight, generation=2 + place) for place, weight in enumerate(shares(engine))]
    asked += [engine.split(100.0, generation=90), engine.split(0.0, None, champion=CANDIDATE, generation=91)]
    for split in asked:
        engine.traffic.shift(engine.model, split)
        assert engine.traffic.live(engine.model) == split
        assert engine.traffic.settled(engine.model, split)
        assert not engine.traffic.settled(engine.model, replace(split, generation=split.generation + 1))


def test_callers_are_answered_as_the_split_says(engine: EngineHarness) -> None:
    """All of them by the version that has everything, and the candidate's share of them where there are shares."""
    engine.shift(0.0, None)
    units = [f"N{number}" for number in range(400)]
    assert Counter(one.version for one in engine.ask_all(units[:40])) == {CHAMPION: 40}
    if engine.abilities.ramps:
        engine.shift(25.0, generation=2)
        seen = Counter(one.version for one in engine.ask_all(units))
        assert set(seen) == {CHAMPION, CANDIDATE}
        assert 60 <= seen[CANDIDATE] <= 140
    engine.shift(100.0, generation=3)
    assert Counter(one.version for one in engine.ask_all(units[:40])) == {CANDIDATE: 40}


def test_a_repeat_is_safe(engine: EngineHarness) -> None:
    """The same split again changes nothing and is acknowledged again, also by another client."""
    split = engine.shift(0.0, None, generation=4)
    for traffic in (engine.traffic, engine.behind(engine.target()[1]), engine.traffic):
        traffic.shift(engine.model, split)
    assert engine.traffic.live(engine.model) == split
    assert {one.version for one in engine.ask_all(["N1"] * 8)} == {CHAMPION}


def test_an_older_writer_is_refused(engine: EngineHarness) -> None:
    """A split of an older generation, and another one of the same, are RouteSuperseded and change nothing."""
    newest = engine.shift(0.0, None, generation=7)
    for stale in (
        engine.split(0.0, None, champion=CANDIDATE, generation=6),
        engine.split(0.0, None, champion=CANDIDATE, generation=7),
        engine.split(100.0, generation=3),
    ):
        with pytest.raises(RouteSuperseded, match="7"):
            engine.traffic.shift(engine.model, stale)
    assert engine.traffic.live(engine.model) == newest
    assert {one.version for one in engine.ask_all(["N1"] * 8)} == {CHAMPION}


def test_what_the_engine_cannot_do_it_refuses(engine: EngineHarness) -> None:
    """A weight that it cannot give, and a mirror that it does not have, are Rejected in one line; nothing changes."""
    before = engine.shift(0.0, None)
    impossible: list[Split] = []
    if not engine.abilities.ramps:
        impossible.append(engine.split(50.0, generation=2))
    if engine.abilities.largest_weight:
        impossible.append(engine.split(100.0 / 3.0, generation=2))
    if not engine.abilities.mirrors:
        impossible.append(replace(engine.split(0.0, generation=2), mirror=20.0))
    for split in impossible:
        assert engine.abilities.weight_problem(split.weight) or split.mirror
        with pytest.raises(Rejected) as refused:
            engine.traffic.shift(engine.model, split)
        assert "\n" not in str(refused.value)
    assert engine.traffic.live(engine.model) == before
    assert bool(impossible) is (engine.name is not EngineName.GATEWAY)


def test_units_stay_where_the_engine_says_so(engine: EngineHarness) -> None:
    """While the weight grows, a unit of the candidate stays with it, of an engine that promises that."""
    units = [f"N{number}" for number in range(60)]
    engine.shift(0.0, None)
    groups = []
    for place, weight in enumerate((10.0, 25.0, 50.0) if engine.abilities.sticky else ()):
        engine.shift(weight, generation=2 + place)
        answers = engine.ask_all(units)
        groups.append({unit for unit, one in zip(units, answers, strict=True) if one.version == CANDIDATE})
    assert all(before <= after for before, after in itertools.pairwise(groups))
    assert engine.abilities.sticky is bool(groups)


def test_a_failing_candidate_reaches_callers_only_where_the_engine_says_so(engine: EngineHarness) -> None:
    """An engine that answers for a failing candidate fails no caller; of any other, each of its callers fails."""
    if not engine.abilities.ramps:
        assert not engine.abilities.answers_for_failing_candidate  # the application itself would have to
        return
    engine.shift(50.0, FAILING)
    seen = Counter(one.version for one in engine.ask_all([f"N{number}" for number in range(60)]))
    if engine.abilities.answers_for_failing_candidate:
        assert seen == {CHAMPION: 60}
    else:
        assert set(seen) == {CHAMPION, ""}
        assert seen[""] >= 20


def test_a_rollback_under_load(engine: EngineHarness, capsys: pytest.CaptureFixture[str]) -> None:
    """Callers that ask after a rollback has returned get the champion; nothing fails, and what was under way is few."""
    engine.shift(0.0, None)
    engine.shift(50.0 if engine.abilities.ramps else 100.0, generation=2)
    earlier = len(engine.failures) if isinstance(engine, RayHarness) else 0
    answers: list[Answer] = []
    over = threading.Event()

    def call() -> None:
        for unit in itertools.cycle(range(1000)):
            answers.extend(engine.ask_all([f"N{unit}"], callers=1))
            if over.is_set():
                return

    threads = [threading.Thread(target=call) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    wait_for(lambda: sum(one.version == CANDIDATE for one in list(answers)) >= 2 * CALLERS)
    engine.shift(0.0, None, generation=3)
    back = time.monotonic()
    wait_for(lambda: sum(one.asked > back for one in list(answers)) >= 5 * CALLERS)
    over.set()
    for thread in threads:
        thread.join()
    late = [one for one in answers if one.version == CANDIDATE and one.asked > back]
    under_way = [one for one in answers if one.version == CANDIDATE and one.asked <= back < one.answered]
    failed = [one for one in answers if not one.version]
    counts = f"{len(late)} late, {len(under_way)} under way, {len(failed)} failed"
    with capsys.disabled():
        sys.stdout.write(f"\n{engine.name}: {len(answers)} requests, {counts}\n")
        if isinstance(engine, RayHarness):
            sys.stdout.write("".join(f"{one}\n" for one in engine.failures[earlier:]))
    assert len(under_way) <= CALLERS
    if engine.abilities.answers_for_failing_candidate:
        assert (late, failed) == ([], [])
    assert len(late) + len(failed) <= CALLERS


def test_an_engine_that_is_down_has_changed_nothing(engine: EngineHarness) -> None:
    """Where nothing listens each call is Unavailable, exit 4 and retryable; the split in force is as before."""
    before = engine.shift(0.0, None)
    down = engine.down()
    for ask in (
        lambda: down.live(engine.model),
        lambda: down.settled(engine.model, before),
        lambda: down.shift(engine.model, engine.split(0.0, None, champion=CANDIDATE, generation=2)),
    ):
        with pytest.raises(Unavailable) as refused:
            ask()
        assert refused.value.retryable
        assert refused.value.exit_code == 4
    assert engine.traffic.live(engine.model) == before


def test_an_engine_that_hangs_leaves_the_outcome_unknown(
    engine: EngineHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that is sent and never acknowledged is OutcomeUnknown; the same change later is safe."""
    engine.shift(0.0, None)
    wanted = engine.split(0.0, None, champion=CANDIDATE, generation=2)
    with engine.hanging() as hanging, monkeypatch.context() as patch:
        make_impatient(patch)
        with pytest.raises(OutcomeUnknown):
            hanging.shift(engine.model, wanted)
    engine.traffic.shift(engine.model, wanted)
    assert engine.traffic.live(engine.model) == wanted


def test_a_person_who_moves_traffic_by_hand_is_seen(engine: EngineHarness, tmp_path: Path) -> None:
    """What is served instead is told, and routes otherwise than the split that was put in force; a new split wins."""
    split = engine.shift(0.0, None)
    if isinstance(engine, AliasHarness):
        engine.client.set_registered_model_alias(engine.model, "champion", CANDIDATE)
    elif isinstance(engine, HaproxyHarness):
        from surefoot.adapters.traffic.haproxy_runtime import HaproxyRuntime  # noqa: PLC0415 - of one engine

        second = HaproxyRuntime(engine.processes[1].address)
        second.command("set server models/v2 weight 100", "set server models/v1 weight 0")
    elif isinstance(engine, KubernetesHarness | RayHarness):
        engine.move_by_hand()
    else:
        assert engine.abilities.verifies_bytes  # only its own control interface moves traffic
        return
    live = engine.traffic.live(engine.model)
    assert live is not None
    assert live.champion.number == CANDIDATE
    assert not live.routes_same_as(split)
    assert not engine.traffic.settled(engine.model, split)
    again = engine.shift(0.0, None, generation=2)
    assert engine.traffic.live(engine.model) == again
    assert {one.version for one in engine.ask_all(["N1"] * 8)} == {CHAMPION}


@pytest.fixture
def proxies(tmp_path: Path) -> Iterator[HaproxyHarness]:
    """Two HAProxy processes."""
    with haproxies(tmp_path, count=2) as made:
        yield HaproxyHarness(made, tmp_path)


def test_every_haproxy_process_has_the_weights(proxies: HaproxyHarness) -> None:
    """A split is in force in each process when it is acknowledged; with one that is down nothing changes in any."""
    proxies.shift(0.0, None)
    proxies.shift(12.5, generation=2)
    assert proxies.weights() == [{"v1": 7, "v2": 1, "v3": 0}] * 2
    proxies.processes[1].stop()
    with pytest.raises(GatewayUnavailable):
        proxies.shift(0.0, None, generation=3)
    alone = proxies.at([proxies.processes[0].address])
    assert alone.live(proxies.model) == proxies.split(12.5, generation=2)


def test_haproxy_that_was_started_again_is_given_its_split_again(proxies: HaproxyHarness) -> None:
    """After a restart nothing is live, although servers have weights again; the same split puts it right."""
    split = proxies.shift(50.0, generation=2)
    proxies.processes[0].stop()
    proxies.processes[0].start()
    assert proxies.traffic.live(proxies.model) is None
    proxies.traffic.shift(proxies.model, split)
    assert proxies.traffic.live(proxies.model) == split
    assert proxies.weights() == [{"v1": 50, "v2": 50, "v3": 0}] * 2


def test_haproxy_gives_no_traffic_to_a_server_that_is_down_or_not_there(proxies: HaproxyHarness) -> None:
    """A server in maintenance is Unavailable, one that is not there Rejected, and weights stay as they were."""
    before = proxies.shift(0.0, None)
    from surefoot.adapters.traffic.haproxy_runtime import HaproxyRuntime  # noqa: PLC0415 - see above

    HaproxyRuntime(proxies.processes[1].address).command("disable server models/v2")
    with pytest.raises(GatewayUnavailable, match=r"server v2 of backend models .* is down"):
        proxies.shift(5.0, generation=2)
    missing = replace(proxies.split(5.0, generation=2), candidate=replace(proxies.known[CANDIDATE], number="9"))
    with pytest.raises(Rejected, match="has no server v9"):
        proxies.traffic.shift(proxies.model, missing)
    assert proxies.traffic.live(proxies.model) == before


def test_a_writer_that_hangs_with_the_lock_does_not_hold_up_a_rollback(proxies: HaproxyHarness) -> None:
    """Another process of this host that holds the lock is waited for, but not for long."""
    import fcntl  # noqa: PLC0415 - of this test alone

    proxies.shift(50.0, generation=2)
    with (proxies.root / "locks" / "haproxy-models.lock").open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        split = proxies.shift(0.0, None, generation=3)
    assert proxies.traffic.live(proxies.model) == split
