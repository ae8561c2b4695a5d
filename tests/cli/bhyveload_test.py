#!/usr/bin/python3
"""Kernels of every format from the outside, and the loop of bhyveload, bhyve and bhyvectl."""

import random
import struct
import time
import unittest

from cli_case import CONSOLE, POWER_OFF, RESET, SPIN, TRIPLE_FAULT, CliCase, say

KERNEL_BASE = 0xFFFFFFFF80000000


def elf(is_64, entry, virtual, physical, code, abi=0, note=b""):
    """An executable of one segment and at most one note segment."""
    header, size = (0x40, 0x38) if is_64 else (0x34, 0x20)
    segments = [(1, virtual, physical, code)] + ([(4, 0, 0, note)] if note else [])
    offset = header + len(segments) * size
    ident = b"\x7fELF" + bytes([2 if is_64 else 1, 1, 1, abi]) + bytes(8)
    wide = "Q" if is_64 else "I"
    out = ident + struct.pack(f"<HHI{wide}{wide}{wide}IHHHHHH", 2, 62 if is_64 else 3, 1, entry,
                              header, 0, 0, header, size, len(segments), 0, 0, 0)
    contents = b""
    for kind, va, pa, data in segments:
        at = offset + len(contents)
        out += (struct.pack("<IIQQQQQQ", kind, 7, at, va, pa, len(data), len(data), 4096) if is_64
                else struct.pack("<IIIIIIII", kind, at, va, pa, len(data), len(data), 7, 4096))
        contents += data
    return out + contents


def multiboot(code):
    header = struct.pack("<III", 0x1BADB002, 3, -(0x1BADB002 + 3) & 0xFFFFFFFF)
    return elf(False, 0x40000C, 0x400000, 0x400000, header + code)


def pvh(code):
    note = struct.pack("<III", 4, 4, 18) + b"Xen\0" + struct.pack("<I", 0x400000)
    return elf(True, KERNEL_BASE, 0x400000, 0x400000, code, note=note)


def freebsd(code):
    return elf(True, KERNEL_BASE + 0x200000, KERNEL_BASE + 0x200000, 0, code, abi=9)


# MOV ESI, [EBX + offset]; then the string at ESI to COM1; the same bytes in 32 and 64-bit mode.
def say_string_at(offset):
    return (b"\x8b\x73" + bytes([offset]) + b"\x66\xba\xf8\x03" + b"\xac\x84\xc0\x74\x03\xee\xeb\xf8")


