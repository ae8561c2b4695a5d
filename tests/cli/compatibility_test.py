#!/usr/bin/python3
"""Every option and variable of FreeBSD's tools does something, or docs/compatibility.md says why not."""

import fnmatch
import pathlib
import re
import shlex
import unittest

from cli_case import SPIN, CliCase

HERE = pathlib.Path(__file__).parent
DOCS = HERE.parent.parent / "docs"
LEFT_OUT = re.compile(r"\b(refused|left out|not yet)\b")

# Every variable of FreeBSD's bhyve_config(5).
VARIABLES = """name cpus sockets cores threads memory.size memory.wired memory.guest_in_core acpi_tables
    acpi_tables_in_memory destroy_on_poweroff gdb.address gdb.port gdb.wait keyboard.layout rtc.use_localtime
    uuid virtio_msix config.dump x86.mptable x86.x2apic x86.strictio x86.strictmsr x86.vmexit_on_hlt
    x86.vmexit_on_pause x86.verbosemsr vcpu.N.cpuset bios.vendor system.manufacturer board.manufacturer
    chassis.manufacturer pci.B.S.F.device pci.enable_bars lpc.bootrom lpc.bootvars lpc.com1.path
    lpc.fwcfg lpc.pc-testdev domains.0""".split()


def cases():
    for line in (HERE / "freebsd_options.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            tool, *words = shlex.split(line)
            yield line, tool, words


def documented():
    """(tool, pattern of an option, what its row says) of docs/compatibility.md."""
    tool = ""
    for line in (DOCS / "compatibility.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            tool = line[3:].strip()
        elif line.startswith("| "):
            options, here, why = (cell.strip() for cell in line.strip("|").split("|"))
            for option in re.findall(r"`([^`]+)`", options):
                yield tool, option, f"{here} {why}"


class Compatibility(CliCase):
    def refusal(self, tool, words):
        """What the tool says against the option, or nothing."""
        if tool == "bhyve":
            bridge = ["-s", "31,lpc"] if "-l" in words and "help" not in words else []
            result = self.call("bhyve", "--dry-run", *words, *bridge, "vm")
            refused = re.search(r"^refused +(.*)", result.stdout, re.M)
            return result.stderr.strip() or (refused[1] if refused else "")
        if tool == "bhyveload":
            kernel = [] if "-h" in words else ["--kernel", self.kernel(SPIN)]
            result = self.call("bhyveload", *words, *kernel, "vm")
            self.call("bhyvectl", "--vm=vm", "--destroy")
            # Memory that may not be locked is the host's matter.
            return "" if "RLIMIT_MEMLOCK" in result.stderr else result.stderr.strip()
        result = self.call("bhyvectl", "--vm=vm", *words)
        return result.stderr.strip() if result.returncode == 1 else ""

    def test_options(self):
        folder = self.dir / "root/boot/kernel"
        folder.mkdir(parents=True)
        (folder / "kernel").write_bytes(pathlib.Path(self.kernel(SPIN)).read_bytes())
        rows = list(documented())
        self.assertGreater(len(rows), 50)
        for line, tool, words in cases():
            refusal = self.refusal(tool, [str(self.dir / "root") if w == "DIR" else w for w in words])
            names = {words[0].partition("=")[0], " ".join(words[:2]).partition(",")[0]}
            told = [text for owner, pattern, text in rows if owner == tool
                    and any(fnmatch.fnmatchcase(name, pattern) for name in names)]
            with self.subTest(line=line, refusal=refusal):
                if refusal:
                    self.assertRegex(refusal, r"\A[^\n]+\Z")
                    self.assertTrue(any(LEFT_OUT.search(text) for text in told), "not listed as left out")
                elif tool != "bhyvectl":  # whose table groups what works
                    self.assertTrue(told, "not listed")
                elif told:
                    self.assertFalse(all(LEFT_OUT.search(text) for text in told), "it works")

    def test_variables(self):
        page = (DOCS / "man/bhyve_config.5").read_text(encoding="utf-8")
        page += (DOCS / "compatibility.md").read_text(encoding="utf-8")
        patterns = set(re.findall(r"[\w.*-]+", page))
        for variable in VARIABLES:
            with self.subTest(variable=variable):
                self.assertTrue(any(fnmatch.fnmatchcase(variable, p) for p in patterns if p.strip("*.-")))


if __name__ == "__main__":
    unittest.main()
