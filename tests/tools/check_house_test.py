"""Every rule of tools/check_house.py, broken once: a rule that cannot fail says nothing."""

import glob
import os
import re
import subprocess
import sys
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))

sys.dont_write_bytecode = True
import check_house  # noqa: E402


def found(rule, path, text, **how):
    return list(rule(path, text, **how))


class Arrows(unittest.TestCase):
    def test_upward_and_sideways_includes_are_breaches(self):
        for path, included in (("crypto/aead.h", "io/fd.h"), ("io/fd.h", "crypto/secret.h"), ("tun/tun_queue.cc", "src/pipeline/stats.h"),
                               ("src/protocol/peer.cc", "src/packet/ecn.h"), ("src/protocol/peer.cc", "io/fd.h"),
                               ("src/packet/ecn.h", "tun/vnet_header.h"), ("src/packet/ecn.h", "io/udp_side.h"),
                               ("src/pipeline/worker.cc", "src/device/device.h"), ("src/pipeline/worker.cc", "tun/tun_queue.h"),
                               ("src/pipeline/worker.cc", "io/udp_sockets.h"), ("src/pipeline/worker.cc", "src/log.h"),
                               ("src/device/device.cc", "src/uapi/server.h"), ("src/uapi/server.cc", "src/device/device.h"),
                               ("src/host/netlink.cc", "src/pipeline/stats.h"), ("src/log.h", "io/fd.h"),
                               ("src/device/device.cc", "src/daemon/main.h"), ("io/uring/ring.cc", "tun/tun_queue.h"),
                               ("src/device/device.cc", "tests/hex.h"), ("src/device/device.cc", "bench/report.h")):
            with self.subTest(path=path, included=included):
                self.assertTrue(found(check_house.arrows, path, f'#pragma once\n#include "{included}"\n'))
                self.assertTrue(found(check_house.arrows, path, f"  # include <{included}>\n"))

    def test_downward_includes_are_none(self):
        for path, included in (("crypto/aead.h", "crypto/secret.h"), ("io/uring/ring.cc", "io/fd.h"), ("tun/tun_queue.cc", "io/fd.h"),
                               ("src/protocol/peer.cc", "crypto/secret.h"), ("src/pipeline/worker.cc", "io/outer_side.h"),
                               ("src/device/device.cc", "src/log.h"), ("src/uapi/server.cc", "src/device/configurable.h"),
                               ("src/daemon/main.cc", "tun/tun_queue.h"), ("tests/hex.h", "src/daemon/environment.h"),
                               ("io/fd.h", "sys/socket.h"), ("io/ring.h", "boost/lockfree/spsc_queue.hpp")):
            with self.subTest(path=path, included=included):
                self.assertEqual(found(check_house.arrows, path, f'#include "{included}"\n'), [])

    def test_every_folder_of_the_table_that_is_here_has_files(self):
        for folder in set(check_house.ARROWS):
            self.assertTrue(any(name.endswith(".h") for name in os.listdir(os.path.join(ROOT, folder))), folder)

    def test_every_header_that_the_table_names_is_here(self):
        for folder, allowed in check_house.ARROWS.items():
            for pattern in allowed:
                self.assertTrue(glob.glob(pattern, root_dir=ROOT), f"{folder} may include {pattern}, which is gone")

    def test_every_folder_with_sources_is_in_the_table(self):
        for folder in os.listdir(os.path.join(ROOT, "src")):
            if os.path.isdir(os.path.join(ROOT, "src", folder)):
                self.assertIn(f"src/{folder}", check_house.ARROWS)


class TopLevel(unittest.TestCase):
    def test_other_folders_and_files_do_not_belong_there(self):
        for path in ("examples/a.cc", "packaging/man/a.8", "NOTES.md", "Makefile"):
            self.assertTrue(found(lambda name, _: check_house.top_level(name), path, ""), path)
        for path in ("src/a.cc", "tools/packaging/man/a.8", "README.md", ".ci/run", ".gitignore"):
            self.assertEqual(found(lambda name, _: check_house.top_level(name), path, ""), [], path)


