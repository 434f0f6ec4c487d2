#!/usr/bin/env python3
"""check_constant_time.py clean|leak VALGRIND PROGRAM: runs aead_constant_time_check under memcheck, and judges what it saw.

    clean   the program has to do all of its work, and memcheck has to find nothing
    leak    the program is told to branch on a secret, and memcheck has to report exactly that

A crash, a wrong result or a valgrind that does not start is neither: it fails both. `--self-test` shows that.
"""

import argparse
import subprocess
import sys

FOUND = 99  # what valgrind exits with if memcheck has found something, and nothing else does
REPORT = "Conditional jump or move depends on uninitialised value"


def judge(wanted, status, output):
    """What speaks against the run; empty if nothing does."""
    if "not under valgrind" in output:
        return "nothing was watched"
    if wanted == "clean":
        if status == FOUND:
            return "memcheck found something"
        if status != 0:
            return f"it ended with status {status}"
        return "" if ": done" in output else "it did not come to its end"
    if status != FOUND:
        return f"it ended with status {status}: not what memcheck exits with for a leak"
    return "" if REPORT in output else "memcheck found something else than the branch on a secret"


def self_test():
    leak = f"==1== {REPORT}(s)\n"
    for wanted, status, output, good in (
            ("clean", 0, "portable: done\n", True),
            ("clean", 0, "", False),
            ("clean", 0, "not under valgrind: nothing is watched\nportable: done\n", False),
            ("clean", 3, "portable: wrong result\n", False),
            ("clean", -11, "", False),
            ("clean", FOUND, leak + "portable: done\n", False),
            ("leak", FOUND, leak, True),
            ("leak", 0, "portable: done\n", False),
            ("leak", 1, "valgrind: failed to start tool\n", False),
            ("leak", 127, "valgrind: not found\n", False),
            ("leak", -11, leak, False),
            ("leak", FOUND, "==1== Invalid read of size 8\n", False)):
        if (judge(wanted, status, output) == "") != good:
            sys.exit(f"a {wanted} run that ended with {status} and {output!r} is misjudged")


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wanted", choices=("clean", "leak"))
    parser.add_argument("valgrind")
    parser.add_argument("program")
    arguments = parser.parse_args()
    wanted = arguments.wanted
    command = [arguments.valgrind, "-q", f"--error-exitcode={FOUND}", arguments.program, *(["leak"] if wanted == "leak" else [])]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", check=False)
    print(done.stdout, end="")
    return judge(wanted, done.returncode, done.stdout) or None


if __name__ == "__main__":
    sys.exit(main())
