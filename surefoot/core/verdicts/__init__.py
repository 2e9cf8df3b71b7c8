"""How a verdict is built and worded, whatever the gate."""
