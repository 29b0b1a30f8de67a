"""Claims about depth, residual branches and rank."""

CLAIMS = ()
