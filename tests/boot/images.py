#!/usr/bin/python3
"""Boots one of the images of scripts/get-images as far as it comes without a disk: a CTest entry."""

import argparse
import json
import os
import pathlib
import select
import socket
import struct
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

BOARD = ("-s", "0,hostbridge", "-s", "31,lpc", "-l", "com1,stdio")


@dataclass(frozen=True)
class Image:
    """What bhyve is given, and the texts that must come, in this order."""

    options: tuple
    texts: tuple
    screen: str = ""  # a text that must come to the VGA text buffer instead


def images(folder, kernel_folder):
    return {
        # Xen brings up its CPUs and runs Debian's kernel as its first domain, which switches the machine off.
        "xen": Image(
            ("-c", "2", "-m", "1G", "--kernel", f"{folder}/xen", "--append",
             f"{folder}/xen console=com1 com1=115200,8n1 loglvl=all no-real-mode", "--initrd",
             f"{folder}/vmlinuz-standard,console=hvc0 boottest=poweroff", "-o",
             f"boot.module.1={kernel_folder}/initramfs.cpio"),
            ("Xen version 4.17", "console=com1 com1=115200", "ACPI: RSDP", "Brought up 2 CPUs",
             "Building a PV Dom0", "BOOT-OK cpus=2", "Entering ACPI S5 state")),
        # SeaBIOS takes its tables from QEMU's firmware configuration device and looks for a disk.
        "seabios": Image(
            ("-m", "256M", "-l", f"bootrom,{folder}/bios-256k.bin", "-l", "fwcfg,qemu", "-f",
             f"etc/sercon-port,file={kernel_folder}/sercon", "-U", "123e4567-e89b-12d3-a456-426614174000"),
            ("SeaBIOS (version", "Machine UUID 123e4567-e89b-12d3-a456-426614174000",
             "No bootable device")),
        # iPXE is a bzImage of real mode, which asks a BIOS for everything: SeaBIOS boots it from a floppy in
        # memory, which SeaBIOS takes from the firmware configuration device.
        "ipxe": Image(
            ("-m", "256M", "-l", f"bootrom,{folder}/bios-256k.bin", "-l", "fwcfg,qemu", "-f",
             f"etc/sercon-port,file={kernel_folder}/sercon", "-f",
             f"floppyimg/ipxe.img,file={kernel_folder}/ipxe.img"),
            ("SeaBIOS (version", "Booting from Floppy", "iPXE initialising devices...ok",
             "Open Source Network Boot Firmware", "No more network devices")),
        # U-Boot finds no disk. The second one begins in 16-bit mode, loads itself in 32-bit mode and goes on in 64.
        "u-boot": Image(
            ("-m", "512M", "-l", f"bootrom,{folder}/u-boot.rom", "-l", "fwcfg,qemu"),
            ("U-Boot 20", "CPU:   bhyve virtual CPU", "DRAM:  512 MiB", "Hit any key to stop autoboot")),
        "u-boot64": Image(
            ("-m", "512M", "-l", f"bootrom,{folder}/u-boot64.rom", "-l", "fwcfg,qemu"),
            ("U-Boot SPL", "Jumping to 64-bit U-Boot", "DRAM:  512 MiB", "Hit any key to stop autoboot")),
        # 32-bit Linux, with paging of two levels and with PAE and memory above 4 GB.
        **{f"linux-{kind}{name}": Image(
            ("-c", cpus, "-m", memory, "--kernel", f"{folder}/vmlinuz-{kind}", "--initrd",
             f"{kernel_folder}/initramfs-686.cpio", "--append", "console=ttyS0 panic=-1 boottest=poweroff"),
            ("Linux version 6.1", texts, f"BOOT-OK cpus={cpus}", "reboot: Power down"))
           for kind, name, cpus, memory, texts in (
               ("686", "", "1", "512M", "Run /init"),
               ("686", "-smp", "2", "1G", "Brought up 1 node, 2 CPUs"),
               ("686-pae", "", "1", "5G", "NX (Execute Disable) protection: active"),
               ("686-pae", "-smp", "4", "512M", "Brought up 1 node, 4 CPUs"))},
        # GRUB as firmware shows its menu, on a screen that nobody sees.
        "grub": Image(("-m", "256M", "-l", f"bootrom,{folder}/grub.bin", "-l", "fwcfg,qemu"), (),
                      "GNU GRUB  version 2.06"),
    }


