#!/usr/bin/python3
"""The soft engine must not call libc's memory functions: they use vector registers, and the guest's may be
live (src/engine/soft/runtime/plain_memory.hpp). A CTest entry."""

import re
import subprocess
import sys

FORBIDDEN = {"memcpy", "memmove", "memset", "memcmp", "bcmp", "mempcpy", "bzero"}


def main(library):
    listing = subprocess.run(["nm", "--undefined-only", "--print-file-name", library], check=True,
                             capture_output=True, text=True).stdout
    calls = re.findall(r"^\S+?:(\S+?):\s+U (\S+)$", listing, re.MULTILINE)
    if not any(name == "bhyve_plain_memset" for _, name in calls):
        return f"{library}: no call of bhyve_plain_memset: is plain_memory.hpp included before all else?"
    bad = sorted(f"{file}: {name}" for file, name in calls if name.split("@")[0] in FORBIDDEN)
    return "\n".join(bad)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]) or 0)
