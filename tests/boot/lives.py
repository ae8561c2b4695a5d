"""Rounds of a VM's whole life with Debian's kernel, used by scripts/soak --lives: load, run to a reboot, run
what is loaded again to a power-off, destroy."""

import os
import pathlib
import subprocess
import tempfile

BOARD = ("-m", "256M", "-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio")
REBOOT, POWEROFF = 0, 1


class Failed(Exception):
    pass


def _call(expected, environment, timeout, *command):
    result = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, timeout=timeout,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            errors="replace", check=False)
    if result.returncode != expected:
        raise Failed(f"{pathlib.Path(command[0]).name} ended with status {result.returncode} instead of"
                     f" {expected}\n{result.stdout[-3000:]}")
    return result.stdout


def one_life(tools, kernel, initramfs, timeout=120):
    """None, or what went wrong."""
    with tempfile.TemporaryDirectory(prefix="bhyve-life-") as folder:
        environment = dict(os.environ, BHYVE_RUNDIR=folder)

        def call(expected, tool, *arguments):
            return _call(expected, environment, timeout, str(pathlib.Path(tools) / tool), *arguments)

        def load(action):
            call(0, "bhyveload", "-m", "256M", "--kernel", str(kernel), "--initrd", str(initramfs),
                 "--append", f"console=ttyS0 boottest={action}", "life")

        try:
            load("reboot")
            for _ in range(2):  # what was loaded stays loaded
                if "BOOT-OK" not in call(REBOOT, "bhyve", *BOARD, "life"):
                    return "the guest did not come up"
            load("poweroff")
            if "BOOT-OK" not in call(POWEROFF, "bhyve", *BOARD, "life"):
                return "the guest did not come up after it was loaded anew"
            call(0, "bhyvectl", "--vm=life", "--destroy")
            left = os.listdir(folder)
            return f"left behind: {left}" if left else None
        except (Failed, subprocess.TimeoutExpired) as failure:
            return str(failure)
