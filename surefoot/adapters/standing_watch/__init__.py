"""Count the days of a champion from the prediction log."""
