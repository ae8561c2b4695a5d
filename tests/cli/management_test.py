"""Command lines as libvirt's bhyve driver, vm-bhyve and CBSD make them: each is understood down to the
keys of its devices, and what is not in this build ends in one line that names it.

BHYVE_UPDATE_GOLDEN=1 writes golden/management.txt anew; look at the difference before you commit it.
"""

import os
import pathlib
import shlex
import unittest

from cli_case import CliCase

HERE = pathlib.Path(__file__).parent
LINES = HERE / "management_lines.txt"
GOLDEN = HERE / "golden/management.txt"


def command_lines():
    for line in LINES.read_text().splitlines():
        if line and not line.startswith("#"):
            whose, _, command = line.partition(": ")
            yield whose, shlex.split(command)


class Management(CliCase):
    def test_command_lines(self):
        if 0 not in os.sched_getaffinity(0):
            self.skipTest("host CPU 0 is not ours")
        report = ""
        for whose, (tool, *args) in command_lines():
            with self.subTest(whose=whose):
                report += f"# {whose}\n$ {shlex.join([tool, *args])}\n"
                if tool == "bhyve":
                    report += self.resolved(args)
                result = self.call(tool, *args)
                self.assertEqual(result.stdout, "")
                self.assertRegex(result.stderr, r"\A[^\n]+\n\Z")
                report += f"{result.stderr}[{result.returncode}]\n\n"
                if tool == "bhyve":
                    self.assertEqual(result.returncode, 4)
                self.assertEqual(self.vms(), [])
        if os.environ.get("BHYVE_UPDATE_GOLDEN"):
            GOLDEN.write_text(report)
        self.maxDiff = None
        self.assertEqual(report, GOLDEN.read_text())

    def resolved(self, args):
        """The variables; and --dry-run, which must name every device."""
        dump = self.call("bhyve", "-o", "config.dump=true", *args)
        self.assertEqual((dump.stderr, dump.returncode), ("", 1))
        dry = self.call("bhyve", "--dry-run", *args)
        self.assertEqual((dry.stderr, dry.returncode), ("", 0))
        for before, slot in zip(args, args[1:]):
            if before == "-s":
                device = slot.split(",")[1]
                self.assertRegex(dry.stdout, rf"(?m)^pci.* {device}\b", f"{slot}\n{dry.stdout}")
        return dump.stdout.replace("config.dump=true\n", "")


if __name__ == "__main__":
    unittest.main()
