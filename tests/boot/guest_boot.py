"""Boots a Linux kernel with bhyve and judges what it printed and how bhyve ended.

Used by boot_test.py (one case, for CTest) and by scripts/soak (many).
"""

import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field

NMI_MARKER = re.compile(r"^BOOT-NMI before=(.*) after=(.*)$", re.M)
MARKER = re.compile(r"^BOOT-OK cpus=(\d+) clocksource=(\S+) x2apic=(\S+) uptime=(\S+)", re.M)
MEMORY = re.compile(r"Memory: \d+K/(\d+)K available")
SHELL_PROMPT = re.compile(rb"[#$] (\x1b\[6n)?$")  # busybox may ask where the cursor is

# What a sound machine never makes Linux say. "DEBUG:" is none of them.
COMPLAINTS = (
    re.compile(r"\bWARNING:"),
    re.compile(r"\bBUG:"),
    re.compile(r"unhandled", re.I),
    re.compile(r"spurious", re.I),
    # Of the tables and of PCI:
    re.compile(r"ACPI (BIOS )?(Error|Warning|Exception)|\[Firmware (Bug|Warn|Info)\]"),
    re.compile(r"can't claim|failed to assign|no compatible bridge window|address conflict"),
    re.compile(r"\bOops\b|Call Trace:|Kernel panic|detected stalls"),
)

REBOOT, POWEROFF, HALT = 0, 1, 2  # bhyve's exit statuses


@dataclass(frozen=True)
class Case:
    """One boot: what bhyve is given and what must come out."""

    name: str
    cpus: int = 1
    action: str = "poweroff"  # what scripts/initramfs-init does, or "shell"
    append: str = ""  # more for the kernel command line
    options: tuple = ()  # more for bhyve
    status: int = POWEROFF
    guest_cpus: tuple = ()  # numbers of CPUs that Linux may use; () means all
    clocksource_not: str = ""
    clocksource: str = ""
    x2apic: str = ""
    program: str = ""  # instead of bhyve, relative to its folder
    image: str = ""  # kernel of BHYVE_TEST_IMAGES, instead of the cloud kernel
    memory: int = 0  # megabytes that Linux must have found


# The command lines of Linux that choose another interrupt controller, clock or mode. With noapic Linux
# may or may not use its other CPUs, depending on the tables it believes.
MATRIX = (
    Case("noapic", cpus=2, append="noapic", guest_cpus=(1, 2)),
    Case("nolapic", cpus=2, append="nolapic", guest_cpus=(1,)),
    Case("nosmp", cpus=2, append="nosmp", guest_cpus=(1,)),
    Case("nox2apic", cpus=2, append="nox2apic", x2apic="no"),
    Case("hypervisor-kvm", cpus=2, options=("-o", "cpu.hypervisor=kvm"), x2apic="yes"),
    # Every block by both executors. On a busy host a minute of it is a second or two for the guest, whose
    # watchdogs are not meant for that.
    Case("check", cpus=1, append="nowatchdog rcupdate.rcu_cpu_stall_timeout=300",
         options=("-o", "cpu.executor=check")),
    Case("check-2", cpus=2, append="nowatchdog rcupdate.rcu_cpu_stall_timeout=300",
         options=("-o", "cpu.executor=check")),
    Case("hpet-disable", cpus=2, append="hpet=disable", clocksource_not="hpet"),
    # Nested paging: emulated flags, no large pages, less host memory than Linux needs to boot.
    Case("ept-emulated", cpus=2, options=("-o", "memory.ept_ad=emulated")),
    Case("ept-oldest", cpus=2, options=("-o", "memory.ept_ad=emulated", "-o",
                                        "memory.ept_exec_only=false", "-o",
                                        "memory.ept_superpages=false")),
    Case("paged", cpus=2, options=("-o", "memory.resident=48M")),
    Case("paged-emulated", cpus=2, options=("-o", "memory.resident=48M", "-o",
                                            "memory.ept_ad=emulated")),
    # The hole for devices elsewhere than at 3 GB.
    Case("lowmem-low", options=("-m", "1G", "-o", "memory.lowmem_limit=128M"), memory=1024),
    Case("lowmem-high", options=("-m", "4G", "-o", "memory.lowmem_limit=3328M"), memory=4096),
    Case("notsc", cpus=2, append="notsc", clocksource_not="tsc"),
)

