"""tests/interop/run and tools/test: what happens to a scenario, or a test, that failed beside others."""

import argparse
import contextlib
import importlib.machinery
import importlib.util
import io
import os
import re
import subprocess
import tempfile
import unittest
from unittest import mock

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def load():
    loader = importlib.machinery.SourceFileLoader("interop_run", f"{ROOT}/tests/interop/run")
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


class SecondLook(unittest.TestCase):
    def setUp(self):
        self.run_ = load()
        self.run_.scenarios.load()
        self.arguments = argparse.Namespace(timeout=1, wrap="")

    def alone(self, *statuses):
        """What passes_alone says when the scenario ends so, and what it printed."""
        outcomes = [(status, 0.1, "so it ended\n") for status in statuses]
        with mock.patch.object(self.run_, "attempt", side_effect=outcomes), contextlib.redirect_stdout(io.StringIO()) as printed:
            return self.run_.passes_alone(0, "/nowhere", self.arguments), printed.getvalue()

    def test_a_scenario_that_passes_twice_alone_is_told_and_passes(self):
        passes, printed = self.alone(0, 0)
        self.assertTrue(passes)
        self.assertRegex(printed, "^unsteady: .* passed 2 times alone\n$")

    def test_a_scenario_that_fails_alone_stays_failed(self):
        for statuses in ((1,), (0, 1), (self.run_.SKIPPED,)):
            passes, printed = self.alone(*statuses)
            self.assertFalse(passes, statuses)
            self.assertIn("failed again, alone: so it ended", printed)

    def test_crashes_hangs_and_sanitizer_reports_get_no_second_look(self):
        for text, own in (("rig.shell.Failure: waited 60 s in vain: a ping", False),
                          ("rig.shell.Failure: iperf3: not done after 60 s", False),
                          ("not done after 420 s", True),
                          ("rig.shell.Failure: culvert died with status -11: ", True),
                          ("WARNING: ThreadSanitizer: data race (pid=1)", True),
                          ("==1==ERROR: AddressSanitizer: heap-use-after-free", True),
                          ("src/x.cc:1:2: runtime error: left shift of negative value", True)):
            with tempfile.TemporaryDirectory() as directory:
                with open(os.path.join(directory, "scenario.log"), "w", encoding="ascii") as log:
                    log.write(f"first line\n{text}\n")
                self.assertEqual(self.run_.is_our_own(directory), own, text)


FAKE_CTEST = """#!/bin/bash
case "$OUTCOME $*" in
    good*) echo '100% tests passed, 0 tests failed out of 2' ;;
    none*) echo 'No tests were found!!!' ;;
    unsteady*--rerun-failed*) exit 0 ;;
    *) printf '50%% tests passed, 1 tests failed out of 2\n\t  2 - x_test (%s)\n' "${OUTCOME#unsteady}"; exit 8 ;;
esac
"""


class Ctest(unittest.TestCase):
    """run_ctest of tools/test."""

    def test_tells_what_failed(self):
        with open(f"{ROOT}/tools/test", encoding="utf-8") as program:
            function = re.search(r"^run_ctest\(\).*?^}$", program.read(), re.MULTILINE | re.DOTALL).group(0)
        for outcome, end in (("good", "2 passed, 0 failed"), ("none", "0 passed, 1 failed"), ("Failed", "1 passed, 1 failed"),
                             ("SEGFAULT", "1 passed, 1 failed"), ("unsteadySEGFAULT", "1 passed, 1 failed"),
                             ("unsteadyFailed", "2 passed, 0 failed")):
            with tempfile.TemporaryDirectory() as directory:
                os.mkdir(f"{directory}/bin")
                with open(os.open(f"{directory}/bin/ctest", os.O_WRONLY | os.O_CREAT, 0o755), "w", encoding="ascii") as ctest:
                    ctest.write(FAKE_CTEST)
                done = subprocess.run(["bash", "-uc", f"logs={directory} jobs=1\n{function}\nrun_ctest anywhere"], capture_output=True, text=True,
                                      timeout=60, env={**os.environ, "OUTCOME": outcome, "PATH": f"{directory}/bin:{os.environ['PATH']}"})
            self.assertEqual(done.stdout.splitlines()[-1], end, outcome)
            self.assertEqual("unsteady: x_test" in done.stdout, outcome == "unsteadyFailed", outcome)


if __name__ == "__main__":
    unittest.main()
