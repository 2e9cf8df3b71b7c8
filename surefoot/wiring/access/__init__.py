"""Check who may do what: by account, link, token, or signed request."""
