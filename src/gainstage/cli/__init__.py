"""The command line: thin, and quick to answer because torch is imported only by what measures."""

from gainstage.cli.app import main

__all__ = ["main"]
