"""Read and write the files of access control: roles, access tokens, refusals, and ids of received webhooks."""
