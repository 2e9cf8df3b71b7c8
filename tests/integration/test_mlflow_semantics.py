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
TO_MEND: list[str] = [
    # Keys beside the format: MLflow hands on the params that a model declares, and ignores all else.
    "numbers: params",
    "numbers: params empty",
    "numbers: params null",
    "numbers: params list",
    "numbers: params with records",
    "numbers: params with inputs",
    "numbers: unknown key",
    "numbers: signature name",
    "shown: params",
    "hinted: params",
    "echo: params",
    "echo: params with inputs",
    "echo: params of int",
    "echo: params of null",
    "echo: params unknown",
    "echo: params is null",
    "matrix: inputs with params",
    # What Python writes for a missing number, which MLflow's own client sends; and a byte order mark.
    "numbers: number NaN in a column that is not asked for",
    "mixed: optional NaN",
    "mixed: optional text NaN",
    "mixed: required NaN",
    "typed: optional NaN",
    "typed: optional text NaN",
    "typed: required NaN",
    "numbers: byte order mark",
    # dataframe_split: an index that does not fit, and columns that have no names.
    "numbers: split with short index",
    "numbers: split with index that is none",
    "bare: split with short index",
    "bare: split with index that is none",
    "shown: split with short index",
    "shown: split with index that is none",
    "bare: split without columns",
    "bare: split with columns null",
    "bare: split with numbers for names",
    # An object under instances, and a scalar beside columns under inputs.
    "numbers: instances is columns",
    "numbers: instances is an object",
    "bare: instances is columns",
    "shown: instances is columns",
    "numbers: inputs of columns and a scalar",
    # CSV: what pandas takes for missing, for truth values, and (without a signature) for numbers.
    "numbers: csv with truth value in small letters",
    "bare: csv with truth value in small letters",
    "shown: csv with truth value in small letters",
    "shown: csv with blanks in the header",
    "shown: csv with blanks in cells",
    "shown: csv with plus",
    "shown: csv with many digits",
    "shown: csv with zeros before",
    "shown: csv with exponent",
    "shown: csv with a digit that says nothing",
    "shown: csv with a bare point",
    "typed: csv text #N/A",
    "typed: csv text n/a",
    "typed: csv text -nan",
    "typed: csv text 1.#IND",
    "typed: csv integer is a float",
    "typed: csv boolean in small letters",
    "typed: csv boolean in capitals",
    # Bare rows for a model with one named column, with unnamed columns, or with a type hint.
    "text: inputs",
    "text: inputs of one",
    "text: inputs of unicode",
    "text: inputs of empty text",
    "text: inputs of numbers",
    "text: instances",
    "unnamed: inputs of ints",
    "unnamed: inputs of texts",
    "hinted: inputs",
    "hinted: inputs of one",
    # A list that is taken for a text.
    "mixed: text is a list",
    "typed: text is a list",
    "typed: text is an object",
    # Models with a date, which go another way than those without: numbers wrap round, dates depend on their neighbours.
    "echo: date: Z",
    "echo: date: offset",
    "echo: date: instances with Z",
    "echo: date: instances with offset",
    "echo: date: instances of two formats",
    "echo: date: two formats",
    "echo: date: month first after day first",
    "echo: date: integer too large",
    "echo: date: integer too large, instances",
    "echo: date: long huge",
    "echo: date: boolean null",
    # Answers that MLflow gives in another shape, or at all.
    "echo: answer: series for 1",
    "echo: answer: series for 2",
    "echo: answer: nameless series for 1",
    "echo: answer: nameless series for 2",
    "echo: answer: bytes for 1",
    "echo: answer: bytes for 2",
    # Tables for a model that takes one array, and flat lists for one that takes shaped ones.
    "matrix: inputs of columns",
    "matrix: inputs of objects",
    "matrix: instances of objects",
    "matrix: split",
    "matrix: split reordered",
    "matrix: split without columns",
    "matrix: split of ints",
    "matrix: split of ints and floats",
    "matrix: split of texts",
    "matrix: split of lists",
    "matrix: records",
    "matrix: records of two",
    "matrix: records of lists in a column",
    "matrix: csv",
    "named: records, flat",
    "named: records of two, flat",
    "named: records of ints, flat",
    "named: split, flat",
    # An optional column of bytes that is absent or null fails every request; and inputs of one row with a list.
    "nested: records",
    "nested: records of two",
    "nested: split",
    "nested: inputs",
    "nested: inputs of one row",
    "nested: inputs of objects",
    "nested: inputs of two objects",
    "nested: instances",
    "nested: list empty",
    "nested: list with null",
    "nested: object without an optional key",
    "nested: bytes in one",
    "nested: bytes null",
    # Whoever is in the same batch decides what bare rows, dates and ones for truth values become.
    "typed: boolean is one beside null",
    "typed: in company",
    "shown: in company",
    "unnamed: in company",
    "echo: in company",
]
"""Cases of which the gateway does not do yet what they say; nothing is asserted of these. To be empty in the end."""


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


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_answer_is_mlflows_or_differs_as_the_case_says(case: Case, sides: Sides) -> None:
    """Status and predictions are MLflow's; where the case says that they differ, both sides do what it says."""
    if str(case) in TO_MEND:
        return
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
    if f"{model}: in company" in TO_MEND:
        return
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


def test_cases_are_told_apart_and_what_is_to_mend_is_one_of_them() -> None:
    """Every name is that of one case, so that a list of names is a list of cases."""
    names = [str(case) for case in CASES]
    assert len(set(names)) == len(names)
    assert set(TO_MEND) <= {*names, *(f"{model}: in company" for model in MODELS)}


def test_every_difference_that_is_meant_says_why() -> None:
    """A difference differs in status or says what is predicted, and gives a reason."""
    for case in CASES:
        if case.differs is not None:
            assert case.differs.why, str(case)
            shown = case.differs.like is not None or case.differs.predictions is not None
            assert case.differs.ours != case.differs.theirs or shown, str(case)
