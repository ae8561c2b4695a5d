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

# Of a guest with one vCPU that runs much code, beside guest memory: 40 MiB, the code cache, 8 MiB a vCPU.
CODE_CACHE = 64 << 20
BUSY_LIMIT = (40 << 20) + CODE_CACHE + (8 << 20)

# mov $FIRST, %edi; mov $PAGES, %ecx; 1: movb $1, (%rdi); add $4096, %edi; dec %ecx; jnz 1b
TOUCH = (b"\xbf" + struct.pack("<I", FIRST) + b"\xb9" + struct.pack("<I", TOUCHED // 4096)
         + b"\xc6\x07\x01\x81\xc7\x00\x10\x00\x00\xff\xc9\x75\xf3")

# A block of ordinary code, with accesses and a branch: mov rax, [rsp]; add rax, rbx; mov [rsp + 8], rax;
# mov rcx, [rdi + 16]; inc rbx; xor rax, rcx; mov [rdi + 24], rax; jz next; jmp next
BLOCK = (b"\x48\x8b\x04\x24\x48\x01\xd8\x48\x89\x44\x24\x08\x48\x8b\x4f\x10"
         b"\x48\xff\xc3\x48\x31\xc8\x48\x89\x47\x18\x74\x02\xeb\x00")
HOT_PLACES, HOT_BLOCKS, HOT_ROUNDS = 20, 10_000, 16
COLD_BLOCKS, COLD_ROUNDS = 100_000, 3


def rounds(count, blocks):
    """All of the blocks, again and again."""
    body = BLOCK * blocks
    # mov $COUNT, %ebp; 1: BLOCKS; dec %ebp; jnz 1b
    return (b"\xbd" + struct.pack("<I", count) + body + b"\xff\xcd\x0f\x85"
            + struct.pack("<i", -(len(body) + 8)))


# mov $FIRST, %esp; mov $FIRST + 4096, %edi
MUCH_CODE = (b"\xbc" + struct.pack("<I", FIRST) + b"\xbf" + struct.pack("<I", FIRST + 4096)
             + rounds(HOT_ROUNDS, HOT_BLOCKS) * HOT_PLACES + rounds(COLD_ROUNDS, COLD_BLOCKS))


def resident(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    return int(re.search(r"^VmRSS:\s*(\d+) kB", status, re.M)[1]) << 10


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

    def test_much_code_costs_what_is_promised(self):
        kernel = self.kernel(MUCH_CODE + say("ready") + SPIN, init_size=16 << 20)
        bhyve = self.start("bhyve", "-m", "512M", *CONSOLE, "--kernel", kernel, "vm")
        self.assertEqual(bhyve.stdout.read(5), "ready")
        text = self.call("bhyvectl", "--vm=vm", "--get-stats").stdout
        stats = dict(re.findall(r"^(.+?)\s+(\d+)$", text, re.M))
        cost = resident(bhyve.pid) - int(stats["Resident memory"])
        print(f"{cost / 2**20:.1f} MiB beside guest memory, "
              f"{int(stats['soft: blocks translated'])} blocks translated, "
              f"{int(stats['soft: translations evicted'])} evicted")
        self.assertGreater(int(stats["soft: translations evicted"]), 0)  # the cache was full
        self.assertGreater(int(stats["soft: blocks decoded"]), HOT_PLACES * HOT_BLOCKS + COLD_BLOCKS)
        self.assertLess(cost, BUSY_LIMIT)


if __name__ == "__main__":
    unittest.main()