class Kernels(CliCase):
    def boots(self, kernel, output, *args):
        path = self.file("k", kernel)
        result = self.call("bhyve", *CONSOLE, "--kernel", path, *args, "vm")
        self.assertEqual((result.stdout, result.stderr, result.returncode), (output, "", 0))

    def test_multiboot_gets_its_command_line(self):
        path = self.dir / "k"
        self.boots(multiboot(say_string_at(16) + RESET), f"{path} a b", "--append", "a b")

    def test_multiboot_gets_its_magic(self):
        check = b"\x3d\x02\xb0\xad\x2b\x74\x02" + TRIPLE_FAULT  # CMP EAX, 2BADB002h; JE +2
        self.boots(multiboot(check + say("ok") + RESET), "ok")

    def test_multiboot_gets_modules(self):
        # ESI = mods_addr; ESI = start of the second module; its text
        second = b"\x8b\x73\x18\x8d\x5e\x10" + say_string_at(0)
        module = self.file("m,m", b"wrong\0"), self.file("n", b"module\0")
        self.boots(multiboot(second + RESET), "module", "--initrd", self.file("m", b"x"),
                   "-o", f"boot.module.1={module[1]},text")

    def test_pvh_gets_its_command_line(self):
        self.boots(pvh(say_string_at(24) + RESET), "a b", "--append", "a b")

    def test_freebsd_gets_modulep(self):
        # ESI = modulep + 8: the name in the first record
        self.boots(freebsd(b"\x8b\x74\x24\x04\x83\xc6\x08\x66\xba\xf8\x03"
                           b"\xac\x84\xc0\x74\x03\xee\xeb\xf8" + RESET), "/boot/kernel/kernel")

    def test_boot_rom_starts_at_the_reset_vector(self):
        code = b"".join(b"\xba\xf8\x03\xb0" + bytes([c]) + b"\xee" for c in b"rom")
        code += b"\xba\xf9\x0c\xb0\x06\xee\xeb\xfe"
        rom = bytearray(0x10000)
        rom[0x8000:0x8000 + len(code)] = code
        rom[0xFFF0:0xFFF3] = b"\xe9" + struct.pack("<h", 0x8000 - 0xFFF3)
        result = self.call("bhyve", *CONSOLE, "-l", "bootrom," + self.file("rom", rom), "vm")
        self.assertEqual((result.stdout, result.stderr, result.returncode), ("rom", "", 0))

    def test_boot_rom_keeps_its_variables(self):
        """They lie beneath it, may be written, and are there in the next run; the ROM may not."""
        page = 0x1000  # ROM at FFFFF000h, variables at FFFFE000h; CS begins at FFFF0000h

        def say_byte_at(offset):  # mov al, cs:[offset]; to COM1
            return b"\x2e\xa0" + struct.pack("<H", offset) + b"\xba\xf8\x03\xee"

        def store(offset, value):  # mov byte cs:[offset], value
            return b"\x2e\xc6\x06" + struct.pack("<HB", offset, value)

        code = (say_byte_at(0xE001) + store(0xE001, ord("w")) + say_byte_at(0xE001)
                + store(0xF800, ord("x")) + say_byte_at(0xF800) + b"\xba\xf9\x0c\xb0\x06\xee\xeb\xfe")
        rom = bytearray(page)
        rom[:len(code)] = code
        rom[0x800] = ord("r")
        rom[0xFF0:0xFF3] = b"\xe9" + struct.pack("<h", 0xF000 - 0xFFF3)
        path, variables = self.file("rom", rom), self.file("vars", b"v" * page)
        for first in "vw":
            result = self.call("bhyve", *CONSOLE, "-l", f"bootrom,{path},{variables}", "vm")
            self.assertEqual((result.stdout, result.stderr, result.returncode), (first + "wr", "", 0))
        self.assertEqual((self.dir / "vars").read_bytes(), b"vw" + b"v" * (page - 2))
        self.assertEqual((self.dir / "rom").read_bytes(), rom)

    def test_bad_boot_roms_are_refused(self):
        for size, text in ((100, "whole pages"), (17 << 20, "longer than 16 MiB")):
            path = self.file("rom", bytes(size))
            result = self.call("bhyve", *CONSOLE, "-l", f"bootrom,{path}", "vm")
            self.assertEqual(result.returncode, 4)
            self.assertIn(text, result.stderr)
            self.assertEqual(len(result.stderr.splitlines()), 1)
        self.assertEqual(self.vms(), [])


