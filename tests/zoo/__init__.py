"""Networks of every kind that people train, built offline from configurations with random weights.

A file a package; each names its networks in one table, so that a new one is one line. `cases` has them all.
"""
