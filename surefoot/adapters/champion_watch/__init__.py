"""Count the days of a serving champion from the prediction log."""
