"""Draft a policy and an expectation suite from a sample of requests, for a person to read and correct."""
