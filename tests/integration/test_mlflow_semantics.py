"""The same requests to the gateway and to `mlflow models serve`: the same answers, or a difference that is meant."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest

from tests.integration import semantics_formats, semantics_http, semantics_tensors, semantics_types
from tests.integration.semantics_cases import Case, Request
from tests.integration.semantics_servers import both

CASES: list[Case] = [
    *semantics_http.CASES,
    *semantics_formats.CASES,
    *semantics_types.CASES,
    *semantics_tensors.CASES,
]
MODELS = tuple(dict.fromkeys(case.model for case in CASES))


@dataclass(frozen=True)
class Sides:
    """The gateway and MLflow, model by model."""

    urls: dict[str, tuple[str, str]]
    client: httpx.Client

    def ask(self, model: str, request: Request) -> tuple[httpx.Response, httpx.Response]:
        """Send the same request to both."""
        ours, theirs = (self.send(url, request) for url in self.urls[model])
        return ours, theirs

    def send(self, url: str, request: Request) -> httpx.Response:
        """Send a request to one of them."""
        kind = {} if request.kind is None else {"content-type": request.kind}
        return self.client.request(request.method, url + request.path, content=request.body, headers=kind)


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sides]:
    """Every model, served by both."""
    # Imported here, because it imports MLflow and scikit-learn.
    from tests.integration import semantics_models  # noqa: PLC0415 - see above

    root, models = tmp_path_factory.mktemp("sides"), tmp_path_factory.mktemp("saved")
    semantics_models.save(models)
    # A new connection each time: a server that breaks closes the one that it had.
    once = httpx.Limits(max_keepalive_connections=0)
    with both(root, models, semantics_models.NAMES) as urls, httpx.Client(limits=once, timeout=60.0) as client:
        yield Sides(urls, client)


def predicted(answer: httpx.Response) -> str:
    """The predictions as JSON, in which 1, 1.0 and true are three things; empty for anything else."""
    scored = answer.status_code == 200 and answer.request.url.path == "/invocations"
    return json.dumps(answer.json()["predictions"], sort_keys=True) if scored else ""


def nearly(answer: httpx.Response, rows: int | None = None) -> object:
    """The first predictions, to the digits that do not depend on how many rows were predicted together."""
    found = json.loads(predicted(answer) or "[]", parse_float=lambda digits: round(float(digits), 12))
    return found[:rows]


@pytest.mark.parametrize("case", CASES, ids=str)  # all of them, in order: a model learns what its answers are
def test_the_answer_is_mlflows_or_differs_as_the_case_says(case: Case, sides: Sides) -> None:
    """Status and predictions are MLflow's; where the case says that they differ, both sides do what it says."""
    ours, theirs = sides.ask(case.model, case.request)
    said = f"ours: {ours.text[:300]}\ntheirs: {theirs.text[:300]}"
    if case.differs is None:
        assert (ours.status_code, predicted(ours)) == (theirs.status_code, predicted(theirs)), said
        return
    assert (ours.status_code, theirs.status_code) == (case.differs.ours, case.differs.theirs), said
    if not predicted(ours):
        return
    assert predicted(ours) != predicted(theirs), f"there is no difference: {said}"
    if case.differs.like is None:
        assert json.loads(predicted(ours)) == case.differs.predictions
        return
    mine = json.loads(predicted(ours))
    _, example = sides.ask(case.model, case.differs.like)
    assert nearly(ours, len(mine)) == nearly(example, len(mine)), said


@pytest.mark.parametrize("model", MODELS)
def test_company_changes_no_answer(model: str, sides: Sides) -> None:
    """Requests that come all at once, and so are predicted together, are answered as each is alone."""
    ours, _ = sides.urls[model]
    # Left out is what makes the model answer all rows as the first one asks for, which is company of another kind.
    posts = [case.request for case in CASES if case.model == model and case.request.method == "POST"]
    posts = [request for request in posts if b'"answer ' not in request.body]
    asked = [*posts[::3], *posts[1::3], *posts[2::3]] * 2  # neighbours here are none in the tables
    alone = {request: sides.send(ours, request) for request in asked}
    with ThreadPoolExecutor(24) as pool:
        together = list(pool.map(lambda request: sides.send(ours, request), asked))
    for request, answer in zip(asked, together, strict=True):
        said = (request.body[:300], alone[request].text[:300], answer.text[:300])
        assert (answer.status_code, nearly(answer)) == (alone[request].status_code, nearly(alone[request])), said


def test_cases_are_told_apart() -> None:
    """Every name is that of one case."""
    names = [str(case) for case in CASES]
    assert len(set(names)) == len(names)


def test_every_difference_that_is_meant_says_why() -> None:
    """A difference differs in status or says what is predicted, and gives a reason."""
    for case in CASES:
        if case.differs is not None:
            assert case.differs.why, str(case)
            shown = case.differs.like is not None or case.differs.predictions is not None
            assert case.differs.ours != case.differs.theirs or shown, str(case)
