"""Bad input: one line on standard error that names it, the right status, nothing left behind."""

import unittest

from cli_case import CliCase, SPIN, bzimage

USAGE, ERROR, PINNING = 1, 4, 64


class BadInput(CliCase):
    def refused(self, status, words, *args, tool="bhyve"):
        with self.subTest(args=args):
            result = self.call(tool, *args)
            self.assertEqual(result.stdout, "")
            self.assertRegex(result.stderr, r"\A[^\n]+\n\Z")
            self.assertTrue(result.stderr.startswith(tool + ": "), result.stderr)
            for word in words.split("|"):
                self.assertIn(word, result.stderr)
            self.assertEqual(result.returncode, status, result.stderr)
            self.assertEqual(self.vms(), [])

    def test_usage(self):
        self.refused(USAGE, "VM name")
        self.refused(USAGE, "VM name", "-c", "2")
        self.refused(USAGE, "'b'", "a", "b")
        self.refused(USAGE, "-z|unknown option", "-z", "vm")
        self.refused(USAGE, "--frobnicate|unknown option", "--frobnicate", "vm")
        self.refused(USAGE, "-m|expected an argument", "-m")
        self.refused(USAGE, "--kernel|expected an argument", "--kernel")

    def test_options_that_are_gone_or_not_here(self):
        self.refused(ERROR, "-M|-m", "-M", "1G", "vm")
        self.refused(ERROR, "-b|com1", "-b", "vm")
        for option, value in (("-G", "w127.0.0.1:1234"), ("-n", "id=0,size=1G,cpus=0-3"),
                              ("-r", "file")):
            self.refused(ERROR, option + "|not in this build", option, value, "vm")
        self.refused(ERROR, "-G x|port", "-G", "x", "vm")
        self.refused(ERROR, "-n id=9|id=0-7", "-n", "id=9", "vm")
        self.refused(1, "-m", "-M", "1G", "vm", tool="bhyveload")

    def test_nearest_words(self):
        self.refused(USAGE, "--kernle|'--kernel'", "--kernle", "x", "vm")
        self.refused(ERROR, "'hostbrige'|'hostbridge'", "-s", "0,hostbrige", "vm")
        self.refused(ERROR, "'com11'|'com1'", "-s", "31,lpc", "-l", "com11,stdio", "vm")
        self.refused(USAGE, "--get-rxa|'--get-rax'", "--vm=vm", "--get-rxa", tool="bhyvectl")
        self.refused(USAGE, "hlt_exti|'hlt_exit'", "--vm=vm", "--capname=hlt_exti", "--getcap",
                     tool="bhyvectl")

    def test_names(self):
        for name in ("../x", "a/b", ".hidden", "a\nb", "n" * 230, "", "/"):
            self.refused(ERROR, "VM name", name)

    def test_memory(self):
        for size in ("12Q", "", "0", "-1G", "1.5G", "G", "99999999999999T"):
            self.refused(ERROR, f"-m {size}|expected a size", "-m", size, "vm")
        self.refused(ERROR, "memory.size=64K|1M to 32T", "-m", "64K", "vm")
        self.refused(ERROR, "memory.size=x|expected a size", "-o", "memory.size=x", "vm")

    def test_cpus(self):
        for text in ("0", "-1", "two", "65536", "sockets=0", "boxes=2", "cpus="):
            self.refused(ERROR, f"-c {text}|expected", "-c", text, "vm")
        self.refused(ERROR, "cpus=255|1 to 254", "-c", "255", "vm")
        self.refused(ERROR, "cpus=4|which is 6", "-c", "4,sockets=2,cores=3", "vm")

    def test_pinning(self):
        for text in ("1", "0:", "0:x", "0:1:2", "-1:0", "0:1024"):
            self.refused(PINNING, f"-p {text}|vcpu:hostcpu", "-p", text, "vm")
        self.refused(PINNING, "-p 0:1023|not this process's", "-p", "0:1023", "vm")
        self.refused(ERROR, "vcpu.0.cpuset=1023", "-o", "vcpu.0.cpuset=1023", "vm")

    def test_pci_devices(self):
        self.refused(ERROR, "-s 32,lpc|slot 0-31", "-s", "32,lpc", "vm")
        self.refused(ERROR, "0:8|function 0-7", "-s", "0:8,lpc", "vm")
        self.refused(ERROR, "1:2:3:4", "-s", "1:2:3:4,lpc", "vm")
        self.refused(ERROR, "-s 3|slot,emulation", "-s", "3", "vm")
        self.refused(ERROR, "'vortex'|-s help", "-s", "3,vortex", "vm")
        self.refused(ERROR, "sgmem|path=FILE", "-s", "3,sgmem", "vm")
        for option in ("msi=3", "msi=64", "msi=x", "msix=2049", "window=5K", "window=2K", "window=128G",
                       "rom=maybe"):
            self.refused(ERROR, option.split("=")[0], "-s", f"3,pci-testdev,{option}", "vm")
        self.refused(ERROR, "pieces=1+2|OFFSET", "-s", "3,sgmem,path=/dev/null,pieces=1+2", "vm")
        self.refused(ERROR, "slot 3|already taken", "-s", "3,hostbridge", "-s", "3,lpc", "vm")
        self.refused(ERROR, "lpc|one", "-s", "3,lpc", "-s", "4,lpc", "vm")
        for device in ("virtio-blk,/disk", "e1000,tap0", "fbuf", "nvme,/disk", "passthru,ppt0"):
            self.refused(ERROR, device.split(",")[0] + "|not in this build", "-s", "3," + device,
                         "vm")

    def test_lpc_devices(self):
        lpc = ("-s", "31,lpc")
        self.refused(ERROR, "'com5'|'com1'", *lpc, "-l", "com5,stdio", "vm")
        self.refused(ERROR, "-l com1|value", *lpc, "-l", "com1", "vm")
        self.refused(ERROR, "-l com1|lpc", "-l", "com1,stdio", "vm")
        self.refused(ERROR, "-l com1,tcp=5000|ADDRESS:PORT", *lpc, "-l", "com1,tcp=5000", "vm")
        self.refused(ERROR, "-l pc-testdev|lpc", "-l", "pc-testdev", "vm")
        self.refused(ERROR, "-l fwcfg,x|qemu", *lpc, "-l", "fwcfg,x", "vm")
        self.refused(ERROR, "-f opt/a,b=c|string=TEXT", *lpc, "-f", "opt/a,b=c", "vm")
        self.refused(ERROR, "-f opt/a|-l fwcfg,qemu", *lpc, "-f", "opt/a,string=c", "vm")
        self.refused(ERROR, "-l com2,stdio|another", *lpc, "-l", "com1,stdio", "-l", "com2,stdio",
                     "vm")
        self.refused(ERROR, "bootrom /rom|No such file", *lpc, "-l", "bootrom,/rom", "vm")
        kernel = self.kernel(SPIN)
        self.refused(ERROR, "-l com1,/dev/null", *lpc, "-l", "com1,/dev/null", "--kernel", kernel,
                     "vm")
        self.refused(ERROR, "-l com1,/dev/absent", *lpc, "-l", "com1,/dev/absent", "--kernel",
                     kernel, "vm")

    def test_variables(self):
        self.refused(ERROR, "-o cpus|var=value", "-o", "cpus", "vm")
        self.refused(ERROR, "engine=kvm|soft", "-o", "engine=kvm", "vm")
        self.refused(ERROR, "engine=fast|auto, soft, kvm", "-o", "engine=fast", "vm")
        self.refused(ERROR, "cpu.hypervisor=xen", "-o", "cpu.hypervisor=xen", "vm")
        self.refused(ERROR, "cpu.executor=jit", "-o", "cpu.executor=jit", "vm")
        self.refused(ERROR, "cpu.code_cache|1M", "-o", "cpu.code_cache=4K", "vm")
        self.refused(ERROR, "x86.strictio=maybe|true or false", "-o", "x86.strictio=maybe", "vm")
        self.refused(ERROR, "%(nobody)", "-o", "boot.kernel=%(nobody)", "vm")
        self.refused(ERROR, "pentium", "-o", "cpu.model=pentium", "--kernel", self.kernel(SPIN),
                     "vm")
        self.refused(ERROR, "frobnication", "-o", "cpu.features=+frobnication", "--kernel",
                     self.kernel(SPIN), "vm")
        self.refused(ERROR, "uuid=x", "-U", "x", "--kernel", self.kernel(SPIN), "vm")

    def test_configuration_file(self):
        self.refused(ERROR, "absent.conf", "-k", "absent.conf", "vm")
        self.refused(ERROR, "bad.conf|line 2", "-k", self.file("bad.conf", b"cpus=1\nword\n"), "vm")

    def test_kernel(self):
        whole = bzimage(SPIN)
        self.refused(ERROR, "--kernel", "vm")
        self.refused(ERROR, "absent", "--kernel", "absent", "vm")
        self.refused(ERROR, "kernel|" + str(self.dir), "--kernel", self.dir, "vm")
        for name, data in (("empty", b""), ("short", whole[:0x210]), ("cut", whole[:-1024]),
                           ("header", whole[:0x400]), ("text", b"hello\n" * 1000),
                           ("elf", b"\x7fELF" + bytes(1000))):
            self.refused(ERROR, "kernel|" + name, "--kernel", self.file(name, data), "vm")
        self.refused(ERROR, "kernel", "-m", "16M", "--kernel",
                     self.kernel(SPIN, init_size=64 << 20), "vm")

    def test_initrd_and_command_line(self):
        kernel = self.kernel(SPIN)
        self.refused(ERROR, "initrd|absent", "--kernel", kernel, "--initrd", "absent", "vm")
        big = self.file("big", b"")
        with open(big, "r+b") as f:
            f.truncate(128 << 20)
        self.refused(ERROR, "initrd|big", "-m", "64M", "--kernel", kernel, "--initrd", big, "vm")
        close = self.file("close", b"")
        with open(close, "r+b") as f:
            f.truncate(60 << 20)
        self.refused(ERROR, "initrd|close", "-m", "64M", "--kernel", kernel, "--initrd", close, "vm")
        self.refused(ERROR, "command line", "--kernel", kernel, "--append", "x" * 4000, "vm")

    def test_run_directory(self):
        (self.dir / "file").write_text("")
        self.env["BHYVE_RUNDIR"] = str(self.dir / "file")
        self.refused(ERROR, "file", "--kernel", self.kernel(SPIN), "vm")
        (self.dir / "open").mkdir()
        (self.dir / "open").chmod(0o777)
        self.env["BHYVE_RUNDIR"] = str(self.dir / "open")
        self.refused(ERROR, "open|only you", "--kernel", self.kernel(SPIN), "vm")

    def test_bhyvectl(self):
        def ctl(status, words, *args):
            self.refused(status, words, *args, tool="bhyvectl")

        ctl(1, "--vm=NAME", "--destroy")
        ctl(1, "--frobnicate", "--vm=x", "--frobnicate")
        ctl(1, "word", "--vm=x", "word")
        ctl(1, "VM name", "--vm=../x", "--destroy")
        ctl(1, "--cpu=-2", "--vm=x", "--cpu=-2", "--get-all")
        ctl(1, "--assert-lapic-lvt=7", "--vm=x", "--assert-lapic-lvt=7")
        ctl(2, "'x' does not exist|errno = 2", "--vm=x", "--destroy")
        ctl(2, "'x' does not exist|errno = 2", "--vm=x", "--get-all")


if __name__ == "__main__":
    unittest.main()
