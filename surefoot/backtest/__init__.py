"""Recorded traffic through the whole policy: the same rollout, the same judge, another clock."""

from surefoot.backtest.run import Look, Replayed, backtest

__all__ = ["Look", "Replayed", "backtest"]
