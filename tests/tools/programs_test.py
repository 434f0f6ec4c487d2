"""Every program of the repository says how it is used, and what is wrong with a command line, before it does anything.

They run with an empty home, and with programs in front of PATH that write down that they were called in place of installing,
building, fetching or making namespaces.
"""

import os
import subprocess
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

# Those are called by CI, and by the kernel peer inside of its machine.
NOT_FOR_PEOPLE = {".ci/run", "tests/interop/kernel_peer/guest-agent", "tests/interop/kernel_peer/guest-init"}
# Words without which a program cannot know that an option is wrong.
NEEDED = {"tests/crypto/check_constant_time.py": ("clean", "valgrind", "program"),
          "tests/crypto/check_disassembly.py": ("objdump", "path"),
          "tests/interop/kernel_peer/flood.py": ("AAAA", "192.0.2.1", "1", "mark"),
          "tests/vectors/convert.py": ("/no/such",),
          "tools/bench-compare": (ROOT, ROOT)}  # which has a folder bench
MUST_NOT_BE_CALLED = ("apt-get", "apt-cache", "cmake", "ctest", "unshare", "ip", "perf", "iperf3", "wg", "qemu-system-x86_64", "valgrind",
                      "dpkg-deb", "modprobe")


def programs():
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    return [line.split("\t")[1] for line in listed.splitlines() if line.startswith("100755") and
            line.split("\t")[1] not in NOT_FOR_PEOPLE]