def floppy(boot_sector, kernel):
    """A floppy of 1.44 MB with a bzImage behind the boot sector of lkrn_floppy.S."""
    setup_sectors, sectors = kernel[0x1F1] + 1, (len(kernel) + 511) // 512
    counted = boot_sector[:0x1FA] + struct.pack("<HH", setup_sectors, sectors) + boot_sector[0x1FE:]
    return (counted + kernel).ljust(1440 * 1024, b"\0")


def screen(run_dir):
    """The characters of the text buffer at B8000h, by the control socket; empty when nobody answers."""
    with socket.socket(socket.AF_UNIX) as control:
        try:
            control.connect(os.path.join(run_dir, "image", "control"))
            stream = control.makefile("rw")
            stream.write('{"command":"read-memory","address":753664,"length":4000}\n')
            stream.flush()
            answer = json.loads(stream.readline() or "{}")
        except OSError:
            return ""
    return bytes.fromhex(answer.get("result") or "")[::2].decode("latin1")


def run(bhyve, image, timeout):
    """None, or what was missing; and the console."""
    with tempfile.TemporaryDirectory(prefix="bhyve-image-") as folder:
        process = subprocess.Popen([bhyve, *BOARD, *image.options, "image"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                   env=dict(os.environ, BHYVE_RUNDIR=folder))
        log, left = "", list(image.texts) + [image.screen] * bool(image.screen)
        at, end = 0, time.monotonic() + timeout
        try:
            while left and time.monotonic() < end:
                if select.select([process.stdout], [], [], 0.5)[0]:
                    chunk = os.read(process.stdout.fileno(), 65536)
                    if not chunk:
                        break
                    log += chunk.decode("utf-8", "replace")
                text = screen(folder) if left == [image.screen] else log
                while left and (place := text.find(left[0], at)) >= 0:
                    at = place + len(left.pop(0))
        finally:
            process.kill()
            process.communicate()
        return (f"no '{left[0]}'" if left else None), log


def main():
    parser = argparse.ArgumentParser(description="boot an image with bhyve and judge its console")
    parser.add_argument("--bhyve", required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--initramfs", required=True, help="what scripts/make-initramfs made")
    parser.add_argument("--boot-sector", required=True, help="what lkrn_floppy.S becomes")
    parser.add_argument("--timeout", type=float, default=300, help="seconds")
    options = parser.parse_args()
    folder = os.environ.get("BHYVE_TEST_IMAGES", "")
    if not pathlib.Path(folder, "xen").is_file():
        sys.exit("no images: set BHYVE_TEST_IMAGES to the folder that scripts/get-images prints")
    with tempfile.TemporaryDirectory(prefix="bhyve-image-") as files:
        os.symlink(os.path.abspath(options.initramfs), os.path.join(files, "initramfs.cpio"))
        if options.case.startswith("linux-686"):
            maker = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "make-initramfs"
            subprocess.run([sys.executable, "-B", maker, "--busybox", os.path.join(folder, "busybox-686"),
                            os.path.join(files, "initramfs-686.cpio")], check=True)
        pathlib.Path(files, "sercon").write_bytes(b"\xf8\x03")  # the port of com1
        pathlib.Path(files, "ipxe.img").write_bytes(
            floppy(pathlib.Path(options.boot_sector).read_bytes(), pathlib.Path(folder, "ipxe.lkrn").read_bytes()))
        missing, log = run(options.bhyve, images(folder, files)[options.case], options.timeout)
    if missing:
        print(log)
        sys.exit(f"{options.case}: {missing}")


if __name__ == "__main__":
    main()