class Load(CliCase):
    def load(self, kernel, *args):
        return self.call("bhyveload", "--kernel", self.file("k", kernel), *args, "vm")

    def test_loop(self):
        for code, status in ((RESET, 0), (RESET, 0), (POWER_OFF, 1)):
            loaded = self.load(multiboot(say("hi") + code), "-m", "64M")
            self.assertEqual((loaded.returncode, loaded.stdout, loaded.stderr), (0, "", ""))
            result = self.call("bhyve", *CONSOLE, "vm")
            self.assertEqual((result.stdout, result.returncode), ("hi", status))
            self.assertEqual(self.vms(), ["vm"])
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--destroy").returncode, 0)
        self.assertEqual(self.vms(), [])

    def test_memory_size_must_agree(self):
        self.assertEqual(self.load(multiboot(RESET), "-m", "64M").returncode, 0)
        result = self.call("bhyve", "-m", "128M", *CONSOLE, "vm")
        self.assertEqual((result.returncode, result.stderr), (
            4, "bhyve: guest memory of 128 MiB: expected 64 MiB, as bhyveload made it\n"))

    def test_host_directory(self):
        kernel = self.dir / "root" / "boot" / "kernel" / "kernel"
        kernel.parent.mkdir(parents=True)
        kernel.write_bytes(freebsd(RESET))
        self.assertEqual(self.call("bhyveload", "-h", self.dir / "root", "vm").returncode, 0)
        self.assertEqual(self.call("bhyve", "vm").returncode, 0)

    def test_only_populated_pages_are_stored(self):
        self.assertEqual(self.load(multiboot(RESET), "-m", "8G").returncode, 0)
        self.assertLess((self.run_dir / "vm" / "memory.img").stat().st_blocks * 512, 1 << 20)

    def test_running_vm_is_not_loaded(self):
        self.assertEqual(self.load(multiboot(SPIN)).returncode, 0)
        self.start("bhyve", "vm")
        while "running" not in self.call("bhyvectl", "--list").stdout:
            time.sleep(0.05)
        for result in (self.load(multiboot(RESET)), self.call("bhyve", "vm")):
            self.assertIn("in use by another bhyve", result.stderr)
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--destroy").returncode, 0)

    def test_bad_input_is_one_line_and_leaves_nothing(self):
        kernel = self.file("k", multiboot(RESET))
        for args, text in ((("-l", "/boot/userboot.so"), "cannot run here"),
                           (("-d", "disk.img"), "no file systems"),
                           (("-e", "novalue"), "expected NAME=VALUE"),
                           (("-m", "x"), "expected a size"),
                           (("-c", "/dev/nmdm0A"), "no console"),
                           (("-Z",), "-Z: unknown option"),
                           (("--kernel", self.file("bad", b"\x7fELF")), "is no known image"),
                           (("--kernel", self.dir / "none"), "No such file")):
            result = self.call("bhyveload", "--kernel", kernel, *args, "vm")
            self.assertEqual((result.returncode, len(result.stderr.splitlines())), (1, 1), args)
            self.assertTrue(result.stderr.startswith("bhyveload: "))
            self.assertIn(text, result.stderr)
            self.assertEqual(self.vms(), [])
        self.assertIn("nothing to load", self.call("bhyveload", "vm").stderr)

    def test_a_failed_load_keeps_what_was_loaded(self):
        self.assertEqual(self.load(multiboot(say("old") + RESET)).returncode, 0)
        self.assertEqual(self.load(b"rubbish").returncode, 1)
        self.assertEqual(self.call("bhyve", *CONSOLE, "vm").stdout, "old")

    def test_damaged_image_is_told(self):
        self.assertEqual(self.load(multiboot(RESET)).returncode, 0)
        path = self.run_dir / "vm" / "loaded"
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        result = self.call("bhyve", "vm")
        self.assertEqual((result.returncode, len(result.stderr.splitlines())), (4, 1))
        self.assertIn("damaged", result.stderr)
        self.assertEqual(self.load(multiboot(RESET)).returncode, 0)
        self.assertEqual(self.call("bhyve", "vm").returncode, 0)

    def test_killed_loads_leave_a_vm_that_the_next_command_handles(self):
        kernel = self.file("k", multiboot(say("x") * 2000 + RESET))
        choose = random.Random(7)
        for _ in range(20):
            process = self.start("bhyveload", "--kernel", kernel, "vm")
            time.sleep(choose.random() * 0.03)
            process.kill()
            process.wait()
        self.assertEqual(self.call("bhyveload", "--kernel", kernel, "vm").returncode, 0)
        self.assertEqual(self.call("bhyve", "vm").returncode, 0)
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--destroy").returncode, 0)


if __name__ == "__main__":
    unittest.main()
