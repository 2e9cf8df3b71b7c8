"""Connect an installation to servers that exist already: resolve its settings, and check what they name."""
