"""Programs with bugs as users report them, each beside the same program without: what the first finding says of them.

    python -m programs STORE [--jobs 2] [--publish]        (from benchmarks/, or by make programs)

`pair.py` says what a program is; the modules named after a set and a domain hold the programs, `collection.py` lists
them; `asked.py` checks them, and `page.py` writes docs/programs.md. To add one, write a function in its domain's module
and enter it in that module's PAIRS.
"""
