#!/usr/bin/python3
"""Checks the judge of the boot tests with programs that play bhyve and its guest."""

import itertools
import os
import pathlib
import tempfile
import unittest

from guest_boot import CASES, PAIRWISE_ROWS, SWITCHES, Case, boot, check_kernel

GOOD = "BOOT-OK cpus=1 clocksource=hpet x2apic=no uptime=3.11"


class PairwiseTest(unittest.TestCase):
    def test_every_pair_of_values_is_in_some_row(self):
        rows = [(*row[:3], *row[3]) for row in PAIRWISE_ROWS]
        self.assertTrue(all(len(row) == 3 + len(SWITCHES) for row in rows))
        columns = [(1, 2, 8), ("", "hpet", "acpi_pm", "tsc"), ("bhyve", "kvm"),
                   *[("0", "1")] * len(SWITCHES)]
        contradiction = ("hpet", "1", 1, 3 + SWITCHES.index("hpet=disable"))
        for i, j in itertools.combinations(range(len(columns)), 2):
            for a, b in itertools.product(columns[i], columns[j]):
                found = any(row[i] == a and row[j] == b for row in rows)
                self.assertEqual(found, (a, b, i, j) != contradiction, (a, b))

    def test_there_are_at_most_16(self):
        self.assertLessEqual(len(PAIRWISE_ROWS), 16)


class JudgeTest(unittest.TestCase):
    def judge(self, script, case=Case("made-up"), timeout=20):
        """The failures when `script` (sh) plays bhyve."""
        with tempfile.TemporaryDirectory() as folder:
            program = pathlib.Path(folder, "bhyve")
            program.write_text(f"#!/bin/sh\n{script}\n", encoding="ascii")
            program.chmod(0o755)
            return boot(str(program), "kernel", "initramfs", case, timeout).failures

    def test_clean_boot_passes(self):
        self.assertEqual(self.judge(f"echo '{GOOD}'; exit 1"), [])

    def test_wrong_exit_status_fails(self):
        self.assertEqual(self.judge(f"echo '{GOOD}'; exit 3"), ["exit status 3, expected 1"])

    def test_death_by_signal_fails(self):
        self.assertEqual(self.judge(f"echo '{GOOD}'; kill -SEGV $$"), ["bhyve died of SIGSEGV"])

    def test_missing_marker_fails(self):
        self.assertEqual(self.judge("echo Linux; exit 1"), ["no BOOT-OK line"])

    def test_each_complaint_of_linux_fails(self):
        for line in ("WARNING: CPU: 0 PID: 1", "BUG: soft lockup", "unhandled MSR", "irq: Unhandled",
                     "ACPI BIOS Error (bug): x", "ACPI Warning: x", "[Firmware Bug]: TSC", "BAR 0: failed to assign",
                     "spurious 8259A interrupt: IRQ7.", "rcu_sched detected stalls"):
            self.assertEqual(self.judge(f"echo '{line}'; echo '{GOOD}'; exit 1"),
                             [f"Linux said: {line}"])

    def test_harmless_lines_pass(self):
        self.assertEqual(self.judge(f"echo 'DEBUG: on'; echo '{GOOD}'; exit 1"), [])

    def test_fewer_cpus_than_asked_for_fail(self):
        self.assertEqual(self.judge(f"echo '{GOOD}'; exit 1", Case("made-up", cpus=2)),
                         ["Linux uses 1 CPUs, expected 2"])

    def test_forbidden_clocksource_fails(self):
        self.assertEqual(self.judge(f"echo '{GOOD}'; exit 1", Case("x", clocksource_not="hpet")),
                         ["clocksource hpet"])

    def test_missing_x2apic_fails(self):
        self.assertEqual(self.judge(f"echo '{GOOD}'; exit 1", Case("x", x2apic="yes")),
                         ["x2apic=no, expected yes"])

    def test_hang_fails_at_the_deadline(self):
        self.assertEqual(self.judge(f"echo '{GOOD}'; sleep 60", timeout=1),
                         ["still running after 1 s"])

    def test_nmis_are_counted_on_every_cpu(self):
        case = Case("made-up", cpus=2, action="nmi")
        def judge(line):
            return self.judge(f"echo '{GOOD.replace('cpus=1', 'cpus=2')}'; echo '{line}'; exit 1", case)
        self.assertEqual(judge("BOOT-NMI before=1 0 after=2 2"), [])
        self.assertEqual(judge("BOOT-NMI before=1 0 after=2 1"),
                         ["NMIs of each CPU: [1, 1], expected [1, 2]"])
        self.assertEqual(judge("nothing"), ["no BOOT-NMI line"])

    def test_files_left_behind_fail(self):
        self.assertEqual(self.judge(f"touch $BHYVE_RUNDIR/vm; echo '{GOOD}'; exit 1"),
                         ["left behind: vm"])

    def test_busy_idle_guest_fails(self):
        failures = self.judge(f"echo '{GOOD}'; echo BOOT-IDLE; i=0; sleep 0.2;"
                              "while [ $i -lt 300000 ]; do i=$((i+1)); done; echo BOOT-BUSY; exit 1",
                              CASES["idle"])
        self.assertIn("of a core", failures[-1])

    def test_shell_that_answers_passes(self):
        self.assertEqual(self.judge("printf '# '; read a; eval \"$a\"; printf '# '; read b; exit 1",
                                    CASES["shell"]), [])

    def test_shell_that_is_deaf_fails(self):
        self.assertEqual(self.judge("printf '# '; read a; exit 1", CASES["shell"]),
                         ["the shell did not answer"])

    def test_missing_kernel_is_one_clear_sentence(self):
        self.assertIn("scripts/get-kernel", check_kernel(""))
        self.assertIn("does not exist", check_kernel(os.path.join("no", "such", "kernel")))


if __name__ == "__main__":
    unittest.main()
