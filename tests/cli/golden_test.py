"""Help, versions and the printed configuration against files under golden/.

BHYVE_UPDATE_GOLDEN=1 writes the files anew; look at the difference before you commit it.
"""

import os
import pathlib
import unittest

from cli_case import CliCase

GOLDEN = pathlib.Path(__file__).parent / "golden"


class Golden(CliCase):
    def check(self, name, status, tool, *args):
        result = self.call(tool, *args)
        self.assertEqual(result.stderr, "")
        self.assertEqual(result.returncode, status)
        path = GOLDEN / name
        if os.environ.get("BHYVE_UPDATE_GOLDEN"):
            path.write_text(result.stdout)
        self.assertEqual(result.stdout, path.read_text())

    def test_help(self):
        self.check("bhyve_help.txt", 0, "bhyve", "--help")
        self.check("bhyve_help.txt", 0, "bhyve", "-h")
        self.check("bhyveload_help.txt", 0, "bhyveload", "--help")

    def test_device_lists(self):
        self.check("bhyve_s_help.txt", 0, "bhyve", "-s", "help")
        self.check("bhyve_l_help.txt", 0, "bhyve", "-l", "help")

    def test_version(self):
        self.check("bhyve_version.txt", 0, "bhyve", "--version")
        self.check("bhyvectl_version.txt", 0, "bhyvectl", "--version")

    def test_dry_run_names_the_machine(self):
        """CPU features depend on the host: one row of them is enough here."""
        result = self.call("bhyve", "--dry-run", "-c", "2,cores=2", "-m", "4G", "-s", "0,hostbridge",
                           "-s", "3,ahci,hd:/a,cd:/b", "-s", "31,lpc", "-l", "com1,stdio", "-o",
                           "cpu.model=x86-64-v1", "--kernel", "/k", "vm")
        self.assertEqual((result.returncode, result.stderr), (0, ""))
        for line in ("cpus        2 (1 sockets, 2 cores, 1 threads), engine soft, model x86-64-v1",
                     "memory      4096 MiB: 3072 below 4 GiB, 1024 from there",
                     "            00100000000-0013fffffff RAM", "com1        port 3f8h, IRQ 4: stdio",
                     "pci 0:31:0   lpc 8086:7000 class 060100", "pci.0.3.0 ahci (not in this build)",
                     "            port.1.type=cd", "boot        kernel /k",
                     "refused     -s 0:3:0,ahci: this device is not in this build"):
            self.assertIn(line + "\n", result.stdout)
        self.assertEqual(self.vms(), [])

    def test_keys_of_every_device(self):
        """Command lines as libvirt, vm-bhyve and CBSD make them."""
        self.check("bhyve_devices.txt", 1, "bhyve", "-c", "2", "-m", "2048", "-AHPw", "-U",
                   "123e4567-e89b-12d3-a456-426614174000", "-u", "-s", "0:0,hostbridge",
                   "-s", "1:0,lpc", "-s", "2:0,ahci,hd:/disk.img,ser=1,cd:/cd.iso",
                   "-s", "3:0,virtio-net,tap0,mac=52:54:00:00:00:01", "-s", "3:1,e1000,tap1",
                   "-s", "4:0,virtio-blk,/dev/zvol/a,nocache,sectorsize=512/4096",
                   "-s", "4:1,ahci-hd,/b.img", "-s", "4:2,ahci-cd,/c.iso",
                   "-s", "5:0,nvme,/d.img,maxq=4", "-s", "5:1,nvme,ram=64",
                   "-s", "6:0,passthru,4/0/1,rom=/r.rom", "-s", "6:1,passthru,ppt2",
                   "-s", "6:2,passthru,pci0:3:0:1",
                   "-s", "7:0,virtio-console,org.a=/a.sock,b=/b.sock",
                   "-s", "8:0,virtio-9p,share=/srv,ro", "-s", "9:0,virtio-scsi,/dev/cam/ctl1.1,iid=2",
                   "-s", "10:0,virtio-rnd", "-s", "11:0,virtio-input,/dev/input/event0",
                   "-s", "29:0,fbuf,tcp=0.0.0.0:5900,w=1024,h=768,wait", "-s", "30:0,xhci,tablet",
                   "-s", "28:0,hda,play=/dev/dsp0,rec=/dev/dsp0", "-s", "27:0,uart,tcp=1.2.3.4:5",
                   "-l", "com1,/dev/nmdm0A", "-l", "bootrom,/fw.fd,/vars.fd",
                   "-l", "tpm,swtpm,/tpm.sock,version=2.0", "-G", "w127.0.0.1:1234",
                   "-n", "id=0,size=1G,cpus=0-1", "-o", "config.dump=true", "vm")

    def test_bhyvectl_help(self):
        self.check("bhyvectl_help.txt", 0, "bhyvectl", "--help")

    def test_every_option_of_the_help_is_accepted(self):
        """What config.dump prints for a command line that uses all options that only set."""
        cpu = 0 if 0 in os.sched_getaffinity(0) else self.skipTest("host CPU 0 is not ours")
        self.check("bhyve_dump.txt", 1, "bhyve", "-aACDeHPSuWwxY", "-c", "4,cores=2", "-m", "1G",
                   "-s", "0,hostbridge", "-s", "31:0,lpc", "-s", "1:2:3,e1000,mac=52:54:00:00:00:01",
                   "-l", "com1,stdio", "-l", "bootrom,/rom,/vars", "-p", f"1:{cpu}", "-p", f"1:{cpu}",
                   "-U", "123e4567-e89b-12d3-a456-426614174000", "-K", "de", "-I",
                   "--kernel", "vmlinuz", "--initrd=initrd.gz", "--append", "console=ttyS0 quiet",
                   "-o", "cpu.model=x86-64-v2", "-o", "config.dump=true", "vm0")

    def test_command_line_order_with_a_file(self):
        config = self.file("vm.conf", b"# a comment\ncpus=2\nmemory.size=2G\nname=%(prefix)0\n"
                                      b"prefix=vm\nconfig.dump=yes\n")
        result = self.call("bhyve", "-m", "1G", "-k", config, "-c", "3")
        self.assertIn("\nname=vm0\n", result.stdout)
        result = self.call("bhyve", "-m", "1G", "-k", config, "-c", "3", "vm7")
        self.assertEqual(result.stdout, "config.dump=yes\ncpus=3\nmemory.size=2G\nname=vm7\n"
                                        "prefix=vm\n")


if __name__ == "__main__":
    unittest.main()
