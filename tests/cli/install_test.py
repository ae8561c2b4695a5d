"""Installs into a folder of its own and builds programs against what is there."""

import os
import pathlib
import shutil
import subprocess
import unittest

import doc_examples
from cli_case import SANITIZED, CliCase

REPO = doc_examples.REPO
BUILD = pathlib.Path(os.environ["BHYVE_BIN"]).parent
OUTPUTS = {"run_guest": "hello\n", "steps": "out port 0x9a: 0x42\n3 steps, end: halt\n"}

PROJECT = """
cmake_minimum_required(VERSION 3.25)
project(user LANGUAGES C CXX)
find_package(vmmapi 0.1 REQUIRED)
foreach(example run_guest.cpp trace_io.cpp steps.c)
  cmake_path(GET example STEM name)
  add_executable(${name} %s/examples/${example})
  target_link_libraries(${name} PRIVATE bhyve::vmmapi)
endforeach()
target_compile_definitions(steps PRIVATE _GNU_SOURCE)
"""


@unittest.skipIf(SANITIZED, "programs would need the sanitizer's runtime")
class Install(CliCase):
    @classmethod
    def setUpClass(cls):
        cls.prefix = BUILD / "install-test"
        shutil.rmtree(cls.prefix, ignore_errors=True)
        cls.addClassCleanup(shutil.rmtree, cls.prefix, ignore_errors=True)
        result = subprocess.run(["cmake", "--install", str(BUILD), "--prefix", str(cls.prefix)],
                                capture_output=True, text=True, timeout=120, check=False)
        assert result.returncode == 0, result.stderr
        manifest = cls.prefix.rglob("*")
        cls.files = {str(path.relative_to(cls.prefix)) for path in manifest if not path.is_dir()}
        [config] = cls.prefix.rglob("vmmapi.pc")
        cls.pkg_config_dir = config.parent
        cls.lib_dir = config.parents[1]

    def sh(self, *command, **more):
        env = dict(self.env, PKG_CONFIG_PATH=str(self.pkg_config_dir),
                   LD_LIBRARY_PATH=str(self.lib_dir), **more)
        result = subprocess.run(command, env=env, cwd=self.dir, text=True, capture_output=True,
                                timeout=300, check=False)
        self.assertEqual(result.returncode, 0, f"{command}\n{result.stdout}{result.stderr}")
        return result.stdout

    def test_all_that_is_promised_is_there(self):
        for name in ("bin/bhyve", "bin/bhyveload", "bin/bhyvectl", "include/bhyve/vmmapi.h",
                     "include/bhyve/own_vm.hpp", "include/bhyve/compat/vmmapi.h",
                     "share/man/man8/bhyve.8", "share/man/man8/bhyveload.8",
                     "share/man/man8/bhyvectl.8", "share/man/man5/bhyve_config.5",
                     "share/man/man3/vmmapi.3", "share/bash-completion/completions/bhyvectl"):
            self.assertIn(name, self.files)
        for suffix in ("vmmapi.pc", "vmmapi-config.cmake", "libvmmapi.so"):
            self.assertTrue(any(name.endswith("/" + suffix) for name in self.files), suffix)

    def test_nothing_names_the_folder_of_the_build(self):
        for name in self.files:
            if name.endswith((".pc", ".cmake", ".h", ".hpp")):
                self.assertNotIn(str(REPO), (self.prefix / name).read_text(), name)

    def test_installed_tools_run(self):
        version = self.sh(str(self.prefix / "bin/bhyve"), "--version")
        self.assertEqual(version, self.sh(str(BUILD / "bin/bhyve"), "--version"))

    def test_headers_stand_alone(self):
        for name in sorted(self.files):
            if name.startswith("include/") and name.endswith((".h", ".hpp")):
                compiler = ["g++", "-std=c++20", "-xc++"] if name.endswith("pp") else ["cc", "-xc"]
                self.sh(*compiler, "-Wall", "-Werror", "-fsyntax-only", f"-I{self.prefix}/include",
                        f"-I{self.prefix}/include/bhyve/compat", "-include", str(self.prefix / name),
                        "/dev/null")

    def test_pkg_config(self):
        self.assertEqual(self.sh("pkg-config", "--modversion", "vmmapi").strip(),
                         self.sh(str(BUILD / "bin/bhyve"), "--version").split()[-1])
        for name in ("run_guest.cpp", "trace_io.cpp", "steps.c"):
            shutil.copy(REPO / "examples" / name, self.dir)
        # The example of vmmapi(3), then C++.
        block = doc_examples.man_blocks(REPO / "docs/man/vmmapi.3")
        [line] = [b for b in block if b.startswith("cc -D_GNU_SOURCE")]
        self.claim("vmmapi.3", "cc -D_GNU_SOURCE")
        self.sh("bash", "-euc", line)
        self.assertEqual(self.sh("./a.out"), OUTPUTS["steps"])
        for name in ("run_guest", "trace_io"):
            self.sh("bash", "-euc", f"g++ -std=c++20 -Wall -Werror -o {name} {name}.cpp"
                                    " $(pkg-config --cflags --libs vmmapi)")
        self.assertEqual(self.sh("./run_guest"), OUTPUTS["run_guest"])

    def claim(self, where, begin):
        self.assertTrue(any(page == where and block.startswith(begin)
                            for page, block in doc_examples.all_blocks()))

    def test_cmake_package(self):
        (self.dir / "CMakeLists.txt").write_text(PROJECT % REPO)
        self.sh("cmake", "-S", ".", "-B", "out", f"-DCMAKE_PREFIX_PATH={self.prefix}")
        self.sh("cmake", "--build", "out", "-j2")
        for name, output in OUTPUTS.items():
            self.assertEqual(self.sh(f"out/{name}"), output)

    def test_library_shows_only_its_interface(self):
        symbols = self.sh("nm", "-D", "--defined-only", "--with-symbol-versions",
                          str(self.lib_dir / "libvmmapi.so"))
        names = [line.split()[-1] for line in symbols.splitlines()]
        self.assertIn("vm_create@@VMMAPI_0200", names)
        inner = [n for n in names if "soft" in n or "4fmt3" in n or n.startswith("_ZN5bhyve3vmm")]
        self.assertEqual(inner, [])


if __name__ == "__main__":
    unittest.main()