# Devices with BARs of every kind and interrupts; and the MP table instead of ACPI, or neither. (Debian's cloud
# kernel reads no MP table.)
PLATFORM = (
    Case("pci", cpus=2, options=("-l", "pc-testdev", "-s", "4,pci-testdev", "-s", "5:0,pci-testdev,window=1G",
                                 "-s", "5:3,pci-testdev,msi=0", "-s", "5:7,pci-testdev,rom=false")),
    Case("mptable", cpus=2, image="vmlinuz-standard", append="acpi=off", action="reboot", status=REBOOT,
         options=("-s", "4,pci-testdev", "-s", "5:2,pci-testdev")),
    Case("no-mptable", cpus=2, image="vmlinuz-standard", append="acpi=off", action="reboot", status=REBOOT,
         options=("-Y",), guest_cpus=(1,)),
)

# Debian's other kernels, from the folder of scripts/get-images.
KERNELS = (Case("kernel-standard", cpus=2, image="vmlinuz-standard"),
           Case("kernel-rt", cpus=2, image="vmlinuz-rt"))

COUNTS = tuple(Case(f"poweroff-{n}", cpus=n) for n in (1, 2, 4, 16, 64))

ENDS = (
    Case("reboot", cpus=2, action="reboot", status=REBOOT),
    Case("halt", cpus=2, action="halt", status=HALT),
    Case("panic", cpus=2, action="panic", append="panic=1", status=REBOOT),
    Case("idle", cpus=2, action="idle"),
    Case("shell", cpus=1, action="shell"),
    # Linux leaves LINT1 of all CPUs but the first masked unless it is told otherwise.
    Case("nmi", cpus=2, action="nmi", append="apic_extnmi=all"),
)

def checksum_case(name, memory, resident, checksum, *options):
    """The guest checks its memory, several times what may stay in the host's, while the dirty log is taken
    and mappings are changed from outside. A vCPU stands still while its page is on its way from a disk that
    others may keep busy: Linux is to have the patience for that."""
    return Case(name, cpus=2, action="checksum",
                append=f"checksum={checksum} watchdog_thresh=60 rcupdate.rcu_cpu_stall_timeout=120",
                program="../tests/bhyve_pestered",
                options=("-m", memory, "-o", f"memory.resident={resident}", *options))


# MiB, processes, passes. scripts/soak --paging N runs the big ones again and again.
CHECKSUMS = (
    checksum_case("checksum", "2G", "256M", "1024,2,2"),
    checksum_case("checksum-emulated", "2G", "256M", "1024,2,2", "-o", "memory.ept_ad=emulated"),
    checksum_case("checksum-small", "512M", "64M", "192,2,3"),
    checksum_case("checksum-small-emulated", "512M", "64M", "192,2,3", "-o", "memory.ept_ad=emulated"),
)

# Each row is one boot: number of CPUs, clocksource, cpu.hypervisor, and which of SWITCHES are given. Every
# pair of values of two columns is in some row (guest_boot_test.py checks it), but for clocksource=hpet
# with hpet=disable, which contradict each other. With one CPU, nolapic_timer and hpet=disable are never
# given together: Linux believes that the APIC timer will do, sets up no PIT, and has no timer at all.
SWITCHES = ("nox2apic", "nolapic_timer", "noapic", "lapic=notscdeadline", "hpet=disable",
            "no_timer_check")
PAIRWISE_ROWS = (
    (8, "", "bhyve", "011110"),
    (2, "", "kvm", "100001"),
    (1, "tsc", "bhyve", "000111"),
    (1, "hpet", "kvm", "111000"),
    (8, "acpi_pm", "kvm", "001011"),
    (2, "acpi_pm", "bhyve", "111100"),
    (8, "hpet", "bhyve", "010001"),
    (8, "tsc", "kvm", "100100"),
    (2, "tsc", "bhyve", "011010"),
    (1, "acpi_pm", "kvm", "100110"),
    (2, "hpet", "kvm", "000101"),
    (1, "", "kvm", "110000"),
)


def pairwise_case(number, row):
    cpus, clocksource, hypervisor, given = row
    words = [word for word, bit in zip(SWITCHES, given) if bit == "1"]
    x2apic = ""
    if "nox2apic" in words or "noapic" in words:
        x2apic = "no"
    elif hypervisor == "kvm":
        x2apic = "yes"
    if clocksource:
        words.append(f"clocksource={clocksource}")
    return Case(f"pairwise-{number:02}", cpus=cpus, append=" ".join(words),
                options=("-o", f"cpu.hypervisor={hypervisor}"), clocksource=clocksource, x2apic=x2apic,
                guest_cpus=tuple(range(1, cpus + 1)) if "noapic" in words else ())


