#!/usr/bin/python3
"""Runs one case of guest_boot.py: a CTest entry."""

import argparse
import os
import sys

import guest_boot


def main():
    parser = argparse.ArgumentParser(description="boot a kernel with bhyve and judge the result")
    parser.add_argument("--bhyve", required=True, help="the program to test")
    parser.add_argument("--kernel", default="", help="the kernel, unless BHYVE_TEST_KERNEL says it")
    parser.add_argument("--initramfs", required=True, help="what scripts/make-initramfs made")
    parser.add_argument("--case", required=True, choices=sorted(guest_boot.CASES))
    parser.add_argument("--timeout", type=float, default=120, help="seconds")
    options = parser.parse_args()

    case = guest_boot.CASES[options.case]
    kernel = os.environ.get("BHYVE_TEST_KERNEL") or options.kernel
    if case.image:
        kernel = os.path.join(os.environ.get("BHYVE_TEST_IMAGES", ""), case.image)
    problem = guest_boot.check_kernel(kernel)
    if problem:
        sys.exit(problem)
    outcome = guest_boot.boot(options.bhyve, kernel, options.initramfs, case, options.timeout)
    if outcome.failures:
        print(outcome.log)
        for failure in outcome.failures:
            print(f"{options.case}: {failure}")
        sys.exit(1)
    load = f", {100 * outcome.idle_load:.2f} % of a core idle" if outcome.idle_load >= 0 else ""
    print(f"{options.case}: user space after {outcome.seconds_to_user:.1f} s{load}")


if __name__ == "__main__":
    main()
