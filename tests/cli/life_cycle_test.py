"""The life of a VM: how runs end, what they leave, and control from outside while one runs."""

import json
import os
import pathlib
import signal
import socket
import time
import unittest

from cli_case import (CONSOLE, HALT, POWER_OFF, RESET, SANITIZED, SPIN, TRIPLE_FAULT, USER_SPIN,
                      CliCase, say)


class LifeCycle(CliCase):
    def run_guest(self, code, *args, name="vm"):
        kernel = self.kernel(say("hello\n") + code)
        return self.call("bhyve", *args, *CONSOLE, "--kernel", kernel, name)

    def start_guest(self, *args, name="vm", code=SPIN):
        """A guest that runs until it is stopped; returns once it has said that it runs."""
        process = self.start("bhyve", *args, *CONSOLE, "--kernel",
                             self.kernel(say("hello\n") + code), name)
        self.assertEqual(process.stdout.readline(), "hello\n")
        return process

    def ends(self, process, status):
        self.assertEqual(process.wait(timeout=30), status)

    def test_exit_statuses(self):
        for code, status in ((RESET, 0), (POWER_OFF, 1), (HALT, 2), (TRIPLE_FAULT, 3)):
            with self.subTest(status=status):
                result = self.run_guest(code)
                self.assertEqual(result.stderr, "")
                self.assertEqual(result.stdout, "hello\n")
                self.assertEqual(result.returncode, status)

    def test_vm_stays_until_it_is_destroyed(self):
        self.run_guest(RESET)
        self.run_guest(POWER_OFF)
        self.assertEqual(self.vms(), ["vm"])
        listed = json.loads(self.call("bhyvectl", "--list", "--json").stdout)
        self.assertEqual(listed["vms"], [{"name": "vm", "state": "stopped", "cpus": 1,
                                          "memory": "256M"}])
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--destroy").returncode, 0)
        self.assertEqual(self.vms(), [])

    def test_destroy_on_power_off_only(self):
        self.run_guest(RESET, "-D")
        self.assertEqual(self.vms(), ["vm"])
        self.run_guest(POWER_OFF, "-D")
        self.assertEqual(self.vms(), [])

    def test_strict_ports(self):
        unknown = b"\x66\xba\x34\x12\xee"  # OUT to port 1234h
        self.assertEqual(self.run_guest(unknown + POWER_OFF).returncode, 1)
        self.call("bhyvectl", "--vm=vm", "--destroy")
        result = self.run_guest(unknown + POWER_OFF, "-e")
        self.assertEqual(result.returncode, 4)
        self.assertIn("port 0x1234", result.stderr)
        self.assertEqual(self.vms(), [])

    def test_unknown_msr(self):
        read = b"\xb9\xef\xbe\xad\xde\x0f\x32"  # RDMSR of DEADBEEFh
        self.assertEqual(self.run_guest(read + POWER_OFF).returncode, 3)
        self.assertEqual(self.run_guest(read + POWER_OFF, "-w").returncode, 1)

    def test_name_in_use(self):
        process = self.start_guest()
        result = self.run_guest(RESET)
        self.assertEqual(result.returncode, 4)
        self.assertRegex(result.stderr, r"\Abhyve: VM 'vm' is in use[^\n]*\n\Z")
        self.assertIsNone(process.poll())
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_destroy_ends_a_running_vm(self):
        process = self.start_guest("-c", "2")
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--destroy").returncode, 0)
        self.ends(process, 1)
        self.assertEqual(self.vms(), [])

    def filters(self, process):
        """How many seccomp filters each thread of a process has, by the thread's name."""
        found = {}
        for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
            fields = dict(line.split(":", 1) for line in
                          (task / "status").read_text().splitlines() if ":" in line)
            found[fields["Name"].strip()] = int(fields["Seccomp_filters"])
        return found

    @unittest.skipIf(SANITIZED, "no filters beside a sanitizer")
    def test_every_thread_is_confined_while_the_guest_runs(self):
        process = self.start_guest()
        wanted = {"vcpu 0", "events", "callout", "control", "signals"}
        deadline = time.monotonic() + 60
        while True:  # a thread has its name and filters a moment after it exists
            found = self.filters(process)
            if wanted <= found.keys() and all(found.values()) or time.monotonic() > deadline:
                break
            time.sleep(0.01)
        self.assertLessEqual(wanted, found.keys())
        self.assertEqual([name for name, count in found.items() if count == 0], [])
        self.assertEqual(found["vcpu 0"], found["events"] + 1)  # its own on top of its maker's
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)
        self.assertEqual(self.vms(), [])

    @staticmethod
    def status(pid):
        """The fields of /proc/PID/status; none when there is no such process, or its end only."""
        try:
            lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            return {}
        fields = {key: value.strip() for key, value in (line.split(":", 1) for line in lines)}
        return {} if fields["State"][0] in "ZX" else fields

    @staticmethod
    def ticks(pid):
        """CPU time that a process has spent in user mode."""
        try:
            return int(pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11])
        except (FileNotFoundError, ProcessLookupError):
            return 0

    def user_processes(self, process):
        """Processes for user code that a bhyve has, by number: whether each is traced, and whether it computes."""
        found = {}
        for entry in pathlib.Path("/proc").iterdir():
            fields = self.status(entry.name) if entry.name.isdigit() else {}
            if fields.get("Name") == "guest user" and fields["PPid"] == str(process.pid):
                found[int(entry.name)] = (fields["TracerPid"] != "0", self.ticks(entry.name) >= 5)
        return found

    def wait_for(self, condition):
        deadline = time.monotonic() + 60
        while not (result := condition()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return result

    def start_user_code(self):
        """A guest whose user code runs directly: where it does, and all such processes; one sleeps untraced."""
        process = self.start_guest("-m", "64M", "-o", "cpu.direct=always", code=USER_SPIN)

        def found():
            every = self.user_processes(process)
            running = [pid for pid, (traced, computes) in every.items() if traced and computes]
            return (running[0], list(every)) if running else None

        processes = self.wait_for(found)
        self.assertTrue(processes)
        return process, *processes

    def ended(self, pids):
        return self.wait_for(lambda: not any(self.status(pid) for pid in pids))

    def test_no_process_for_user_code_is_left(self):
        for end in ("destroy", "kill"):
            with self.subTest(end=end):
                process, _, every = self.start_user_code()
                if end == "kill":
                    process.kill()
                    process.wait()
                self.assertEqual(self.call("bhyvectl", "--vm=vm", "--destroy").returncode, 0)
                self.ends(process, 1 if end == "destroy" else -signal.SIGKILL)
                self.assertTrue(self.ended(every))
                self.assertEqual(self.vms(), [])

    def test_processes_for_user_code_are_filtered(self):
        process, _, every = self.start_user_code()
        for pid in every:
            self.assertEqual(self.status(pid)["Seccomp"], "2")
            self.assertEqual(self.status(pid)["NoNewPrivs"], "1")
            self.assertEqual(len(os.listdir(f"/proc/{pid}/fd")), 2)
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_a_guest_goes_on_without_the_process_that_sleeps(self):
        process, running, _ = self.start_user_code()
        sleeping = [pid for pid, (traced, _) in self.user_processes(process).items() if not traced]
        self.assertEqual(len(sleeping), 1)
        os.kill(sleeping[0], signal.SIGKILL)
        self.assertTrue(self.ended(sleeping))
        self.assertTrue(self.status(running))
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--get-rip").returncode, 0)
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_killed_user_code_ends_the_vm(self):
        process, running, every = self.start_user_code()
        os.kill(running, signal.SIGKILL)
        self.ends(process, 4)
        self.assertRegex(process.stderr.read(), "the process of its user code is gone")
        self.assertTrue(self.ended(every))
        self.assertEqual(self.vms(), [])

    def test_without_direct_execution_there_is_no_such_process(self):
        process = self.start_guest("-m", "64M", "-o", "cpu.direct=off", code=USER_SPIN)
        self.assertEqual(self.user_processes(process), {})
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_without_confinement(self):
        process = self.start_guest("-o", "process.seccomp=false")
        self.assertEqual(set(self.filters(process).values()), {0})
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_host_without_memory_for_a_page(self):
        # Shrinking the file from outside takes the pages away, as limits of the host would.
        reads = b"\x48\x8b\x04\x25\x00\x00\x00\x05\xeb\xf6"  # 1: MOV RAX, [5000000h]; JMP 1b
        process = self.start_guest("-c", "2", code=reads)
        fds = pathlib.Path(f"/proc/{process.pid}/fd")
        memory = [fd for fd in fds.iterdir() if "memfd:guest-ram" in os.readlink(fd)]
        self.assertEqual(len(memory), 1)
        os.truncate(memory[0], 0)
        self.ends(process, 4)
        self.assertRegex(process.stderr.read(),
                         r"\Abhyve: the host has no memory for a page of the guest's[^\n]*\n\Z")
        self.assertEqual(self.vms(), [])

    def test_destroy_kills_a_stuck_bhyve(self):
        process = self.start_guest()
        process.send_signal(signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)  # all threads have stopped
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--destroy").returncode, 0)
        self.ends(process, -signal.SIGKILL)
        self.assertEqual(self.vms(), [])

    def test_crash_is_cleaned_up_by_the_next_command(self):
        process = self.start_guest()
        process.kill()
        process.wait()
        listed = json.loads(self.call("bhyvectl", "--list", "--json").stdout)
        self.assertEqual(listed["vms"][0]["state"], "crashed")
        # Its memory and registers are gone; what there is of it may be looked at.
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--get-all").returncode, 0)
        listed = json.loads(self.call("bhyvectl", "--list", "--json").stdout)
        self.assertEqual(listed["vms"][0]["state"], "crashed")
        self.assertEqual(self.run_guest(RESET).returncode, 0)
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--destroy").returncode, 0)
        self.assertEqual(self.vms(), [])

    def test_force(self):
        for option, status in (("--force-reset", 0), ("--force-poweroff", 1)):
            process = self.start_guest()
            self.assertEqual(self.call("bhyvectl", "--vm=vm", option).returncode, 0)
            self.ends(process, status)

    def test_sigterm_before_acpi_switches_off(self):
        process = self.start_guest()
        process.terminate()
        self.ends(process, 1)

    def test_getters(self):
        process = self.start_guest("-c", "2", "-m", "4G")
        text = self.call("bhyvectl", "--vm=vm", "--get-all").stdout
        self.assertIn("rip[0]\t\t0x0000000001000", text)
        self.assertIn("cpu_topology:\tsockets=2, cores=1, threads=1, maxcpus=2\n", text)
        self.assertIn("active cpus:\t0\n", text)
        self.assertIn("vcpu0 stats:\n", text)
        data = json.loads(self.call("bhyvectl", "--vm=vm", "--get-all", "--json").stdout)
        self.assertEqual(data["vcpu"]["registers"]["cr3"], "0x0000000000010000")
        self.assertGreater(data["stats"]["total number of vm exits"], 5)
        self.assertEqual([m["address"] for m in data["memmap"]],
                         ["0x0000000000000000", "0x0000000100000000"])
        bad = self.call("bhyvectl", "--vm=vm", "--cpu=2", "--get-stats")
        self.assertEqual((bad.returncode, bad.stderr),
                         (22, "bhyvectl: vCPU 2: expected 0 to 1 (errno = 22)\n"))
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_nested_page_tables_are_shown(self):
        process = self.start_guest("-m", "64M")
        segments = self.call("bhyvectl", "--vm=vm", "--get-memseg").stdout
        self.assertIn("0   \t4000000     \tsysmem\n", segments)
        rip = 0x1000000  # where the kernel was loaded
        entries = json.loads(self.call("bhyvectl", "--vm=vm", "--json",
                                       f"--get-gpa-pmap={rip:#x}").stdout)["gpa-pmap"]
        self.assertIn(len(entries), (3, 4))
        self.assertTrue(int(entries[-1], 16) & 1)
        nothing = self.call("bhyvectl", "--vm=vm", "--get-gpa-pmap=0x7fffffff0000").stdout
        self.assertEqual(nothing, "gpa 0x7fffffff0000: 0x0000000000000000\n")
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_paged_memory(self):
        """A guest may have more memory than is in host memory; the statistics tell."""
        process = self.start_guest("-m", "64M", "-o", "memory.resident=2M",
                                   "-o", "memory.ept_ad=emulated")
        stats = json.loads(self.call("bhyvectl", "--vm=vm", "--get-stats", "--json").stdout)["stats"]
        self.assertIn("Swapped memory", stats)
        self.assertIn("EPT dirty bit emulations", stats)
        self.assertLessEqual(stats["Resident memory"], 8 << 20)
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_translation_is_in_the_statistics(self):
        process = self.start_guest("-m", "64M")
        stats = json.loads(self.call("bhyvectl", "--vm=vm", "--get-stats", "--json").stdout)["stats"]
        for text in ("soft: nanoseconds spent translating", "soft: bytes of the code cache in use",
                     "soft: translated code left to look at events", "soft: code cache resets"):
            self.assertIn(text, stats)
        self.assertLess(stats["soft: bytes of the code cache in use"], 64 << 20)
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_sysctl_needs_no_vm(self):
        every = self.call("bhyvectl", "--sysctl")
        self.assertEqual(every.returncode, 0)
        for name in ("vm.pmap.invpcid_works", "vm.pmap.pde.promotions", "hw.vmm.ept.use_superpages"):
            self.assertIn(f"{name}: ", every.stdout)
        one = json.loads(self.call("bhyvectl", "--sysctl=vm.pmap.invpcid_works", "--json").stdout)
        works = int(" invpcid " in pathlib.Path("/proc/cpuinfo").read_text())
        self.assertEqual(one["sysctl"]["vm.pmap.invpcid_works"]["value"], works)
        bad = self.call("bhyvectl", "--sysctl=vm.pmap.nothing")
        self.assertEqual((bad.returncode, bad.stderr),
                         (2, "bhyvectl: --sysctl=vm.pmap.nothing: no such value (errno = 2)\n"))

    def test_nmi_reaches_the_guest(self):
        """With an empty IDT an NMI is a triple fault, also out of HLT with interrupts off."""
        process = self.start_guest()
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--inject-nmi").returncode, 0)
        self.ends(process, 3)
        process = self.start_guest()
        # LINT1 is NMI in virtual wire mode.
        self.assertEqual(
            self.call("bhyvectl", "--vm=vm", "--cpu=-1", "--assert-lapic-lvt=1").returncode, 0)
        self.ends(process, 3)

    def test_control_answers_fast_while_the_guest_spins(self):
        process = self.start_guest()
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self.run_dir / "vm" / "control"))
            control.settimeout(30)
            stream = control.makefile("rw")
            begin = time.monotonic()
            for _ in range(100):
                stream.write('{"command": "get-registers", "cpu": 0}\n')
                stream.flush()
                self.assertTrue(json.loads(stream.readline())["ok"])
            self.assertLess(time.monotonic() - begin, 20)
        self.call("bhyvectl", "--vm=vm", "--destroy")
        self.ends(process, 1)

    def test_longest_name(self):
        name = "n" * 229
        process = self.start_guest(name=name)
        self.assertEqual(self.call("bhyvectl", "--vm=" + name, "--get-stats").returncode, 0)
        self.assertEqual(self.call("bhyvectl", "--vm=" + name, "--destroy").returncode, 0)
        self.ends(process, 1)

    def test_foreign_file_survives_destroy(self):
        self.run_guest(RESET)
        letter = self.run_dir / "vm" / "letter"
        letter.write_text("mine")
        result = self.call("bhyvectl", "--vm=vm", "--destroy")
        self.assertEqual(result.returncode, 39)
        self.assertIn("'letter'", result.stderr)
        self.assertEqual(letter.read_text(), "mine")


if __name__ == "__main__":
    unittest.main()
