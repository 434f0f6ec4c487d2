"""Who used the processor: this lab, the kernel's threads, or somebody else."""

import dataclasses
import os
import resource
import time

HOST = "/run/host-proc"  # the proc file system of the machine, from outside the lab's own process namespace
TICK = os.sysconf("SC_CLK_TCK")


def seconds_of(pid):
    """Processor seconds of a process with all its threads, also those that have ended. To the nanosecond."""
    return time.clock_gettime((~pid << 3) | 2)  # MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of Linux


def _fields(path):
    """The fields of a stat file from the third one on (proc(5))."""
    with open(path, encoding="ascii", errors="replace") as stat:
        return stat.read().rsplit(")", 1)[1].split()


def _ours():
    """Seconds of every process of the lab: nothing else can be seen in its process namespace."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = seconds_of(os.getpid()) + children.ru_utime + children.ru_stime
    for pid in filter(str.isdigit, os.listdir("/proc")):
        if int(pid) == os.getpid():
            continue
        try:
            ended_children = sum(map(int, _fields(f"/proc/{pid}/stat")[13:15])) / TICK
            total += seconds_of(int(pid)) + ended_children
        except (OSError, IndexError):
            continue  # ended in between: its parent accounts for it from now on
    return total


def _kernel_threads(cores):
    """Seconds of each of the kernel's own threads on these cores by pid, where the machine's proc can be seen."""
    try:
        with open(f"{HOST}/2/task/2/children", encoding="ascii") as file:
            pids = file.read().split()
    except OSError:
        return {}
    found = {}
    for pid in pids:
        try:
            fields = _fields(f"{HOST}/{pid}/stat")
        except OSError:
            continue
        if int(fields[36]) in cores:
            found[pid] = (int(fields[11]) + int(fields[12])) / TICK
    return found


def _machine(cores):
    """(idle, stolen) seconds of these cores together."""
    idle = stolen = 0
    with open("/proc/stat", encoding="ascii") as file:
        for line in file:
            name, *fields = line.split()
            if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in cores:
                idle += int(fields[3]) + int(fields[4])
                stolen += int(fields[7])
    return idle / TICK, stolen / TICK


@dataclasses.dataclass(frozen=True)
class Use:
    """How the cores of the lab were used for a while. Seconds, but `foreign` and `steal` are numbers of cores."""

    elapsed: float
    lab: float  # the lab's processes and the kernel's threads: what the measured traffic cost
    foreign: float
    steal: float

    @property
    def disturbed(self):
        """True if others had a noticeable part. The kernel counts by the tick: less than this is noise."""
        return self.foreign > 0.2 or self.steal > 0.05


class Watch:
    """Measures the use of some cores from its making to `use`."""

    def __init__(self, cores):
        self.cores = set(cores)
        self._start = self._sample()

    def _sample(self):
        return time.monotonic(), _ours(), *_machine(self.cores), _kernel_threads(self.cores)

    def use(self):
        *now, threads = self._sample()
        *then, earlier_threads = self._start
        elapsed, lab, idle, stolen = (late - early for late, early in zip(now, then))
        # One by one: a thread that has ended takes the account of its whole life along.
        lab += sum(max(0.0, seconds - earlier_threads.get(pid, 0.0)) for pid, seconds in threads.items())
        busy = elapsed * len(self.cores) - idle - stolen
        return Use(elapsed, lab, max(0.0, (busy - lab) / elapsed), max(0.0, stolen / elapsed))
