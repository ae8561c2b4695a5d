#!/usr/bin/python3
"""What scripts/stress takes for a failure."""

import contextlib
import importlib.machinery
import importlib.util
import io
import pathlib
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts/stress"
LOADER = importlib.machinery.SourceFileLoader("stress", str(SCRIPT))
stress = importlib.util.module_from_spec(importlib.util.spec_from_loader("stress", LOADER))
LOADER.exec_module(stress)


class Host:
    """In place of stress.Native."""

    def __init__(self, **results):
        self._results = results
        self.asked = []

    def run(self, item):
        self.asked.append(item)
        return self._results.get(item)


class StressTest(unittest.TestCase):
    def judge(self, console, **host):
        native = Host(**host)
        with contextlib.redirect_stdout(io.StringIO()):
            return stress.compare(stress.LINE.findall(console), native), native.asked

    def test_what_passes_and_what_the_machine_has_not_is_no_failure(self):
        self.assertEqual(self.judge("STRESS-BEGUN a\nSTRESS-PASSED a \nSTRESS-SKIPPED b \n"), ([], []))

    def test_a_failure_counts_when_the_host_passes(self):
        problems, _ = self.judge("STRESS-FAILED a \nSTRESS-FAILED b \n", a=("PASSED", ""), b=("FAILED", ""))
        self.assertEqual(problems, ["a: failed; passes on the host"])

    def test_output_must_be_the_hosts_each_time(self):
        problems, asked = self.judge("STRESS-PASSED a 01\nSTRESS-PASSED a 02\n", a=("PASSED", "01"))
        self.assertEqual(problems, ["a: the output is not the host's"])
        self.assertEqual(asked, ["a"])

    def test_a_host_that_runs_nothing_proves_nothing(self):
        problems, _ = self.judge("STRESS-PASSED a 01\n")
        self.assertEqual(len(problems), 1)
        self.assertIn("unshare", problems[0])


if __name__ == "__main__":
    unittest.main()
