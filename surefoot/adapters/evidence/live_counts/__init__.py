"""Count served and mirrored requests in the prediction log, for gates on live traffic."""
