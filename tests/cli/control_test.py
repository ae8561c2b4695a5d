"""bhyvectl on running and on stopped VMs, pinning, and the examples of the library."""

import json
import os
import pathlib
import socket
import struct
import subprocess
import threading
import unittest

from cli_case import (BIN, CONSOLE, INT3, POWER_OFF, RESET, SANITIZED, SPIN, TRIPLE_FAULT, USER_SPIN, CliCase,
                      out8, say)

EXAMPLES = pathlib.Path(os.environ["BHYVE_EXAMPLES"])


class Control(CliCase):
    def start_guest(self, *args, code=SPIN):
        process = self.start("bhyve", *args, *CONSOLE, "--kernel",
                             self.kernel(say("hello\n") + code), "vm")
        self.assertEqual(process.stdout.readline(), "hello\n")
        return process

    def ctl(self, *args, status=0):
        result = self.call("bhyvectl", "--vm=vm", *args)
        self.assertEqual(result.returncode, status, result.stderr)
        return result.stdout if status == 0 else result.stderr

    def get(self, *args):
        return json.loads(self.ctl("--json", *args))

    def test_setters_come_before_getters(self):
        self.start_guest()
        self.assertEqual(self.get("--get-rbx", "--set-rax=0x12", "--get-rax")["rax"],
                         "0x0000000000000012")
        self.assertIn("rax[0]\t\t0x0000000000000012\n", self.ctl("--get-rax"))
        self.assertIn("cr0", self.ctl("--set-cr0=0x100000", status=22))
        desc = self.get("--set-desc-gs", "--desc-base=0x5000", "--desc-limit=0xffff",
                        "--desc-access=0x93", "--get-desc-gs")["desc-gs"]
        self.assertEqual((desc["base"], desc["access"]),
                         ("0x0000000000005000", "0x0000000000000093"))

    def test_capabilities(self):
        self.start_guest("-c", "2", "-P")
        for cpu in (0, 1):
            text = self.ctl(f"--cpu={cpu}", "--capname=pause_exit", "--getcap")
            self.assertEqual(text, f'Capability "pause_exit" is set on vcpu {cpu}\n')
        self.ctl("--capname=enable_invpcid", "--setcap=0")
        self.assertEqual(self.get("--capname=enable_invpcid", "--getcap")["capability"]["value"],
                         False)
        for name in ("hlt_exit", "mtrap_exit", "pause_exit", "unrestricted_guest", "enable_invpcid",
                     "bpt_exit", "rdpid", "rdtscp", "ipi_exit", "mask_hwintr", "rflags_tf"):
            for value in (1, 0) if name != "unrestricted_guest" else ():
                self.ctl("--cpu=1", f"--capname={name}", f"--setcap={value}")
                self.assertIs(self.get("--cpu=1", f"--capname={name}", "--getcap")
                              ["capability"]["value"], bool(value), name)
        self.ctl("--capname=no_such", "--getcap", status=1)
        self.ctl("--setcap=1", status=1)

    def test_breakpoint_without_a_debugger_is_the_guests(self):
        process = self.start_guest(code=SPIN + INT3)
        rip = int(self.get("--get-rip")["rip"], 16)
        self.ctl("--capname=bpt_exit", "--setcap=1")
        self.ctl(f"--set-rip={rip + len(SPIN):#x}")  # its IDT is empty
        self.assertEqual(process.wait(timeout=30), 3)

    def host_cpus(self, process, thread):
        for task in pathlib.Path(f"/proc/{process.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == thread:
                return os.sched_getaffinity(int(task.name))
        self.fail(f"no thread {thread}")

    def test_pinning_is_the_threads_affinity(self):
        first, *_, last = sorted(os.sched_getaffinity(0))
        process = self.start_guest("-p", f"0:{first}")
        self.assertEqual(self.host_cpus(process, "vcpu 0"), {first})
        self.assertEqual(self.get("--get-pinning")["pinning"], [first])
        self.ctl(f"--set-pinning={last}")
        self.assertEqual(self.host_cpus(process, "vcpu 0"), {last})
        self.assertIn(f"pinning[0]\t\t{last}\n", self.ctl("--get-pinning"))
        self.ctl("--set-pinning=any")
        self.assertEqual(self.host_cpus(process, "vcpu 0"), os.sched_getaffinity(0))
        self.ctl("--set-pinning=1023", status=22)
        names = {(t / "comm").read_text().strip()
                 for t in pathlib.Path(f"/proc/{process.pid}/task").iterdir()}
        self.assertLessEqual({"vcpu 0", "events", "control", "callout"}, names)

    def test_pinning_outlasts_user_code_that_runs_directly(self):
        process = self.start_guest("-m", "64M", "-o", "cpu.direct=always", code=USER_SPIN)
        for _ in range(10):
            held = self.host_cpus(process, "vcpu 0")  # on one CPU, where its process is, most of the time
            cpu = min(held)
            self.ctl(f"--set-pinning={cpu}")
            self.ctl("--suspend-cpu")  # lets go
            self.assertEqual(self.host_cpus(process, "vcpu 0"), {cpu})
            self.ctl("--set-pinning=any")
            self.assertEqual(self.host_cpus(process, "vcpu 0"), os.sched_getaffinity(0))
            self.ctl("--resume-cpu", "--cpu=-1")

    def test_pinned_vcpu_does_not_migrate(self):
        cpu = min(os.sched_getaffinity(0))
        self.start_guest("-p", f"0:{cpu}")
        text = "vcpu migration across host cpus"
        before = self.get("--get-stats")["stats"][text]
        for _ in range(20):
            self.ctl("--get-rip")
        self.assertEqual(self.get("--get-stats")["stats"][text], before)

    def test_suspend_and_resume_a_vcpu(self):
        self.start_guest()
        self.ctl("--suspend-cpu")
        self.assertEqual(self.get("--get-debug-cpus")["debug-cpus"], [0])
        self.ctl("--resume-cpu", "--cpu=-1")
        self.assertEqual(self.ctl("--get-debug-cpus"), "debug cpus:\t(none)\n")

    def test_rtc(self):
        self.start_guest()
        self.ctl("--set-rtc-time=86400")
        self.assertIn("Fri Jan 02 00:00", self.ctl("--get-rtc-time"))
        self.ctl("--rtc-nvram-offset=0x40", "--set-rtc-nvram=0x5a")
        self.assertEqual(self.get("--rtc-nvram-offset=0x40", "--get-rtc-nvram")["rtc-nvram"], 0x5a)
        self.ctl("--rtc-nvram-offset=2", "--set-rtc-nvram=1", status=22)

    def test_stopped_vm_tells_how_it_ended(self):
        process = self.start_guest(code=TRIPLE_FAULT)
        self.assertEqual(process.wait(timeout=30), 3)
        rip = int(self.get("--get-rip")["rip"], 16)
        self.assertGreater(rip, 0x1000000)
        self.assertEqual(self.get("--get-info")["info"]["state"], "stopped")
        self.assertIn("sysmem", self.ctl("--get-memmap"))

    def test_stopped_vm_is_set_and_run_once(self):
        self.assertEqual(self.call("bhyvectl", "--vm=vm", "--create", "--set-mem=15").returncode, 0)
        self.assertEqual(self.get("--get-lowmem")["lowmem"], "0x0000000001000000")
        self.ctl("--set-rip=0x1234", "--set-rbx=1", status=1)  # rbx has no setter
        self.ctl("--set-rip=0x1234", "--set-cr0=0x21")
        self.assertEqual(self.get("--get-rip")["rip"], "0x0000000000001234")
        # No memory there: it reads as ones, which are no instruction, and the IDT is empty.
        end = self.get("--run")["exit"]
        self.assertEqual((end["reason"], end["how"]), ("SUSPENDED", 3 + 1))

    def test_list_and_watch(self):
        self.start_guest("-m", "64M")
        row = json.loads(self.call("bhyvectl", "--list", "--json").stdout)["vms"][0]
        self.assertEqual((row["state"], row["info"]["memory"]), ("running", 64 << 20))
        self.assertGreater(row["info"]["uptime"], 0)
        watching = self.start("bhyvectl", "--list", "--json", "--watch=0.05")
        for _ in range(3):
            self.assertEqual(json.loads(watching.stdout.readline())["vms"][0]["name"], "vm")

    def test_several_clients_while_the_guest_runs_hard(self):
        self.start_guest("-c", "2")
        failures = []

        def client():
            with socket.socket(socket.AF_UNIX) as control:
                control.connect(str(self.run_dir / "vm" / "control"))
                stream = control.makefile("rw")
                for i in range(50):
                    command = ("get-stats", "get-registers", "get-events", "get-cpus")[i % 4]
                    stream.write(json.dumps({"command": command, "cpu": i % 2}) + "\n")
                    stream.flush()
                    if not json.loads(stream.readline())["ok"]:
                        failures.append(command)

        threads = [threading.Thread(target=client) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(failures, [])

    def test_socket_is_for_its_owner(self):
        if os.getuid() != 0:
            self.skipTest("needs root, to be somebody else")
        self.start_guest()
        control = self.run_dir / "vm" / "control"
        ask = ("import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
               "s.sendall(b'{\"command\":\"get-info\"}\\n'); print(s.recv(100))")

        def as_nobody():
            try:
                return subprocess.run(["python3", "-c", ask, str(control)], user=65534, group=65534,
                                      extra_groups=[], cwd="/", text=True, capture_output=True,
                                      timeout=60).stdout
            except PermissionError:
                self.skipTest("nobody may not run Python here")

        self.assertEqual(as_nobody(), "")  # the folders are closed
        for path in (self.dir, self.run_dir, self.run_dir / "vm", control):
            path.chmod(0o777)
        self.assertIn(as_nobody(), ("", "b''\n"))  # and who gets in is turned away
        for path in (self.run_dir, self.run_dir / "vm"):
            path.chmod(0o700)
        self.assertEqual(self.get("--get-info")["info"]["state"], "running")

    def test_watch_refreshes_a_table(self):
        self.start_guest("-c", "2", "-m", "64M")
        watching = self.start("bhyvectl", "--list", "--watch=0.05")
        rows = []
        while len(rows) < 3:
            line = watching.stdout.readline()
            self.assertNotEqual(line, "")
            if " running " in f"{line} ":
                rows.append(line.split())
        for row in rows:
            self.assertIn("vm", row[0])
            self.assertIn("64M", row)

    def test_rounds_of_a_life(self):
        """Load, run to a reset, run again, load anew, run to a power-off, destroy; scripts/soak --lives
        does it with Debian's kernel."""
        kernels = {code: self.kernel(say("hello\n") + code, name)
                   for code, name in ((RESET, "reset"), (POWER_OFF, "off"))}
        for _ in range(5 if SANITIZED else 100):
            for code, statuses in ((RESET, (0, 0)), (POWER_OFF, (1,))):
                loaded = self.call("bhyveload", "--kernel", kernels[code], "vm")
                self.assertEqual(loaded.returncode, 0, loaded.stderr)
                for status in statuses:
                    run = self.call("bhyve", *CONSOLE, "vm")
                    self.assertEqual((run.stdout, run.stderr, run.returncode),
                                     ("hello\n", "", status))
            self.ctl("--destroy")
            self.assertEqual(self.vms(), [])

    def test_examples_run(self):
        expected = {"run_guest": "hello\n", "steps": "out port 0x9a: 0x42\n3 steps, end: halt\n"}
        for example, output in expected.items():
            with self.subTest(example=example):
                result = subprocess.run([EXAMPLES / f"example_{example}"], env=self.env, text=True,
                                        capture_output=True, timeout=60)
                self.assertEqual((result.returncode, result.stdout, result.stderr), (0, output, ""))
                self.assertEqual(self.vms(), [])

    def test_example_traces_all_io_of_a_running_vm(self):
        # The post-code port, the PIC, which the vmm keeps to itself, and nobody's port; for ever.
        # mov edi,0xfee00020; mov eax,[rdi]: the local APIC.
        body = (out8(0x84, 0x12) + out8(0x21, 0xFF) + b"\x66\xba\x77\x07\xec" +
                b"\xbf\x20\x00\xe0\xfe\x8b\x07")
        jump = b"\xe9" + struct.pack("<i", -len(body) - 5)
        self.start_guest(code=body + jump)
        trace = subprocess.run([EXAMPLES / "example_trace_io", "vm", "400"], env=self.env, text=True,
                               capture_output=True, timeout=60)
        self.assertEqual((trace.returncode, trace.stderr), (0, ""))
        lines = [line for line in trace.stdout.splitlines() if not line.endswith("missed")]
        self.assertEqual(len(lines), 400)
        self.assertEqual(set(lines), {"0 port write 0x84 1 bytes 0x12", "0 port write 0x21 1 bytes 0xff",
                                      "0 port read 0x777 1 bytes 0xff",
                                      "0 memory read 0xfee00020 4 bytes 0"})

    def test_example_ends_with_the_vm_it_traces(self):
        body = out8(0x84, 1)
        process = self.start_guest(code=body + b"\xeb" + struct.pack("<b", -len(body) - 2))
        tracing = subprocess.Popen([EXAMPLES / "example_trace_io", "vm"], env=self.env, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(tracing.communicate)
        self.addCleanup(tracing.kill)
        self.assertIn("port write 0x84", tracing.stdout.readline())  # it looks on
        self.ctl("--force-poweroff")
        self.assertEqual(tracing.communicate(timeout=30)[1], "")
        self.assertEqual(tracing.returncode, 0)
        self.assertEqual(process.wait(timeout=30), 1)

    def test_completion_knows_devices_and_vms(self):
        self.call("bhyvectl", "--vm=abc", "--create")
        script = pathlib.Path(__file__).parents[2] / "tools/completion/bhyve.bash"
        for call, word in (("_bhyve bhyve 3,host -s", "3,hostbridge"), ("_bhyve bhyve com -l", "com1"),
                           ("_bhyve bhyve ab x", "abc"), ("_bhyve bhyvectl --get-cr x", "--get-cpu-topology")):
            if word.startswith("--"):
                call = "_bhyve bhyvectl --get-cpu x"
            result = subprocess.run(["bash", "-c", f". {script}; {call}; printf '%s\\n' ${{COMPREPLY[@]}}"],
                                    env=dict(self.env, PATH=f"{BIN}:{os.environ['PATH']}"), text=True,
                                    capture_output=True, timeout=60)
            self.assertIn(word, result.stdout.split(), result.stderr)


if __name__ == "__main__":
    unittest.main()
