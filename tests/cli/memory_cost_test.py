#!/usr/bin/python3
"""What a guest costs its host: the memory that it has touched, and little more."""

import collections
import pathlib
import re
import struct
import unittest

from cli_case import CONSOLE, SANITIZED, SPIN, CliCase, say

TOUCHED = 100 << 20
FIRST = 128 << 20
FIXED_LIMIT = 30 << 20  # beside guest memory and translated code
SLACK = 2 << 20  # what the loader and the firmware tables touch

# mov $FIRST, %edi; mov $PAGES, %ecx; 1: movb $1, (%rdi); add $4096, %edi; dec %ecx; jnz 1b
TOUCH = (b"\xbf" + struct.pack("<I", FIRST) + b"\xb9" + struct.pack("<I", TOUCHED // 4096)
         + b"\xc6\x07\x01\x81\xc7\x00\x10\x00\x00\xff\xc9\x75\xf3")


def memory_by_name(pid):
    """Bytes of host memory of each mapping's name; pages that others share count in part."""
    sums, name = collections.Counter(), ""
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8").splitlines():
        mapping = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \S+ *(.*)", line)
        if mapping:
            name = mapping[1]
        elif line.startswith("Pss:"):
            sums[name] += int(line.split()[1]) << 10
    return sums


@unittest.skipIf(SANITIZED, "sanitizers have memory of their own")
class MemoryCost(CliCase):
    def test_a_large_guest_costs_what_it_touched(self):
        kernel = self.kernel(TOUCH + say("ready") + SPIN)
        bhyve = self.start("bhyve", "-c", "2", "-m", "4G", *CONSOLE, "--kernel", kernel, "vm")
        self.assertEqual(bhyve.stdout.read(5), "ready")
        sums = memory_by_name(bhyve.pid)
        ram = sum(size for name, size in sums.items() if "guest-ram" in name)
        code = sum(size for name, size in sums.items() if "bhyve-code" in name)
        fixed = sum(sums.values()) - ram - code
        print(f"guest memory {ram / 2**20:.1f} MiB, translated code {code / 2**20:.1f} MiB,"
              f" all else {fixed / 2**20:.1f} MiB")
        self.assertGreaterEqual(ram, TOUCHED)
        self.assertLess(ram, TOUCHED + SLACK)
        self.assertLess(fixed, FIXED_LIMIT)


if __name__ == "__main__":
    unittest.main()
