"""Every example of README.md and of the manual pages is executed; one that nobody executes fails."""

import os
import pathlib
import pty
import re
import select
import shutil
import subprocess
import time
import unittest

import doc_examples
from bhyveload_test import freebsd
from cli_case import BIN, POWER_OFF, RESET, SANITIZED, CliCase, say

REPO = doc_examples.REPO
KERNEL = os.environ.get("BHYVE_TEST_KERNEL", "")
# Building and testing is what runs this test: scripts/test begins with these lines.
BUILD = re.compile(r"scripts/(install-deps|test)\b|cmake --(preset|build)")


class Examples(CliCase):
    """The files that the examples name lie in the test's folder, and the tools in PATH."""

    def setUp(self):
        super().setUp()
        for name in ("scripts", "docs"):
            (self.dir / name).symlink_to(REPO / name)
        self.env["PATH"] = f"{BIN}:{self.env['PATH']}"
        self.kernel(say("up\n") + POWER_OFF, "vmlinuz")
        self.file("initrd.gz", b"x" * 5000)
        self.file("initramfs.cpio", b"x" * 5000)
        self.unclaimed = [block for block in doc_examples.all_blocks()]

    def claim(self, where, begin):
        """The block of a page that has a line which begins so."""
        found = [block for page, block in self.unclaimed
                 if page == where and any(line.startswith(begin) for line in block.splitlines())]
        self.assertEqual(len(found), 1, f"{where}: '{begin}'")
        return found[0]

    def bash(self, script, status=0, **kwargs):
        result = subprocess.run(["bash", "-euc", script], env=self.env, cwd=self.dir, text=True,
                                stdin=subprocess.DEVNULL, capture_output=True, timeout=120, **kwargs)
        self.assertEqual(result.returncode, status, f"{script}\n{result.stdout}{result.stderr}")
        return result.stdout

    def test_nothing_is_left_out(self):
        """Each block has a line that a test below claims."""
        source = pathlib.Path(__file__).read_text() + (
            pathlib.Path(__file__).with_name("install_test.py")).read_text()
        claimed = set(re.findall(r'claim\("([^"]+)", "([^"]+)"', source))
        for where, block in self.unclaimed:
            if all(BUILD.search(line) or line.startswith("#") for line in block.splitlines()):
                continue
            self.assertTrue(any(where == page and line.startswith(begin)
                                for page, begin in claimed for line in block.splitlines()),
                            f"{where} has an example that no test executes:\n{block}")

    def test_scripts_say_what_they_do(self):
        for block in (self.claim("README.md", "scripts/demo"),
                      self.claim("README.md", "scripts/test --quick")):
            for line in block.splitlines():
                command = line.split("#")[0].split()
                self.assertIn("usage:", self.bash(f"{' '.join(command)} --help"))

    def test_boot_and_look_at_a_machine(self):
        boot = self.claim("README.md", "kernel=$(scripts/get-kernel)")
        look = self.claim("README.md", "bhyvectl --list")
        if not KERNEL or SANITIZED:
            self.skipTest("BHYVE_TEST_KERNEL names no kernel, or this build is too slow for one")
        self.file("get-kernel", f"#!/bin/sh\necho {KERNEL}\n".encode())
        (self.dir / "get-kernel").chmod(0o755)
        boot = boot.replace("scripts/get-kernel", "./get-kernel")
        terminal, inside = pty.openpty()
        self.addCleanup(os.close, terminal)
        process = subprocess.Popen(["bash", "-euc", boot], env=self.env, cwd=self.dir, stdin=inside,
                                   stdout=inside, stderr=inside, start_new_session=True)
        os.close(inside)
        self.addCleanup(process.wait)
        self.addCleanup(self.bash, "bhyvectl --vm=vm0 --force-poweroff || true")
        self.await_text(terminal, b"switches the machine off")
        for line in look.splitlines():
            if "--destroy" in line:
                self.drain_until_end(process, terminal)
            self.bash(line)
        self.assertEqual(self.vms(), [])
        self.assertEqual(process.returncode, 1)

    def await_text(self, terminal, text, seconds=120):
        seen, end = b"", time.monotonic() + seconds
        while text not in seen:
            self.assertLess(time.monotonic(), end, seen[-2000:])
            if select.select([terminal], [], [], 1)[0]:
                seen += os.read(terminal, 65536)

    def drain_until_end(self, process, terminal):
        end = time.monotonic() + 60
        while process.poll() is None and time.monotonic() < end:
            if select.select([terminal], [], [], 0.1)[0]:
                try:
                    os.read(terminal, 65536)
                except OSError:  # the other side is closed
                    break
        process.wait(timeout=60)

    def test_keep_a_machine_running(self):
        shutil.copy(self.kernel(say("up\n") + POWER_OFF), self.dir / "vmlinuz")
        config = self.claim("README.md", "lpc.com1.path=stdio")
        self.file("vm0.conf", config.encode())
        self.assertEqual(self.bash(self.claim("README.md", "while bhyve -k")), "up\n")

    def test_choose_what_the_guest_sees(self):
        rest = "-s 0,hostbridge -s 31,lpc -l com1,stdio --kernel vmlinuz vm0"
        for line in self.claim("README.md", "bhyve -o cpu.hypervisor").splitlines():
            self.assertIn(" ... ", line + " ")
            self.assertEqual(self.bash(line.replace("...", rest).split("#")[0], status=1), "up\n")

    def test_load_and_run_as_often_as_wanted(self):
        block = self.claim("README.md", "bhyveload -m 512M")
        load, run = block.replace("\\\n", "").splitlines()
        self.kernel(say("up\n") + RESET, "vmlinuz")
        self.bash("kernel=vmlinuz\n" + load)
        for _ in range(3):
            self.assertEqual(self.bash(run), "up\n")

    def test_bhyve_8(self):
        self.assertEqual(self.bash(self.claim("bhyve.8", "bhyve -c 2 -m 1G"), status=1), "up\n")

    def test_bhyve_config_5(self):
        config = self.file("vm.conf", self.claim("bhyve_config.5", "cpus=2").encode())
        result = self.call("bhyve", "-k", config, "--kernel", self.dir / "vmlinuz", "vm")
        self.assertEqual((result.stdout, result.stderr, result.returncode), ("up\n", "", 1))

    def test_bhyveload_8(self):
        (self.dir / "root/boot/kernel").mkdir(parents=True)
        (self.dir / "root/boot/kernel/kernel").write_bytes(freebsd(say("up\n") + POWER_OFF))
        block = self.claim("bhyveload.8", "while bhyveload").replace("/guest/root", "root")
        self.assertEqual(self.bash(block), "up\n")
        self.assertEqual(self.vms(), [])

    def test_bhyvectl_8(self):
        self.bash("bhyvectl --vm=vm0 --create")
        for line in self.claim("bhyvectl.8", "bhyvectl --vm=vm0 --get-stats").splitlines():
            self.bash(line)
        self.assertEqual(self.vms(), [])


if __name__ == "__main__":
    unittest.main()
