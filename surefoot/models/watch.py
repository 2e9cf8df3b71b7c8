"""A model whose rows are watched: what was answered in a batch is now and then asked again alone."""

import random
import time
from typing import Any, cast

from surefoot.models.answers import checked, describe
from surefoot.models.contract import Model, Names
from surefoot.models.rows import DEPENDENT, UNSTABLE, Batching, Proof, prove, same

ONE_IN = 200
"""One row in so many that were answered in a batch is asked again alone [count]."""
TIME_SHARE = 0.01
"""Most of the model's time that this may take [0 to 1]."""
ENOUGH = 16
"""Different rows of callers from which a model is proved that its probes did not prove [count]."""
MANY = 256
"""The same where all have the same answer, as rows of a rare class do [count]."""
_LARGEST = 4096
"""Most characters of a row that is kept to be a probe [count]."""
_PLAIN = ((), (None, False))
"""What is passed beside the rows where a caller asks for nothing besides."""


class Quit(Exception):
    """The model tried to end the process; the text is what it raised."""

    told = True


def asked(model: Model, names: Names, values: list[list[object]], *manner: Any) -> list[object]:
    """One answer a row.

    Raises:
        ValueError: The model gave no answer to some row.
        Quit: It tried to end the process.
        Exception: What it raised.
    """
    try:
        return checked(model.answer(names, values, *manner), len(values))
    except Exception:
        raise
    except BaseException as error:  # a model that wants to end the process only ends its answer
        raise Quit(describe(error)) from error


class Watch:
    """One loaded model in the process in which it is asked.

    Attributes:
        model: The model.
        proof: What is known of its rows by now.
        checked: Rows that were asked again alone [count].
        differed: Those of them that then had another answer [count].
    """

    def __init__(self, model: Model, proof: Proof | None = None, *, proving: bool = True) -> None:
        """Watch a model.

        Args:
            model: The model.
            proof: What its probes have shown; without it the model is believed.
            proving: Whether rows of callers may be used to prove it, where its probes did not.
        """
        self.model = model
        self.proof = proof or claimed(model)
        self.checked = self.differed = 0
        unknown = self.proof.batching is Batching.UNPROVEN or (proof is not None and not proof.answered)
        self._proving = proving and unknown
        self._names: Names = None
        self._kept: dict[str, tuple[list[object], object]] = {}
        self._varied = False
        self._draw = random.Random()  # noqa: S311 - which rows are asked again is no secret
        self._next_row = self._draw.randrange(ONE_IN)
        self._not_before = 0.0

    @property
    def proves_next(self) -> bool:
        """Whether the next look asks several rows together that were never asked so before."""
        return self._proving and len(self._kept) >= (ENOUGH if self._varied else MANY)

    def answer(self, names: Names, values: list[list[object]], *manner: Any) -> list[object]:
        """Ask the model for one answer a row.

        Raises:
            ValueError: It gave no answer to some row.
            Quit: It tried to end the process.
            Exception: What the model raised.
        """
        answers = asked(self.model, names, values, *manner)
        if self._proving and manner in _PLAIN:
            self._keep(names, values, answers)
        return answers

    def look(self, names: Names, values: list[list[object]], manner: tuple[Any, ...], answers: list[object]) -> bool:
        """Look after a batch that has been answered; whether something is known now that was not before.

        Callers have their answers already, so that nobody waits for it but the next batch.
        """
        if self._proving:
            return self._prove_now()
        if not self.proof.row_wise or len(values) == 1:
            return False
        self._next_row -= len(values)
        if self._next_row >= 0 or time.monotonic() < self._not_before:
            return False
        self._next_row = self._draw.randrange(2 * ONE_IN)
        place = self._draw.randrange(len(values))
        began = time.monotonic()
        known = self._again(names, values[place], manner, answers[place])
        now = time.monotonic()
        self._not_before = now + (now - began) / TIME_SHARE
        return known

    def _again(self, names: Names, row: list[object], manner: tuple[Any, ...], answer: object) -> bool:
        self.checked += 1
        sizes = self.proof.sizes
        try:
            (alone,) = asked(self.model, names, [row], *manner)
            if same(answer, alone, sizes):
                return True
            (twice,) = asked(self.model, names, [row], *manner)
            stable = same(alone, twice, sizes)
        except Exception:  # noqa: BLE001 - the model's own code may raise anything; alone it has no such answer
            stable = True
        self.differed += 1
        found, why = (Batching.BATCH_DEPENDENT, DEPENDENT) if stable else (Batching.NOT_REPEATABLE, UNSTABLE)
        self.proof = Proof(found, f"{why} (seen on a caller's row)", sizes)
        return True

    def _keep(self, names: Names, values: list[list[object]], answers: list[object]) -> None:
        """Keep rows that callers have sent alone, with their answers, until there are enough of them."""
        if len(values) > 1 or (self._kept and names != self._names) or len(self._kept) >= MANY:
            return
        self._names = names
        text = repr(values[0])
        if len(text) <= _LARGEST:
            self._kept.setdefault(text, (values[0], answers[0]))
            self._varied = self._varied or answers[0] != next(iter(self._kept.values()))[1]

    def _prove_now(self) -> bool:
        if not self.proves_next:
            return False
        latest = list(self._kept.values())[-ENOUGH:]  # the last of them has the other answer, if there is one
        names, (rows, known) = self._names, map(list, zip(*latest, strict=True))
        self._proving = False
        self._kept.clear()
        together = bool(getattr(self.model, "joins", True))
        proof = prove(lambda some: asked(self.model, names, some), rows, known, together=together)
        if together or proof.batching is Batching.NOT_REPEATABLE:
            self.proof = proof
        return True


def claimed(model: Model) -> Proof:
    """What a model says of itself that nobody has probed."""
    joins = model.joins
    return Proof(Batching.ROW_WISE) if joins else Proof(Batching.BATCH_DEPENDENT, "it wants each request alone")


def proved(model: Model) -> Proof:
    """What a model's own probes show; what it says of itself where it has none."""
    own = getattr(model, "prove", None)
    return claimed(model) if own is None else cast("Proof", own())
