#!/usr/bin/python3
"""Runs memtest86+ in 32 MiB until its tests 0 to 5 (or one whole pass) are done.

What it says is read twice: on its serial console, and as text in B8000, which is plain memory while
the machine has no display. Used by CTest (tests 0 to 5) and by scripts/soak (a whole pass).
"""

import argparse
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

TEST = re.compile(rb"#(\d+) *\[")
ERRORS = re.compile(rb"Errors: (\d+)")
PASSES = re.compile(rb"Pass: *(\d+)  ")
IMAGES = ("x64", "ia32")
SCREEN, COLUMNS, ROWS = 0xB8000, 80, 25


def screen(pid):
    """The text in B8000 of the VM of process `pid`."""
    for entry in pathlib.Path(f"/proc/{pid}/fd").iterdir():
        if "memfd:guest-ram" not in os.readlink(entry):
            continue
        with open(entry, "rb") as ram:
            ram.seek(SCREEN)
            return ram.read(2 * COLUMNS * ROWS)[::2]
    return b""


def judge(text):
    """(numbers of the tests seen in `text`, most errors it tells of, passes done)."""
    errors = [int(n) for n in ERRORS.findall(text)]
    passes = [int(n) for n in PASSES.findall(text)]
    return {int(n) for n in TEST.findall(text)}, max(errors, default=-1), max(passes, default=0)


def watch(process, console, whole_pass, deadline):
    """Why memtest86+ failed, or None once it has come far enough."""
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return f"bhyve ended with status {process.returncode}"
        tests, errors, passes = judge(pathlib.Path(console).read_bytes())
        if errors > 0:
            return f"memtest86+ found {errors} errors"
        if errors == 0 and (passes > 0 if whole_pass else max(tests, default=0) > 5):
            shown = screen(process.pid)
            if b"Memtest86+" not in shown:
                return "B8000 does not show the screen"
            if judge(shown)[1] != 0:
                return "B8000 does not show that there were no errors"
            return None
        time.sleep(0.5)
    return f"not done in time: tests seen {sorted(tests)}, {passes} passes"


def run(bhyve, image, whole_pass, timeout):
    """(why it failed or None, seconds, console)."""
    started = time.monotonic()
    folder = tempfile.mkdtemp(prefix="bhyve-memtest-")
    console = os.path.join(folder, "console")
    command = [bhyve, "-m", "32M", "-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio",
               "--kernel", str(image), "--append", "console=ttyS0,115200", "memtest"]
    try:
        with open(console, "wb") as output:
            process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=subprocess.STDOUT,
                                       env=dict(os.environ, BHYVE_RUNDIR=folder))
        try:
            failure = watch(process, console, whole_pass, started + timeout)
        finally:
            process.kill()
            process.wait()
        log = pathlib.Path(console).read_text(encoding="latin-1")
        return failure, time.monotonic() - started, log
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def find_image(folder, name):
    """The image's path; exits when there is none."""
    path = pathlib.Path(folder or "", f"memtest86+{name}.bin")
    if not folder or not path.is_file():
        sys.exit("no memtest86+: set BHYVE_TEST_MEMTEST to the folder that scripts/get-memtest prints"
                 " (scripts/test does so)")
    return path


def main():
    parser = argparse.ArgumentParser(description="run memtest86+ with bhyve and judge the result")
    parser.add_argument("--bhyve", required=True, help="the program to test")
    parser.add_argument("--image", choices=IMAGES, required=True)
    parser.add_argument("--whole-pass", action="store_true", help="not only tests 0 to 5")
    parser.add_argument("--timeout", type=float, default=240, help="seconds")
    options = parser.parse_args()
    image = find_image(os.environ.get("BHYVE_TEST_MEMTEST"), options.image)
    failure, seconds, log = run(options.bhyve, image, options.whole_pass, options.timeout)
    if failure:
        print(log[-4000:])
        sys.exit(f"memtest86+{options.image}: {failure}")
    print(f"memtest86+{options.image}: no errors after {seconds:.0f} s")


if __name__ == "__main__":
    main()
