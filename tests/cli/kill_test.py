"""kill -9 of any tool at any time: the next command handles what is left."""

import random
import time
import unittest

from cli_case import CONSOLE, POWER_OFF, RESET, SANITIZED, SPIN, CliCase, say

ROUNDS = 20 if SANITIZED else 200
LATEST = 0.08  # seconds; a whole run of a small guest takes less


class Kill(CliCase):
    def setUp(self):
        super().setUp()
        self.random = random.Random(7)
        self.off = self.kernel(say("up\n") + POWER_OFF, "off")
        self.reset = self.kernel(say("up\n") + RESET, "reset")
        self.spin = self.kernel(say("up\n") + SPIN, "spin")

    def victims(self):
        """Commands to be killed, each in a state that it has work in."""
        kernel = self.random.choice((self.off, self.reset, self.spin))
        return self.random.choice((
            ("bhyveload", "-m", "64M", "--kernel", kernel, "vm"),
            ("bhyve", "-m", "64M", *CONSOLE, "--kernel", kernel, "vm"),
            ("bhyve", *CONSOLE, "vm"),
            ("bhyvectl", "--vm=vm", "--create"),
            ("bhyvectl", "--vm=vm", "--destroy"),
            ("bhyvectl", "--vm=vm", "--set-rip=0x1000", "--get-all"),
            ("bhyvectl", "--vm=vm", "--run"),
        ))

    def kill_one(self):
        """Starts one command, or two at once, and kills the first; the other may do what it likes."""
        victim = self.victims()
        first = self.start(*victim)
        second = self.start("bhyvectl", "--vm=vm", "--get-all") if self.random.random() < 0.2 else None
        time.sleep(self.random.uniform(0, LATEST))
        first.kill()
        first.communicate(timeout=60)
        if second:
            second.communicate(timeout=60)
            self.assertGreaterEqual(second.returncode, 0)
        return victim

    def next_command(self):
        """What a user does then; returns what is wrong with it, or None."""
        choice = self.random.randrange(4)
        if choice == 0:
            result = self.call("bhyvectl", "--vm=vm", "--destroy")
            return None if result.returncode in (0, 2) and not self.vms() else result
        if choice == 1:
            result = self.call("bhyveload", "-m", "64M", "--kernel", self.off, "vm")
            if result.returncode != 0:
                return result
            result = self.call("bhyve", *CONSOLE, "vm")
            return None if (result.stdout, result.returncode) == ("up\n", 1) else result
        if choice == 2:
            result = self.call("bhyve", "-m", "64M", *CONSOLE, "--kernel", self.reset, "vm")
            return None if (result.stdout, result.returncode) == ("up\n", 0) else result
        result = self.call("bhyvectl", "--list")
        return None if result.returncode == 0 else result

    def test_killed_at_any_time(self):
        for number in range(ROUNDS):
            victim = self.kill_one()
            wrong = self.next_command()
            self.assertIsNone(wrong, f"round {number}, after {victim}")
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.assertEqual(self.vms(), [])


if __name__ == "__main__":
    unittest.main()
