"""Compute quantiles of the Student t, normal and beta distributions, and normal probabilities.

They are bit for bit those of `scipy.stats`, whose import takes as long as half of a command, for probabilities from
1e-30: far below any level that a policy's budget is split into. Below, a beta quantile may be NaN, which is an ERROR.
"""


def student_upper_quantile(level: float, degrees: float) -> float:
    """Value that a Student variable exceeds with this probability; NaN without a degree of freedom."""
    from scipy import special  # noqa: PLC0415 - costs a command 0.2 seconds

    return -float(special.stdtrit(degrees, level)) if degrees > 0 else float("nan")


def normal_quantile(probability: float) -> float:
    """Value that a standard normal variable stays below with this probability."""
    from scipy import special  # noqa: PLC0415 - costs a command 0.2 seconds

    return float(special.ndtri(probability))


def normal_probability(value: float) -> float:
    """Probability that a standard normal variable stays below a value."""
    from scipy import special  # noqa: PLC0415 - costs a command 0.2 seconds

    return float(special.ndtr(value))


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Value that a beta variable with these shapes stays below with this probability."""
    from scipy import special  # noqa: PLC0415 - costs a command 0.2 seconds

    return float(special.betaincinv(a, b, probability))