PAIRWISE = tuple(pairwise_case(n, row) for n, row in enumerate(PAIRWISE_ROWS, 1))

CASES = {case.name: case for case in COUNTS + ENDS + MATRIX + PLATFORM + CHECKSUMS + PAIRWISE + KERNELS}

IDLE_SECONDS = 20  # what scripts/initramfs-init sleeps
IDLE_LIMIT = 0.01  # of a host core


@dataclass
class Outcome:
    """What happened; no failures means that the case passed."""

    log: str = ""
    failures: list = field(default_factory=list)
    seconds_to_user: float = 0.0
    idle_load: float = -1.0


def check_kernel(path):
    """One sentence that says why `path` cannot be tested, or None."""
    if not path:
        return (
            "no kernel to boot: set BHYVE_TEST_KERNEL to the path that scripts/get-kernel prints"
            " (scripts/test does so)"
        )
    if not os.path.isfile(path):
        return f"the kernel {path} does not exist: run scripts/get-kernel and set BHYVE_TEST_KERNEL"
    return None


def command_line(bhyve, kernel, initramfs, case, name):
    action = "demo" if case.action == "shell" else f"boottest={case.action}"
    append = f"console=ttyS0 {action} {case.append}".strip()
    program = os.path.join(os.path.dirname(bhyve), case.program) if case.program else bhyve
    return [program, "-c", str(case.cpus), "-m", "512M", "-D", "-s", "0,hostbridge", "-s", "31,lpc",
            "-l", "com1,stdio", *case.options, "--kernel", str(kernel), "--initrd", str(initramfs),
            "--append", append, name]


