"""Record what people decide about rollouts: approvals, pauses, freezes."""
