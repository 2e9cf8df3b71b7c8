"""What the commands print of a policy before any request has come."""

import math
from collections.abc import Sequence

from rich.markup import escape
from rich.table import Table

from surefoot.adapters.hosted import Trial
from surefoot.cli.show import console, tabulate
from surefoot.core.gates.say import duration
from surefoot.core.planning import Sight
from surefoot.core.policy import Policy


def trial(number: str, found: Trial) -> None:
    """Print how a version will be asked, and what it may lack."""
    proof = found.proof
    if proof is not None and proof.row_wise:
        console.print(f"  Version {number} answers each row by itself: requests are predicted together.")
    elif proof is not None:
        console.print(f"  Version {number} is asked one request at a time: {escape(proof.why)}")
    for name in found.missing:
        console.print(f"  [yellow]warning[/yellow] its requirements name {escape(name)}, which is not installed here")


def sights(policy: Policy, found: Sequence[Sight], a_year: float) -> None:
    """Print what each step can see, and what is wrong with it."""
    planned = f"{policy.requests_per_minute:g} requests a minute"
    console.print(f"  What each step sees at {planned}, with a chance of 80 %:")
    table = Table("step", "gate", "counts", "finds", "equal passes", "needs", box=None, padding=(0, 1))
    for sight in found:
        passes = "" if sight.passes is None else f"{sight.passes:.0%}"
        needs = "" if sight.needs is None else duration(sight.needs / 60.0)
        table.add_row(sight.step, sight.gate, f"{sight.n:,.0f} {sight.counts}", escape(sight.finds), passes, needs)
    tabulate(table)
    for gate, assumes in dict.fromkeys((sight.gate, sight.assumes) for sight in found if sight.assumes):
        console.print(f"  [dim]{escape(gate)}: {escape(assumes)}[/dim]")
    rate = "no end of false rollbacks" if math.isinf(a_year) else f"at most {a_year:.2g} false rollbacks a year"
    console.print(
        f"  Budget: a good version is rolled back by mistake in at most {policy.false_rollback_budget:.2%} of the"
        f" rollouts; a watch that went on as the bake does would have {rate}."
    )
    for sight in found:
        if sight.warning:
            where = f"{sight.step}, {sight.gate}"
            longer = ""
            if sight.needs is not None and sight.needs > sight.lasts:
                longer = f"; {duration(sight.needs / 60.0)} would do"
            console.print(f"  [yellow]warning[/yellow] {escape(where)}: {escape(sight.warning)}{longer}")
