#!/usr/bin/python3
"""Runs one guest program of this folder under bhyve: run_board.py PROGRAM SOURCE CONFIGURATION [option...]

The first comment of its source says what the machine has besides the board:
  @options TEXT    more options of bhyve
  @button          it is sent SIGTERM, which presses the power button, when it says "ready"
The program prints through the debug console and ends by the debug exit: status 0 is 1 to bhyve's parent."""

import os
import pathlib
import re
import subprocess
import sys
import tempfile
import threading

GOOD = 1
# What tests/engine/configurations.def calls an executor.
EXECUTOR = {"translate": ("cpu.executor=translate", "-o", "cpu.direct=off"),
            "safe": ("cpu.executor=translate", "-o", "cpu.direct=off", "-o", "cpu.speculation=safe"),
            "direct": ("cpu.executor=translate", "-o", "cpu.direct=always")}
SECONDS = 100 * int(os.environ.get("BHYVE_PATIENCE", "1"))


def main(program, source, configuration, *more):
    comment = pathlib.Path(source).read_text(encoding="ascii").split("*/")[0]
    options = " ".join(re.findall(r"@options +(.*)", comment)).split()
    engine, executor = configuration.split("-")
    command = [os.environ["BHYVE_BIN"] + "/bhyve", "-A", "-m", "64M", "-s", "0,hostbridge", "-s", "31,lpc",
               "-l", "pc-testdev", "-l", "debugcon,stdio", "-o", f"engine={engine}",
               "-o", *EXECUTOR.get(executor, (f"cpu.executor={executor}",)), *options, *more,
               "-o", "destroy_on_poweroff=true", "--kernel", program, "guest"]
    with tempfile.TemporaryDirectory(prefix="bhyve-guest-") as run_dir:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                   env=dict(os.environ, BHYVE_RUNDIR=run_dir))
        watchdog = threading.Timer(SECONDS, process.kill)
        watchdog.start()
        output = ""
        for line in process.stdout:
            output += line
            if line == "ready\n" and "@button" in comment:
                process.terminate()
        status = process.wait()
        watchdog.cancel()
    print(output, f"status {status}", sep="")
    # A power-off would be the same status: the program says that it came to its end.
    return 0 if status == GOOD and output.endswith("passed\n") else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
