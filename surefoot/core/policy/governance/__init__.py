"""Define the policy sections of data protection and supply chain: retention, artifacts and provenance."""
