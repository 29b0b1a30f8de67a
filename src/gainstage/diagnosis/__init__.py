"""What puts rules to work: check, fix, verify."""