class Boot:
    """One run of bhyve with its own directory for VMs."""

    def __init__(self, bhyve, kernel, initramfs, case, timeout):
        self._case = case
        self._deadline = time.monotonic() + timeout
        self._timeout = timeout
        self._outcome = Outcome()
        self._raw = bytearray()
        self._command = command_line(bhyve, kernel, initramfs, case, "boottest")
        self._run_dir = tempfile.mkdtemp(prefix="bhyve-boot-")
        self._process = None
        self._idle_from = None
        self._nmis_sent = False

    def run(self):
        try:
            master = self._start()
            self._read(master)
            os.close(master)
            self._finish()
        finally:
            if self._process and self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            shutil.rmtree(self._run_dir, ignore_errors=True)
        return self._outcome

    def _start(self):
        """Starts bhyve on a terminal of its own, as a user would; returns the other end of it."""
        master, terminal = os.openpty()
        environment = dict(os.environ, BHYVE_RUNDIR=self._run_dir)
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            self._command, stdin=terminal, stdout=terminal, stderr=terminal, env=environment,
            start_new_session=True)
        os.close(terminal)
        return master

    def _read(self, master):
        """Reads the console until bhyve ends, and fails the case at the deadline."""
        while True:
            left = self._deadline - time.monotonic()
            if left <= 0:
                self._fail(f"still running after {self._timeout:.0f} s")
                return
            if not select.select([master], [], [], min(left, 1.0))[0]:
                if self._process.poll() is not None:
                    return
                continue
            try:
                chunk = os.read(master, 65536)
            except OSError:  # EIO: the last user of the terminal is gone
                chunk = b""
            if not chunk:
                return
            self._raw += chunk
            self._react(master)

    def _react(self, master):
        """Takes times at the lines of the init script, and types what the case wants typed."""
        outcome = self._outcome
        if outcome.seconds_to_user == 0 and (b"BOOT-OK" in self._raw or b" on bhyve, " in self._raw):
            outcome.seconds_to_user = time.monotonic() - self._started
        if self._idle_from is None and b"BOOT-IDLE" in self._raw:
            self._idle_from = (time.monotonic(), self._cpu_seconds())
        if self._idle_from and outcome.idle_load < 0 and b"BOOT-BUSY" in self._raw:
            began, used = self._idle_from
            outcome.idle_load = (self._cpu_seconds() - used) / (time.monotonic() - began)
        if not self._nmis_sent and b"BOOT-NMI-READY" in self._raw:
            self._nmis_sent = True
            taken = self._nmis_taken()
            self._bhyvectl("--assert-lapic-lvt=1", "--cpu=-1")
            # One that comes before the last was taken is the same one.
            while self._nmis_taken() == taken and time.monotonic() < self._deadline:
                time.sleep(0.02)
            self._bhyvectl("--inject-nmi", "--cpu=1")
        if self._case.action == "shell" and SHELL_PROMPT.search(self._raw):
            typed = b"poweroff -f\r" if b"\nsum=42" in self._raw else b"echo sum=$((40+2))\r"
            os.write(master, typed)
            self._raw += b"\n"

    def _bhyvectl(self, *arguments):
        program = pathlib.Path(self._command[0]).with_name("bhyvectl")
        done = subprocess.run([program, "--vm=boottest", *arguments], capture_output=True, text=True,
                              env=dict(os.environ, BHYVE_RUNDIR=self._run_dir), check=False)
        if done.returncode:
            self._fail(f"bhyvectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _nmis_taken(self):
        """How many CPU 1 has taken so far."""
        row = re.search(r"^soft: NMIs delivered\s+(\d+)", self._bhyvectl("--cpu=1", "--get-stats"), re.M)
        return int(row[1]) if row else -1

    def _cpu_seconds(self):
        stat = pathlib.Path(f"/proc/{self._process.pid}/stat").read_text(encoding="ascii")
        ticks = stat.rpartition(")")[2].split()[11:13]  # utime, stime
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def _finish(self):
        self._outcome.log = self._raw.decode("utf-8", "replace").replace("\r", "")
        try:
            status = self._process.wait(max(5.0, self._deadline - time.monotonic())
                                        if not self._outcome.failures else 0)
        except subprocess.TimeoutExpired:
            if not self._outcome.failures:
                self._fail("closed its terminal but did not end")
            return
        if status < 0:
            self._fail(f"bhyve died of {signal.Signals(-status).name}")
        elif status != self._case.status:
            self._fail(f"exit status {status}, expected {self._case.status}")
        if status == POWEROFF and os.listdir(self._run_dir):
            self._fail(f"left behind: {', '.join(os.listdir(self._run_dir))}")
        self._judge_log()

    def _judge_log(self):
        log = self._outcome.log
        if self._case.action == "shell":
            if "\nsum=42" not in log:
                self._fail("the shell did not answer")
        else:
            self._judge_marker(MARKER.search(log))
        if self._case.action == "checksum" and "\nCHECKSUM-OK" not in log:
            self._fail("the guest's memory is wrong")
        if self._case.action == "nmi":
            self._judge_nmis(NMI_MARKER.search(log))
        if self._case.action == "panic":
            log = log.partition("BOOT-OK")[0]
        for line in log.splitlines():
            if any(pattern.search(line) for pattern in COMPLAINTS):
                self._fail(f"Linux said: {line.strip()}")
        if self._case.action == "idle" and not 0 <= self._outcome.idle_load < IDLE_LIMIT:
            self._fail(f"the idle guest used {100 * self._outcome.idle_load:.2f} % of a core")

    def _judge_nmis(self, marker):
        """LINT1 of every CPU was fired once, and CPU 1 was sent one NMI more."""
        if not marker:
            self._fail("no BOOT-NMI line")
            return
        before, after = (list(map(int, counts.split())) for counts in marker.groups())
        gained = [b - a for a, b in zip(before, after)]
        wanted = [2 if cpu == 1 else 1 for cpu in range(self._case.cpus)]
        if gained != wanted:
            self._fail(f"NMIs of each CPU: {gained}, expected {wanted}")

    def _judge_marker(self, marker):
        if not marker:
            self._fail("no BOOT-OK line")
            return
        case = self._case
        allowed = case.guest_cpus or (case.cpus,)
        if int(marker[1]) not in allowed:
            self._fail(f"Linux uses {marker[1]} CPUs, expected {' or '.join(map(str, allowed))}")
        if case.clocksource and marker[2] != case.clocksource:
            self._fail(f"clocksource {marker[2]}, expected {case.clocksource}")
        if marker[2] == case.clocksource_not:
            self._fail(f"clocksource {marker[2]}")
        if case.memory:
            self._judge_memory()
        if case.x2apic and marker[3] != case.x2apic:
            self._fail(f"x2apic={marker[3]}, expected {case.x2apic}")

    def _judge_memory(self):
        """All but the holes below 1 MB must be RAM."""
        found = MEMORY.search(self._outcome.log)
        if not found or int(found[1]) < (self._case.memory << 10) - 1024:
            self._fail(f"Linux found {found[1] if found else 'no'} KB, expected {self._case.memory} MB")

    def _fail(self, sentence):
        self._outcome.failures.append(sentence)


def boot(bhyve, kernel, initramfs, case, timeout):
    """Runs `case`; bhyve is ended by force after `timeout` seconds."""
    return Boot(bhyve, kernel, initramfs, case, timeout).run()
