"""What the tests of the tools share: a run directory of their own, and kernels made by hand."""

import os
import pathlib
import shutil
import struct
import subprocess
import tempfile
import unittest

BIN = pathlib.Path(os.environ["BHYVE_BIN"])
SANITIZED = bool(os.environ.get("BHYVE_SANITIZE"))
TIMEOUT = 60


def bzimage(code, init_size=0x100000):
    """A bzImage (Linux boot protocol 2.15) whose 64-bit entry point is `code`."""
    payload = bytearray(0x200) + code
    payload += bytes(-len(payload) % 4096)
    setup = bytearray(0x400)
    setup[0x1F1] = 1
    struct.pack_into("<I", setup, 0x1F4, len(payload) // 16)
    struct.pack_into("<H", setup, 0x1FE, 0xAA55)
    setup[0x200:0x206] = b"\xeb\x66HdrS"
    struct.pack_into("<H", setup, 0x206, 0x20F)
    setup[0x211] = 1  # loaded high
    struct.pack_into("<I", setup, 0x22C, 0x7FFFFFFF)  # initrd_addr_max
    struct.pack_into("<I", setup, 0x230, 0x200000)  # alignment
    setup[0x234] = 1  # relocatable
    struct.pack_into("<H", setup, 0x236, 3)  # 64-bit entry, above 4 GB
    struct.pack_into("<I", setup, 0x238, 2047)  # command line
    struct.pack_into("<Q", setup, 0x258, 0x1000000)
    struct.pack_into("<I", setup, 0x260, init_size)
    return bytes(setup + payload)


def out8(port, value):
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb0" + bytes([value]) + b"\xee"


def out16(port, value):
    return b"\x66\xba" + struct.pack("<H", port) + b"\x66\xb8" + struct.pack("<H", value) + b"\x66\xef"


def say(text):
    return b"".join(out8(0x3F8, c) for c in text.encode())


SPIN = b"\xeb\xfe"
INT3 = b"\xcc"
HALT = b"\xfa\xf4\xeb\xfd"  # CLI; HLT
RESET = out8(0xCF9, 0x06) + SPIN
POWER_OFF = out16(0x404, 5 << 10 | 1 << 13) + SPIN
TRIPLE_FAULT = b"\x0f\x0b"  # UD2 with an empty IDT
# Goes to user mode under control registers as Linux has them, and counts there for ever.
USER_SPIN = bytes.fromhex(
    "bc00f02f00"  # MOV ESP, 2FF000h
    "bf00002000 31c0 b900060000 f348ab"  # page tables at 200000h: zeros
    "c7042500002000 27102000 c7042500102000 27202000"  # PML4, PDPT: P W U A
    "bf00202000 b8e7000000"  # page directory: 64 MiB
    "488907 0500002000 83c708 3d00000004 72ee"
    "b800002000 0f22d8"  # CR3
    "0f20e0 0d20060500 0f22e0"  # CR4: PAE OSFXSR OSXMMEXCPT FSGSBASE OSXSAVE
    "b80d000000 31c9 0fa2 31c9 0f01d1"  # XCR0: all of CPUID 0Dh
    "b9800000c0 0f32 0d01080000 0f30"  # EFER: SCE NXE
    "0f20c0 0d02000100 83e0f3 0f22c0"  # CR0: MP WP, no EM, TS
    "48b8 48ffc0ebfb000000 4889042500004000 b900004000"  # 400000h: 1: INC RAX; JMP 1b
    "31c0 8ed8 8ec0 8ee0 8ee8"  # null selectors
    "488d0516000000 50 666a37 0f011424"  # LGDT of the table below
    "6a2b 6a00 6802020000 6a33 51 48cf"  # IRETQ to RCX
    + "00" * 16 + "ffff0000009baf00 ffff00000093cf00" + "00" * 8 + "ffff000000f3cf00 ffff000000fbaf00")
CONSOLE = ["-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio"]


class CliCase(unittest.TestCase):
    def setUp(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="bhyve-cli-"))
        self.run_dir = self.dir / "run"
        self.env = dict(os.environ, BHYVE_RUNDIR=str(self.run_dir))
        self.addCleanup(shutil.rmtree, self.dir)

    def file(self, name, data):
        path = self.dir / name
        path.write_bytes(data)
        return str(path)

    def kernel(self, code, name="kernel", **header):
        return self.file(name, bzimage(code, **header))

    def command(self, tool, *args):
        return [str(BIN / tool), *map(str, args)]

    def call(self, tool, *args):
        return subprocess.run(self.command(tool, *args), env=self.env, cwd=self.dir, text=True,
                              stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)

    def start(self, tool, *args):
        process = subprocess.Popen(self.command(tool, *args), env=self.env, cwd=self.dir,
                                   text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def vms(self):
        return sorted(p.name for p in self.run_dir.iterdir()) if self.run_dir.exists() else []
