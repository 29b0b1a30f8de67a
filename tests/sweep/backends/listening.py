"""Where this process and its descendants listen, as Linux tells."""

from __future__ import annotations

import os
from pathlib import Path


def addresses() -> set[str]:
    """Addresses of all listening TCP sockets."""
    found: set[str] = set()
    for pid in _family():
        sockets = {os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()}
        for table in ("tcp", "tcp6"):
            for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                    found.add(_address(fields[1].partition(":")[0]))
    return found


def _family() -> list[int]:
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            status = (entry / "stat").read_text()
            parents[int(entry.name)] = int(status.rpartition(")")[2].split()[1])
    family = [os.getpid()]
    for pid in family:  # grows on the way
        family += [child for child, parent in parents.items() if parent == pid]
    return family


def _address(digits: str) -> str:
    # The last word is the IPv4 address, in the byte order of a little-endian machine, also of one mapped to IPv6.
    mapped = len(digits) == 8 or digits.startswith("0000000000000000FFFF0000")
    return ".".join(str(byte) for byte in reversed(bytes.fromhex(digits[-8:]))) if mapped else digits
