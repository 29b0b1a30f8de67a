"""The rules: a `Trace` in, findings out. `RULES` is the only registry."""
