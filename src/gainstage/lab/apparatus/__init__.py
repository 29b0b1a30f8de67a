"""What experiments share: data, networks, training runs. Needs torch.

A claim's fingerprint covers each of these files that its measurement imports.
"""