class Quiet(unittest.TestCase):
    """Runs a program, and fails if it left a trace."""

    def setUp(self):
        self.directory = tempfile.TemporaryDirectory()
        self.addCleanup(self.directory.cleanup)
        self.called = os.path.join(self.directory.name, "called")
        self.home = os.path.join(self.directory.name, "home")
        stubs = os.path.join(self.directory.name, "bin")
        os.mkdir(self.home)
        os.mkdir(stubs)
        for name in MUST_NOT_BE_CALLED:
            path = os.path.join(stubs, name)
            with open(path, "w", encoding="ascii") as stub:
                stub.write(f'#!/bin/sh\necho "{name} $*" >>"{self.called}"\nexit 1\n')
            os.chmod(path, 0o755)
        self.environment = {"PATH": f"{stubs}:{os.environ['PATH']}", "HOME": self.home, "TMPDIR": self.home, "XDG_CACHE_HOME": self.home}

    @staticmethod
    def tree():
        """What git does not know in the checkout, and the folders that builds make."""
        strangers = subprocess.run(["git", "status", "--porcelain", "--untracked-files=all"], cwd=ROOT, stdout=subprocess.PIPE, text=True,
                                   check=True).stdout
        builds = os.path.join(ROOT, "build")
        return strangers, sorted(os.listdir(builds)) if os.path.isdir(builds) else []

    def run_program(self, *words):
        before = self.tree()
        done = subprocess.run([os.path.join(ROOT, words[0]), *words[1:]], cwd=self.home, env=self.environment, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if os.path.exists(self.called):
            with open(self.called, encoding="ascii") as called:
                self.fail(f"{words} called {called.read()}")
        self.assertEqual(os.listdir(self.home), [], f"{words} left files")
        self.assertEqual(self.tree(), before, f"{words} changed the checkout")
        self.assertNotIn("Traceback", done.stderr)
        return done


class Usage(Quiet):
    def test_there_are_programs(self):
        self.assertLessEqual({"tools/demo", "tools/lab", "tools/test", "tests/interop/run", "tests/interop/kernel_peer/prove"},
                             set(programs()))

    def test_help_is_printed_and_nothing_else_happens(self):
        for program in programs():
            for option in ("--help", "-h"):
                with self.subTest(program=program, option=option):
                    done = self.run_program(program, option)
                    self.assertEqual((done.returncode, done.stderr), (0, ""))
                    self.assertIn(os.path.basename(program).removesuffix("_tunnel.py"), done.stdout)

    def test_an_option_that_is_none_is_named(self):
        for program in programs():
            with self.subTest(program=program):
                done = self.run_program(program, *NEEDED.get(program, ()), "--no-such-option")
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn("--no-such-option", done.stderr)

    def test_a_value_that_cannot_be_is_named(self):
        for words, reason in ((("tools/demo", "--seconds", "0"), "--seconds: 0"), (("tools/demo", "--seconds", "soon"), "soon"),
                              (("tools/demo", "--peer", "nosuch"), "`nosuch`"), (("tools/demo", "--peer", "/etc"), "`/etc`"),
                              (("tools/demo", "--stop", "/nonexist"), "`/nonexist`"), (("tools/demo", "--stop"), "--stop"),
                              (("tools/demo", "--stop=/etc"), "`/etc`"), (("tools/demo", "word"), "word"),
                              (("tools/profile", "--seconds", "0"), "`0`"), (("tools/profile", "--udp", "3"), "`3`"),
                              (("tools/profile", "--pid", "999999999"), "999999999"), (("tools/profile", "nosuch"), "nosuch"),
                              (("tools/profile", "culvert", "culvert", "culvert"), "two"),
                              (("tools/profile", "--keep", "/no/such/file"), "/no/such/file"),
                              (("tools/build", "nosuch"), "`nosuch`"), (("tools/build", "culvert", "more"), "`more`"),
                              (("tools/test", "nosuch"), "`nosuch`"), (("tools/test", "--quik"), "`--quik`"),
                              (("tools/setup", "build", "nosuch"), "`nosuch`"), (("tools/fetch-wireguard-go", "now"), "`now`"),
                              (("tools/bench-aead", "--rounds", "0"), "--rounds"), (("tools/bench-aead", "--engines", "sse"), "`sse`"),
                              (("tools/bench-aead", "--bytes", "3"), "`3`"), (("tools/bench-aead", "--min-time", "-1"), "-1"),
                              (("tools/bench-compare", ROOT, "/no/such"), "`/no/such`"),
                              (("tools/bench-compare", ROOT, ROOT, "--rounds", "0"), "`0`"),
                              (("tools/bench-compare", ROOT, ROOT), "no benchmark"),
                              (("tools/lab", "quick", "--rounds", "0"), "`0`"), (("tools/lab", "quik"), "quik"),
                              (("tests/interop/run", "--repeat", "0"), "`0`"), (("tests/interop/run", "--jobs", "-1"), "-1"),
                              (("tests/interop/run", "--timeout", "x"), "`x`"), (("tests/interop/run", "no such scenario"), "no such scenario"),
                              (("tests/interop/run", "--wrap", "/no/such -x"), "`/no/such`"),
                              (("tests/interop/kernel_peer/start", "now"), "`now`"), (("tests/interop/kernel_peer/prove", "alone"), "needs"),
                              (("tests/interop/kernel_peer/guest-run",), "needs")):
            with self.subTest(words=words):
                done = self.run_program(*words)
                self.assertEqual(done.returncode, 2, done.stderr)
                self.assertIn(reason, done.stderr.strip().splitlines()[-1])

    def test_a_program_in_the_environment_that_is_none_is_named(self):
        self.environment["CULVERT_BIN"] = "/no/such/culvert"
        done = self.run_program("tools/build")
        self.assertEqual(done.returncode, 2)
        self.assertIn("/no/such/culvert", done.stderr)

    def test_the_demo_takes_what_it_left_behind(self):
        with tempfile.TemporaryDirectory() as left:
            with open(os.path.join(left, "demo.json"), "w", encoding="ascii") as file:
                file.write('{"daemons": {}, "namespaces": []}')
            self.assertEqual(self.run_program("tools/demo_tunnel.py", "--check", "--stop", left).returncode, 0)


class SelfTest(Quiet):
    """The traces are seen."""

    def run_words(self, text):
        path = os.path.join(self.directory.name, "program")
        with open(path, "w", encoding="ascii") as program:
            program.write("#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
        return self.run_program(path)

    def test_a_program_that_builds_fetches_or_leaves_files_is_caught(self):
        for text in ("cmake --preset release", "touch left", "mktemp -d", 'mkdir "$HOME/cache"', "echo Traceback >&2"):
            with self.subTest(text=text), self.assertRaises(AssertionError):
                self.run_words(text + "\n")
            subprocess.run(["rm", "-rf", self.called, self.home], check=True)
            os.mkdir(self.home)
        self.assertEqual(self.run_words("echo usage\n").stdout, "usage\n")


if __name__ == "__main__":
    unittest.main()
