#!/usr/bin/env python3
"""tools/check_house.py: holds the sources that git knows against the rules of CONTRIBUTING.md that a program can check.

Prints a line for each breach, and exits 1 if there is one. tests/tools/check_house_test.py breaks every rule once.
Braces and the layout of code are clang-format's (`tools/test format`).
"""

import argparse
import fnmatch
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Who may include what beside its own folder: folders, or names of headers. src/DESIGN.md says why. A folder that is not
# here may include anything.
CONTRACTS = ("io/counters.h", "io/cpu_times.h", "io/endpoint.h", "io/inner_side.h", "io/lease.h", "io/local_addresses.h",
             "io/outer_side.h", "io/poller.h", "io/result.h", "io/spsc_ring.h", "io/steering_table.h", "io/superpacket.h",
             "io/wakeup.h")
DEVICE = ("src/device/configurable.h", "src/device/encoding.h", "src/device/port_request.h", "src/device/worker_request.h", "src/log.h", "io/*.h", "crypto/secret.h")
ARROWS = {
    "crypto": (),
    "io": (),
    "src/packet": ("io/inner_side.h", "io/lease.h", "io/superpacket.h"),
    "tun": ("io/*", "src/packet/*"),
    "dpdk": ("io/*", "src/packet/*"),
    "src/protocol": ("crypto/*",),
    "src/embedded": ("src/protocol/*", "crypto/*"),
    "src/pipeline": ("src/protocol/*", "src/packet/*", "crypto/*", *CONTRACTS),
    "src": (),
    "src/device": ("src/pipeline/*", "src/protocol/*", "src/packet/*", "crypto/*", "io/*", "src/log.h"),
    "src/uapi": DEVICE,
    "src/config": (*DEVICE, "src/host/settings.h"),
    "src/host": DEVICE,
    "src/daemon": ("*",),
}
FOLDERS_OF_OURS = ("crypto/", "io/", "tun/", "dpdk/", "src/", "bench/", "tests/")
COLUMNS, THINK_AGAIN, TOO_LONG = 120, 400, 800

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', re.M)
TEST_NAME = re.compile(r"^\s*(?:TYPED_)?TEST(?:_[FP])?\(\s*(\w+)\s*,\s*(\w+)\s*\)", re.M)
PASCAL_CASE = re.compile(r"[A-Z][A-Za-z0-9]*")
# Where packages come from is the business of the machine, and so are its folders.
HOSTS = re.compile(r"\b(?:(?:deb|ftp|security|snapshot|archive)\.(?:[\w-]+\.)*(?:debian|ubuntu)\.(?:org|com)|"
                   r"pypi\.org|pythonhosted\.org|registry\.npmjs\.org|proxy\.golang\.org|crates\.io|dl-cdn\.[\w.]+)|"
                   r"(?<![\w.})])/work/[a-z]")


def folder_of(path):
    """The key of ARROWS that a file stands under: the longest one that leads to it. None for bench, tests and tools."""
    parts = path.split("/")[:-1]
    for length in range(len(parts), 0, -1):
        if "/".join(parts[:length]) in ARROWS:
            return "/".join(parts[:length])
    return None


def arrows(path, text):
    """Includes point downwards only."""
    folder = folder_of(path)
    if folder is None:
        return
    for _, included in INCLUDE.findall(text):
        if not included.startswith(FOLDERS_OF_OURS) or folder_of(included) == folder:
            continue
        if not any(fnmatch.fnmatch(included, allowed) for allowed in ARROWS[folder]):
            yield f'{folder}/ may not include "{included}" (ARROWS in tools/check_house.py)'


def root_relative(path, text, exists=lambda name: os.path.exists(os.path.join(ROOT, name))):
    """Includes of ours are in quotes and start at the root; those of the system are in angle brackets."""
    for mark, included in INCLUDE.findall(text):
        if mark == '"' and not exists(included):
            yield f'"{included}" is not found from the root of the repository'
        if mark == "<" and included.startswith(FOLDERS_OF_OURS):
            yield f"<{included}> is ours, and wants quotes"


