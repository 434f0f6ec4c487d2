"""Samples of perf(1), with the functions that were inlined where the program can tell."""

import collections
import os
import re
import struct
import subprocess

from profile_groups import KERNEL, OURS, USER

_FRAME = re.compile(r"\s+([0-9a-f]+) (.*) \((.*)\)$")
_HEAD = re.compile(r"(.*?)\s+(-?\d+)/(-?\d+)\s*$")
_MAPPING = re.compile(r".*PERF_RECORD_MMAP2? (-?\d+)/-?\d+: \[0x([0-9a-f]+)\(0x([0-9a-f]+)\) @ (?:0x)?([0-9a-f]+) .*\]: \S+ (.*)$")

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
        done = subprocess.run(["addr2line", "-a", "-i", "-f", "-C", "-e", self.program], capture_output=True, text=True, check=False,
                              input="".join(f"{each:#x}\n" for each in wanted))
        stack = []
        for number, line in enumerate(done.stdout.splitlines()):
            if line.startswith("0x") and re.fullmatch(r"0x[0-9a-f]+", line):
                stack = self.names.setdefault(int(line, 16), [])
                first = number + 1
            elif (number - first) % 2 == 0 and line != "??":
                stack.append(line)

    def stack(self, offset):
        return self.names.get(self.address(offset), [])


def read(path, ours):
    """All samples of a recording. `ours`: the program whose functions are culvert's."""
    done = subprocess.run(["perf", "script", "-i", path, "--show-mmap-events", "--no-inline", "--max-stack", "60",
                           "-F", "comm,pid,tid,ip,sym,dso"], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          check=False)
    ours = os.path.realpath(ours) if ours else None
    mappings = collections.defaultdict(list)
    raw = []
    for line in done.stdout.splitlines():
        if frame := _FRAME.match(line):
            if raw:
                raw[-1][3].append(frame.groups())
        elif mapping := _MAPPING.match(line):
            pid, start, length, offset, name = mapping.groups()
            if os.path.realpath(name) == ours:
                # perf 6.1 prints offsets in hexadecimal, with and without 0x.
                mappings[int(pid)].append((int(start, 16), int(length, 16), int(offset, 16)))
        elif head := _HEAD.match(line):
            raw.append((head.group(1).strip(), int(head.group(2)), int(head.group(3)), []))
    return _finish(raw, mappings, ours)


def _finish(raw, mappings, ours):
    inlined = _Inlined(ours) if ours else None

    def offset_of(pid, address):
        for start, length, offset in mappings.get(pid, ()):
            if start <= address < start + length:
                return address - start + offset
        return None

    wanted = {}
    for _, pid, _, frames in raw:
        if frames and frames[0][2] == ours:
            address = int(frames[0][0], 16)
            wanted[pid, address] = offset_of(pid, address)
    if wanted:
        inlined.resolve(each for each in wanted.values() if each is not None)
    samples = []
    for comm, pid, tid, frames in raw:
        if not frames:
            samples.append(Sample(comm, pid, tid, USER, ("[unknown]",)))
            continue
        address, name, where = frames[0]
        if int(address, 16) >> 63:
            stack = tuple(each[1] for each in frames if int(each[0], 16) >> 63)
            samples.append(Sample(comm, pid, tid, KERNEL, stack))
        elif where == ours:
            offset = wanted[pid, int(address, 16)]
            stack = inlined.stack(offset) if offset is not None else []
            samples.append(Sample(comm, pid, tid, OURS, (*stack, name) if name not in stack[-1:] else tuple(stack)))
        else:
            samples.append(Sample(comm, pid, tid, USER, (name if name != "[unknown]" else f"[unknown] {os.path.basename(where)}",)))
    return samples
