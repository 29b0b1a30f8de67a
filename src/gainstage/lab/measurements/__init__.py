"""How the claims are measured: the part of the lab that needs torch, imported when a claim is run."""
