"""Samples of perf(1), with the functions that were inlined where the program can tell."""

import collections
import os
import re
import struct
import subprocess

from profile_groups import KERNEL, OURS, USER

_FRAME = re.compile(r"\s+([0-9a-f]+) (.*) \((.*)\)$")
_HEAD = re.compile(r"(.*?)\s+(-?\d+)/(-?\d+)\s*$")

# place: KERNEL, OURS or USER. stack: names, innermost first; of a user function only what was inlined into it.
Sample = collections.namedtuple("Sample", "comm pid tid place stack")


def record(path, seconds, frequency):
    """Samples the whole machine. Virtual machines without a PMU have cpu-clock, real ones cycles."""
    event = "cycles" if subprocess.run(["perf", "stat", "-x,", "-e", "cycles", "true"], capture_output=True, text=True,
                                       check=False).stderr.count("not supported") == 0 else "cpu-clock"
    done = subprocess.run(["perf", "record", "--quiet", "--no-buildid", "--no-buildid-cache", "-o", path, "-e", event,
                           "-F", str(frequency), "--all-cpus", "-g", "--", "sleep", str(seconds)],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not os.path.exists(path):
        raise OSError(f"perf record: {done.stderr.strip()} (needs root, or kernel.perf_event_paranoid at -1)")
    return event


class _Inlined:
    """Names of the functions at an address of one program, innermost first, by addr2line and its -g1."""

    def __init__(self, program):
        self.program = program
        self.segments = self._segments()
        self.names = {}

    def _segments(self):
        """Offset, size and address of what is loaded of the ELF file."""
        with open(self.program, "rb") as file:
            header = file.read(64)
            start, = struct.unpack_from("<Q", header, 32)
            size, count = struct.unpack_from("<HH", header, 54)
            file.seek(start)
            table = file.read(size * count)
        found = []
        for index in range(count):
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", table, index * size)
            if kind == 1:
                found.append((offset, length, address))
        return found

    def address(self, offset):
        for start, length, address in self.segments:
            if start <= offset < start + length:
                return offset - start + address
        return offset

    def resolve(self, offsets):
        wanted = sorted({self.address(each) for each in offsets})
        done = subprocess.run(["addr2line", "-a", "-i", "-f", "-C", "-e", self.program], capture_output=True, text=True,
                              input="".join(f"{each:#x}\n" for each in wanted), check=False)
        stack, names = [], False
        for line in done.stdout.splitlines():
            if re.fullmatch(r"0x[0-9a-f]+", line):
                stack, names = self.names.setdefault(int(line, 16), []), True
            else:
                if names and line != "??":
                    stack.append(line)
                names = not names  # function and file:line by turns

    def stack(self, offset):
        return self.names.get(self.address(offset), [])


def read(path, ours):
    """All samples of a recording. `ours`: the program whose functions are culvert's."""
    done = subprocess.run(["perf", "script", "-i", path, "--no-inline", "--max-stack", "60", "-F", "comm,pid,tid,ip,sym,dso"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False)
    raw = []
    for line in done.stdout.splitlines():
        if frame := _FRAME.match(line):
            if raw:
                address, name, where = frame.groups()
                raw[-1][3].append((int(address, 16), name, where))
        elif head := _HEAD.match(line):
            raw.append((head.group(1).strip(), int(head.group(2)), int(head.group(3)), []))
    inlined = _Inlined(os.path.realpath(ours)) if ours else None
    if inlined:
        inlined.resolve({frames[0][0] for *_, frames in raw if frames and frames[0][2] == inlined.program})
    return [Sample(comm, pid, tid, *_stack(frames, inlined)) for comm, pid, tid, frames in raw]


def _stack(frames, inlined):
    """Place and stack of one sample."""
    if not frames:
        return USER, ("[unknown]",)
    address, name, where = frames[0]
    if address >> 63:
        return KERNEL, tuple(each[1] for each in frames if each[0] >> 63)
    if inlined and where == inlined.program:
        # Since 5.13 perf prints where in the file a user address is, not where in memory.
        return OURS, (*inlined.stack(address)[:-1], name)
    return USER, (f"[unknown] {os.path.basename(where)}" if name == "[unknown]" else name,)
