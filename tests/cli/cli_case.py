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