def include_once(path, text):
    """Every header has #pragma once."""
    if path.endswith(".h") and not re.search(r"^#pragma once$", text, re.M):
        yield "no #pragma once"


def columns(path, text):
    """No line is longer than the limit; clang-format lets comments pass."""
    for number, line in enumerate(text.splitlines(), 1):
        if len(line) > COLUMNS:
            yield f"line {number} has {len(line)} columns of {COLUMNS}"


def size(path, text):
    """A file can be read in one sitting."""
    if text.count("\n") > TOO_LONG:
        yield f"{text.count(chr(10))} lines are more than {TOO_LONG}"


def test_names(path, text):
    """Names of tests are sentences in PascalCase: GoogleTest itself wants no underscores."""
    for suite, name in TEST_NAME.findall(text):
        for each in (suite, name):
            if not PASCAL_CASE.fullmatch(each):
                yield f"{suite}.{name}: {each} is not in PascalCase"


def cmake_lists(folder):
    """What the CMakeLists.txt of the folder, or of the nearest one above that has one, says."""
    while not os.path.exists(os.path.join(ROOT, folder, "CMakeLists.txt")):
        folder = os.path.dirname(folder)
    with open(os.path.join(ROOT, folder, "CMakeLists.txt"), encoding="utf-8") as file:
        return file.read()


def built_test(path, text, lists=cmake_lists):
    """A test that no CMakeLists.txt names is never run. Some name only what stands before _test or _fuzz."""
    found = re.fullmatch(r"(.*)/(\w+)(_test|_fuzz)\.cc", path)
    if found and not re.search(rf"\b{found[2]}({found[3]})?\b", lists(found[1])):
        yield "its folder's CMakeLists.txt does not build it"


# The top level is the user's choice; dot-files may stand there too.
TOP_FOLDERS = {"src", "crypto", "io", "dpdk", "tun", "tests", "bench", "tools"}
TOP_FILES = {"CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"}


def top_level(path):
    """Nothing else at the top."""
    top, _, rest = path.partition("/")
    if not top.startswith(".") and top not in (TOP_FOLDERS if rest else TOP_FILES):
        yield f"{top} does not belong at the top level"


def places(path, text):
    """No host that packages come from, and no folder of somebody's machine."""
    for found in HOSTS.findall(text):
        yield f"{found} names a place outside of the repository"


SOURCE_RULES = (arrows, root_relative, include_once, columns, size, test_names, built_test)
# Projects of their own, which see culvert as it is installed.
ELSEWHERE = ("tests/install/consumer/", "src/embedded/example/")


def breaches(path, text):
    """What is wrong with a file."""
    found = list(top_level(path)) + list(places(path, text))
    if path.endswith((".cc", ".h")) and not path.startswith(ELSEWHERE):
        for rule in SOURCE_RULES:
            found += rule(path, text)
    return found


def main():
    argparse.ArgumentParser(prog="tools/check_house.py", description=__doc__,
                            formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    listed = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                            stdout=subprocess.PIPE, text=True, check=False)
    paths = [path for path in listed.stdout.split("\0") if path and os.path.isfile(os.path.join(ROOT, path))]
    if not paths:
        sys.exit("check_house: git lists no file here")
    count, long = 0, []
    for path in paths:
        try:
            with open(os.path.join(ROOT, path), encoding="utf-8") as file:
                text = file.read()
        except UnicodeDecodeError:  # a corpus of bytes
            continue
        for breach in breaches(path, text):
            print(f"{path}: {breach}")
            count += 1
        if path.endswith((".cc", ".h")) and text.count("\n") > THINK_AGAIN:
            long.append(f"{path} ({text.count(chr(10))})")
    print(f"{len(paths)} files, {count} breaches; longer than {THINK_AGAIN} lines: {', '.join(long) or 'none'}")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
