"""Run the PostgreSQL that `surefoot up --postgres` keeps in the home folder."""
