"""Help, versions and the printed configuration against files under golden/.

BHYVE_UPDATE_GOLDEN=1 writes the files anew; look at the difference before you commit it.
"""

import os
import pathlib
import unittest

from cli_case import CliCase

GOLDEN = pathlib.Path(__file__).parent / "golden"


class Golden(CliCase):
    def check(self, name, status, tool, *args):
        result = self.call(tool, *args)
        self.assertEqual(result.stderr, "")
        self.assertEqual(result.returncode, status)
        path = GOLDEN / name
        if os.environ.get("BHYVE_UPDATE_GOLDEN"):
            path.write_text(result.stdout)
        self.assertEqual(result.stdout, path.read_text())

    def test_help(self):
        self.check("bhyve_help.txt", 0, "bhyve", "--help")
        self.check("bhyve_help.txt", 0, "bhyve", "-h")

    def test_device_lists(self):
        self.check("bhyve_s_help.txt", 0, "bhyve", "-s", "help")
        self.check("bhyve_l_help.txt", 0, "bhyve", "-l", "help")

    def test_version(self):
        self.check("bhyve_version.txt", 0, "bhyve", "--version")
        self.check("bhyvectl_version.txt", 0, "bhyvectl", "--version")

    def test_bhyvectl_help(self):
        self.check("bhyvectl_help.txt", 0, "bhyvectl", "--help")

    def test_every_option_of_the_help_is_accepted(self):
        """What config.dump prints for a command line that uses all options that only set."""
        self.check("bhyve_dump.txt", 1, "bhyve", "-aACDeHPSuWwxY", "-c", "4,cores=2", "-m", "1G",
                   "-s", "0,hostbridge", "-s", "31:0,lpc", "-s", "1:2:3,e1000,mac=52:54:00:00:00:01",
                   "-l", "com1,stdio", "-l", "bootrom,/rom,/vars", "-p", "1:3", "-p", "1:4",
                   "-U", "123e4567-e89b-12d3-a456-426614174000", "-K", "de", "-I",
                   "--kernel", "vmlinuz", "--initrd=initrd.gz", "--append", "console=ttyS0 quiet",
                   "-o", "cpu.model=x86-64-v2", "-o", "config.dump=true", "vm0")

    def test_command_line_order_with_a_file(self):
        config = self.file("vm.conf", b"# a comment\ncpus=2\nmemory.size=2G\nname=%(prefix)0\n"
                                      b"prefix=vm\nconfig.dump=yes\n")
        result = self.call("bhyve", "-m", "1G", "-k", config, "-c", "3")
        self.assertIn("\nname=vm0\n", result.stdout)
        result = self.call("bhyve", "-m", "1G", "-k", config, "-c", "3", "vm7")
        self.assertEqual(result.stdout, "config.dump=yes\ncpus=3\nmemory.size=2G\nname=vm7\n"
                                        "prefix=vm\n")


if __name__ == "__main__":
    unittest.main()
