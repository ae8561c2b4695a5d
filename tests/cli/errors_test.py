"""What wrong uses of every option say and how they end, against golden/errors.txt.

BHYVE_UPDATE_GOLDEN=1 writes the file anew; look at the difference before you commit it.
"""

import os
import pathlib
import re
import shlex
import unittest

from cli_case import SPIN, CliCase

HERE = pathlib.Path(__file__).parent
GOLDEN = HERE / "golden/errors.txt"


def lines():
    return [line for line in (HERE / "errors_lines.txt").read_text().splitlines()
            if line and not line.startswith("#")]


class Errors(CliCase):
    def test_sentences(self):
        files = {"FILE": self.file("file", b"cpus=1\nword\n"), "KERNEL": self.kernel(SPIN)}
        report = ""
        for line in lines():
            with self.subTest(line=line):
                result = self.call(*[files.get(word, word) for word in shlex.split(line)])
                self.assertRegex(result.stderr, r"\A[^\n]+\n\Z")
                self.assertEqual(result.stdout, "")
                self.assertNotEqual(result.returncode, 0)
                self.assertEqual(self.vms(), [])
                sentence = result.stderr.replace(str(self.dir) + "/", "")
                report += f"$ {line}\n{sentence}[{result.returncode}]\n"
        if os.environ.get("BHYVE_UPDATE_GOLDEN"):
            GOLDEN.write_text(report)
        self.maxDiff = None
        self.assertEqual(report, GOLDEN.read_text())

    def test_every_option_of_the_help_has_a_wrong_use(self):
        """An option with an argument that the list above leaves out is not tested."""
        tried = {tool: set() for tool in ("bhyve", "bhyveload", "bhyvectl")}
        for line in lines():
            tool, *words = shlex.split(line)
            tried[tool] |= {word.partition("=")[0] for word in words if word.startswith("-")}
        takes_argument = r"^ +(-\w|--[\w-]+)(?:=| (?!  )[A-Z\[])"
        for tool in ("bhyve", "bhyveload"):
            text = self.call(tool, "--help").stdout
            for option in re.findall(takes_argument, text, re.M):
                self.assertIn(option, tried[tool] | {"--append"}, tool)


if __name__ == "__main__":
    unittest.main()
