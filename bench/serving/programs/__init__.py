"""Programs of other servers; each runs in the virtual environment of its server, so none imports anything of ours."""
