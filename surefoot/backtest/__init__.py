"""Recorded traffic through the whole policy: the same rollout, the same judge, another clock."""

from surefoot.backtest.run import BacktestResult, GateLook, backtest

__all__ = ["BacktestResult", "GateLook", "backtest"]
