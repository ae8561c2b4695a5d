#!/usr/bin/python3
"""The board as guests see it: test device, debug console, firmware configuration, serial back ends."""

import pathlib
import re
import socket
import struct
import subprocess
import time
import unittest

from cli_case import SPIN, CliCase, out16, out8, say

BOARD = ["-s", "0,hostbridge", "-s", "31,lpc"]
TEST_DEVICE = [*BOARD, "-l", "pc-testdev"]


def out32(port, value):
    return b"\x66\xba" + struct.pack("<H", port) + b"\xb8" + struct.pack("<I", value) + b"\xef"


def in8(port):  # into AL
    return b"\x66\xba" + struct.pack("<H", port) + b"\xec"


EXIT_WITH_AL = b"\x66\xba\xf4\x00\xee" + SPIN  # debug exit


class Board(CliCase):
    def status(self, code, *args):
        """The exit status that the guest chooses."""
        return self.call("bhyve", *TEST_DEVICE, *args, "--kernel", self.kernel(code), "vm").returncode

    def test_debug_exit_is_the_exit_status(self):
        for value in (0, 1, 0x10, 0x7F):
            self.assertEqual(self.status(b"\xb0" + bytes([value]) + EXIT_WITH_AL), value * 2 + 1)

    def test_latch_keeps_what_was_written(self):
        self.assertEqual(self.status(out8(0xE1, 0x35) + in8(0xE9) + EXIT_WITH_AL), 0x35 * 2 + 1)

    def test_vga_window_is_memory(self):
        for address in (0xA0000, 0xB8000, 0xBFFFF):
            code = b"\xbe" + struct.pack("<I", address) + b"\xc6\x06\x2a\x8a\x06" + EXIT_WITH_AL
            self.assertEqual(self.status(code), 0x2A * 2 + 1)

    def test_scatter_list_is_memory_where_its_bar_is(self):
        path = self.file("memory", b"".join(bytes([0x10 + page]) * 4096 for page in range(4)))
        base = 0xC0000000
        program = (out32(0xCF8, 0x80002810) + out32(0xCFC, base)
                   + out32(0xCF8, 0x80002804) + out32(0xCFC, 2))  # decode memory
        write = b"\xbf" + struct.pack("<I", base + 0x1005) + b"\xc6\x07\x55"
        read = b"\xbe" + struct.pack("<I", base + 0x2000) + b"\x8a\x06"
        for options, first, stored in (("pieces=0x2000+0x2000:0+0x1000", 0x10, (3, 0x55)),
                                       ("", 0x12, (1, 0x55)), ("ro", 0x12, None)):
            device = f"5,sgmem,path={path},{options}".rstrip(",")
            before = pathlib.Path(path).read_bytes()
            self.assertEqual(self.status(program + write + read + EXIT_WITH_AL, "-s", device),
                             first * 2 + 1)
            after = bytearray(before)
            if stored:
                after[stored[0] * 4096 + 5] = stored[1]
            self.assertEqual(pathlib.Path(path).read_bytes(), bytes(after))

    def test_memory_without_execute_permission_is_not_executed(self):
        path = self.file("memory", b"\xb0\x05" + EXIT_WITH_AL + bytes(4096))
        base = 0xC0000000
        jump = (out32(0xCF8, 0x80002810) + out32(0xCFC, base) + out32(0xCF8, 0x80002804)
                + out32(0xCFC, 2) + b"\xbe" + struct.pack("<I", base) + b"\xff\xe6")  # jmp *%rsi
        triple_fault = 3
        self.assertEqual(self.status(jump, "-s", f"5,sgmem,path={path},pieces=0+0x1000"), triple_fault)

    def test_firmware_items_reach_the_guest(self):
        path = self.file("item", b"\x11")
        options = ("-l", "fwcfg,qemu", "-f", "opt/a,string=7", "-f", f"name=opt/b,file={path}")
        for key, value in ((0, ord("Q")), (5, 1), (0x21, ord("7")), (0x22, 0x11)):
            code = out16(0x510, key) + in8(0x511) + EXIT_WITH_AL
            self.assertEqual(self.status(code, *options), value * 2 + 1 & 0xFF)

    def test_debug_console(self):
        code = b"".join(out8(0xE9, c) for c in b"hello") + b"\x30\xc0" + EXIT_WITH_AL
        result = self.call("bhyve", *TEST_DEVICE, "-l", "debugcon,stdio", "--kernel",
                           self.kernel(code), "vm")
        self.assertEqual((result.stdout, result.returncode), ("hello", 1))

    def served(self, back_end, connect):
        """The guest says 'ready' and ends with the byte that it is sent."""
        wait = in8(0x3FD) + b"\xa8\x01\x74\xf7"  # until the receiver has a byte
        code = say("ready") + wait + in8(0x3F8) + EXIT_WITH_AL
        command = self.command("bhyve", *TEST_DEVICE, "-l", f"com1,{back_end}", "--kernel",
                               self.kernel(code), "vm")
        with subprocess.Popen(command, env=self.env, cwd=self.dir, stdin=subprocess.DEVNULL,
                              stderr=subprocess.PIPE, text=True) as bhyve:
            with connect(bhyve) as client:
                client.settimeout(60)
                got = b""
                while len(got) < 5:
                    got += client.recv(5)
                self.assertEqual(got, b"ready")
                client.sendall(b"\x2b")
                self.assertEqual(bhyve.wait(timeout=60), 0x2B * 2 + 1)

    def test_tcp_serves_a_client_that_comes_late(self):
        def connect(bhyve):
            port = re.search(r"listening at 127.0.0.1:(\d+)", bhyve.stderr.readline())
            return socket.create_connection(("127.0.0.1", int(port.group(1))))
        self.served("tcp=127.0.0.1:0", connect)

    def test_unix_socket_serves_a_client_and_goes(self):
        path = self.dir / "com1"

        def connect(bhyve):
            client = socket.socket(socket.AF_UNIX)
            for _ in range(600):
                if path.exists():
                    break
                time.sleep(0.1)
            client.connect(str(path))
            return client
        self.served(f"unix={path}", connect)
        self.assertFalse(path.exists())


if __name__ == "__main__":
    unittest.main()
