#!/usr/bin/python3
"""Each check of this folder finds what it is for, in trees made for that."""

import pathlib
import tempfile
import unittest

import docs_paths
import include_matrix
import source_rules


class ChecksTest(unittest.TestCase):
    def complaints(self, check, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = pathlib.Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            return list(check(pathlib.Path(folder)))

    def matrix(self, path, text):
        return self.complaints(include_matrix.check, {path: f'#include "{text}"\n'})

    def test_upward_includes_are_found(self):
        for path, text in (("src/base/a.hpp", "x86/b.hpp"), ("src/pmap/a.cpp", "mem/b.hpp"),
                           ("src/host/a.cpp", "bus/b.hpp"), ("src/dev/uart/a.cpp", "timer/b.hpp"),
                           ("src/engine/client.hpp", "engine/soft/cpu.hpp"),
                           ("src/engine/soft/a.cpp", "vmm/vm.hpp"),
                           ("src/vmm/a.cpp", "engine/soft/cpu.hpp"), ("src/vmm/a.cpp", "bhyve/vm.hpp"),
                           ("src/api/a.cpp", "vmm/vm.hpp"), ("tools/bhyve/a.cpp", "base/log.hpp"),
                           ("include/bhyve/a.hpp", "base/log.hpp"), ("src/new/a.cpp", "base/log.hpp")):
            self.assertEqual(len(self.matrix(path, text)), 1, (path, text))

    def test_allowed_includes_pass(self):
        for path, text in (("src/mem/a.cpp", "pmap/b.hpp"), ("src/dev/uart/a.cpp", "intc/pins.hpp"),
                           ("src/dev/uart/a.cpp", "dev/uart/a.hpp"), ("src/vmm/a.cpp", "x86/msr.hpp"),
                           ("src/machine/a.cpp", "engine/soft/soft.hpp"),
                           ("src/engine/soft/interp/a.cpp", "engine/engine.hpp"),
                           ("src/base/a.hpp", "bhyve/abi/error.hpp"), ("tools/bhyve/a.cpp", "a.hpp"),
                           ("src/api/a.cpp", "bhyve/vm.hpp")):
            self.assertEqual(self.matrix(path, text), [], (path, text))

    def test_only_the_open_header_of_a_narrow_neighbour_passes(self):
        self.assertEqual(self.matrix("src/timer/a.cpp", "intc/pins.hpp"), [])
        self.assertEqual(len(self.matrix("src/timer/a.cpp", "intc/vlapic.hpp")), 1)

    def test_include_beside_the_includer_is_found_in_src(self):
        self.assertEqual(len(self.matrix("src/mem/a.cpp", "b.hpp")), 1)

    def test_a_document_that_tells_another_matrix_is_found(self):
        rows = {name: " ".join(row) or "-" for name, row in include_matrix.MATRIX.items()}
        rows["host"] = "mem"
        text = "".join(f"    {name}: {row}\n" for name, row in rows.items())
        self.assertEqual(
            self.complaints(include_matrix.check_document, {"docs/architecture.md": text}),
            ["docs/architecture.md: the row of host is not that of tests/arch/include_matrix.py"])

    def test_own_header_comes_first(self):
        late = {"src/mem/a.hpp": "", "src/mem/a.cpp": '#include <array>\n#include "mem/a.hpp"\n'}
        self.assertEqual(len(self.complaints(source_rules.check, late)), 1)
        first = {"src/mem/a.hpp": "", "src/mem/a.cpp": '#include "mem/a.hpp"\n#include <array>\n'}
        self.assertEqual(self.complaints(source_rules.check, first), [])

    def test_a_family_member_includes_the_family(self):
        member = {"src/mem/a.hpp": "", "src/mem/a_b.cpp": '#include <array>\n#include "mem/a.hpp"\n'}
        self.assertEqual(self.complaints(source_rules.check, member), [])
        stranger = {"src/mem/a.hpp": "", "src/mem/ab.cpp": '#include "mem/a.hpp"\n'}
        self.assertEqual(len(self.complaints(source_rules.check, stranger)), 1)

    def test_a_long_file_is_found(self):
        for name in ("src/mem/a.hpp", "tests/unit/a_test.cpp", "scripts/tool", "tests/boot/a.py"):
            self.assertEqual(len(self.complaints(source_rules.check, {name: "\n" * 1001})), 1, name)
            self.assertEqual(self.complaints(source_rules.check, {name: "\n" * 1000}), [], name)

    def documents(self, text):
        files = {"README.md": text, "CHANGELOG.md": "", "docs/a.md": "", "src/mem/a.cpp": ""}
        return self.complaints(docs_paths.check, files)

    def test_a_dead_path_in_a_document_is_found(self):
        self.assertEqual(len(self.documents("see `src/mem/b.cpp`")), 1)
        self.assertEqual(len(self.documents("see `src/mem/{a,b}.cpp`")), 1)
        self.assertEqual(len(self.documents("see src/mem/b_*.cpp")), 1)

    def test_live_paths_in_a_document_pass(self):
        self.assertEqual(self.documents("`src/mem/a.cpp`, src/mem/, src/mem/*.cpp and docs/a.md."), [])

    def test_a_path_of_one_machine_is_found(self):
        for path in ("/wo" + "rk/x", "/ro" + "ot/x", "/home/" + "me/x", "../" + "shared"):
            self.assertEqual(len(self.documents(f"in {path} there")), 1, path)

    def test_a_missing_document_is_found(self):
        self.assertIn("CHANGELOG.md does not exist",
                      self.complaints(docs_paths.check, {"README.md": "", "docs/a.md": ""}))


if __name__ == "__main__":
    unittest.main()