class Sources(unittest.TestCase):
    def test_an_include_that_does_not_start_at_the_root_is_a_breach(self):
        here = {"io/fd.h"}.__contains__
        self.assertTrue(found(check_house.root_relative, "io/fd.cc", '#include "fd.h"\n', exists=here))
        self.assertTrue(found(check_house.root_relative, "io/fd.cc", "#include <io/fd.h>\n", exists=here))
        self.assertEqual(found(check_house.root_relative, "io/fd.cc", '#include <poll.h>\n#include "io/fd.h"\n', exists=here), [])

    def test_a_header_without_pragma_once_is_a_breach(self):
        self.assertTrue(found(check_house.include_once, "io/fd.h", "// #pragma once, not\n"))
        self.assertEqual(found(check_house.include_once, "io/fd.h", "// A.\n#pragma once\n"), [])
        self.assertEqual(found(check_house.include_once, "io/fd.cc", ""), [])

    def test_a_line_of_121_columns_is_a_breach_also_in_a_comment(self):
        self.assertTrue(found(check_house.columns, "io/fd.h", "// " + "x" * 118 + "\n"))
        self.assertEqual(found(check_house.columns, "io/fd.h", "// " + "─" * 117 + "\n"), [])

    def test_a_file_of_801_lines_is_a_breach(self):
        self.assertTrue(found(check_house.size, "io/fd.h", "\n" * 801))
        self.assertEqual(found(check_house.size, "io/fd.h", "\n" * 800), [])

    def test_a_test_that_is_not_named_in_pascal_case_is_a_breach(self):
        for text in ("TEST(Fd, closes_it) {", "TEST_F(Fd, Closes_it) {", "TEST_P(\n    fd, Closes) {", "TYPED_TEST(Fd, closes) {"):
            with self.subTest(text=text):
                self.assertTrue(found(check_house.test_names, "tests/io/fd_test.cc", text))
        self.assertEqual(found(check_house.test_names, "tests/io/fd_test.cc", "TEST(Fd, ClosesItTwice6) {"), [])

    def test_a_test_that_is_built_nowhere_is_a_breach(self):
        lists = {"tests/io": "culvert_test(fd_test SOURCES fd_test.cc)", "tests/tun": "foreach(unit queue device)"}.get
        self.assertTrue(found(check_house.built_test, "tests/io/wakeup_test.cc", "", lists=lists))
        for path in ("tests/io/fd_test.cc", "tests/tun/queue_test.cc", "tests/io/fakes.h"):
            self.assertEqual(found(check_house.built_test, path, "", lists=lists), [])

    def test_hosts_of_packages_and_folders_of_a_machine_are_breaches(self):
        for text in ("deb.debian" + ".org", "https://pypi" + ".org/simple", "see /wor" + "k/main"):
            with self.subTest(text=text):
                self.assertTrue(found(check_house.places, "tools/setup", text))
        self.assertEqual(found(check_house.places, "tools/setup", "https://www.wireguard.com, ${logs}/work/fuzz, a Debian archive"), [])

    def test_all_rules_are_asked_for_a_source_and_only_places_for_others(self):
        bad = '#include "fd.h"\nTEST(a, b)\n' + "x" * 121 + "\n" * 900
        self.assertGreaterEqual(len(check_house.breaches("io/fd_test.h", bad)), 5)
        self.assertEqual(check_house.breaches("tools/setup", bad), [])


class Threads(unittest.TestCase):
    def test_the_thread_sanitizer_sees_every_test_with_threads(self):
        with open(os.path.join(ROOT, "tools", "test"), encoding="utf-8") as file:
            watched = set(re.search(r'^threaded="(.*)"$', file.read(), re.M)[1].split())
        found = set()
        for where, _, names in os.walk(os.path.join(ROOT, "tests")):
            for name in names:
                if name.endswith((".cc", ".h")):
                    with open(os.path.join(where, name), encoding="utf-8") as file:
                        if "<thread>" in file.read():
                            found.add(os.path.relpath(where, os.path.join(ROOT, "tests")).split(os.sep)[0])
        self.assertGreater(len(found), 3)
        # What tests the lab's program is not built with sanitizers.
        self.assertEqual(found - {"traffic"} - watched, set())


class Braces(unittest.TestCase):
    """.clang-format is what keeps the one dialect."""

    @staticmethod
    def formatted(text):
        return subprocess.run(["clang-format", "--dry-run", "-Werror", f"--style=file:{ROOT}/.clang-format"], input=text, text=True,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0

    def test_a_single_statement_wears_no_braces(self):
        self.assertFalse(self.formatted("void f(int x) {\n  if (x) {\n    f(0);\n  }\n}\n"))
        self.assertTrue(self.formatted("void f(int x) {\n  if (x) f(0);\n}\n"))

    def test_code_ends_at_the_limit_of_columns(self):
        long = "int f(int a" + "b" * 60 + ", int c" + "d" * 60 + ");\n"
        self.assertFalse(self.formatted(long))


class Program(unittest.TestCase):
    def test_the_house_is_in_order(self):
        done = subprocess.run([os.path.join(ROOT, "tools", "check_house.py")], stdout=subprocess.PIPE, text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout)


if __name__ == "__main__":
    unittest.main()
