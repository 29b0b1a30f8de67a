"""One self-contained page: no script, no request, readable with styles off."""
