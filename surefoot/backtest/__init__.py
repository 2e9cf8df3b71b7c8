"""Replay recorded traffic through the whole policy, with the judge and the rollout of production."""

from surefoot.backtest.run_backtest import BacktestResult, GateEvaluation, backtest

__all__ = ["BacktestResult", "GateEvaluation", "backtest"]
