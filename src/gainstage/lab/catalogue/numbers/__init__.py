"""Claims about batch size, inference and the range of numbers."""

CLAIMS = ()
