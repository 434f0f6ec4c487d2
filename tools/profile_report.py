"""The report of tools/profile: shares by group, for the machine and for each process."""

import collections

import profile_groups
from profile_groups import KERNEL, OURS, bare


def _process(sample, roles):
    if sample.pid == 0 or sample.comm.startswith("swapper"):
        return "idle and interrupts"
    if sample.pid in roles:
        return roles[sample.pid]
    if sample.comm.startswith("ksoftirqd"):
        return "ksoftirqd"
    return "others"


def _label(sample):
    """What the lists of functions show: the innermost name, and for inlined ones the function it is in."""
    inner, outer = bare(sample.stack[0]), bare(sample.stack[-1])
    return f"{inner} < {outer}" if sample.place == OURS and inner != outer else inner


class Report:
    """Counts of samples by process and group. cpus: how many cores were sampled."""

    def __init__(self, samples, roles, cpus):
        self.total = len(samples) or 1
        self.cpus = cpus
        self.by_process = collections.defaultdict(collections.Counter)
        self.by_group = collections.Counter()
        self.names = collections.defaultdict(collections.Counter)
        self.ours = collections.Counter()
        self.outer = collections.Counter()
        self.unknown = collections.Counter()
        self.strangers = collections.Counter()
        for sample in samples:
            self._add(sample, _process(sample, roles))

    def _add(self, sample, process):
        if process == "others":
            self.strangers[sample.comm] += 1
            group = "other programs"
        else:
            otherwise = {"iperf3": "traffic program", "python3": "traffic program"}.get(sample.comm, "other")
            group = profile_groups.judge(sample.place, sample.stack, otherwise)
            if otherwise == "other" and not profile_groups.known(sample.place, sample.stack):
                self.unknown[f"{_label(sample)} ({sample.place}, counted as {group})"] += 1
            self.names[group][_label(sample) + ("" if sample.place == KERNEL else " *")] += 1
            if sample.place == OURS:
                self.ours[bare(sample.stack[0])] += 1
                self.outer[bare(sample.stack[-1])] += 1
        self.by_process[process][group] += 1
        self.by_group[group] += 1

    def groups(self):
        def rank(group):
            return profile_groups.LAST.index(group) + 1 if group in profile_groups.LAST else 0
        return sorted(self.by_group, key=lambda group: (rank(group), -self.by_group[group]))

    def busy(self):
        """Samples in which the tunnel and its traffic were at work."""
        return max(1, self.total - self.by_group["idle"] - self.by_group["other programs"])

    def _seconds_per_gigabit(self, count, gigabits, seconds):
        return f"{count / self.total * self.cpus * seconds / gigabits * 1000:10.2f}" if gigabits else ""

    def text(self, seconds, gigabits=None, top=6):
        """The whole report. gigabits: what went through the tunnel meanwhile."""
        lines = self._table(seconds, gigabits)
        if self.by_process.get("others"):
            lines.append(f"\nother programs on this machine took {100 * sum(self.strangers.values()) / self.total:.1f} %: "
                         + ", ".join(f"{name} {100 * count / self.total:.1f}" for name, count in self.strangers.most_common(5)))
        lines.append("\nwhat each group consists of, in percent of busy time (* = not in the kernel)")
        for group in self.groups():
            if group in ("idle", "other programs") or self.by_group[group] < self.busy() / 500:
                continue
            lines.append(f"  {group}, {100 * self.by_group[group] / self.busy():.1f}")
            lines += [f"    {100 * count / self.busy():6.2f}  {name}" for name, count in self.names[group].most_common(top)
                      if count >= self.busy() / 2000]
        if self.ours:
            lines.append("\nfunctions of the daemon's program, in percent of busy time: innermost, with what was inlined apart")
            lines += [f"    {100 * count / self.busy():6.2f}  {name}" for name, count in self.ours.most_common(24)]
            lines.append("\nthe same functions as they were compiled")
            lines += [f"    {100 * count / self.busy():6.2f}  {name}" for name, count in self.outer.most_common(16)]
        if self.unknown:
            lines.append("\nunknown to the table in tools/profile_groups.py, in percent of busy time")
            lines += [f"    {100 * count / self.busy():6.2f}  {name}" for name, count in self.unknown.most_common(20)
                      if count >= self.busy() / 2000]
        return "\n".join(lines)

    def _table(self, seconds, gigabits):
        processes = sorted(self.by_process, key=lambda name: (name in ("idle and interrupts", "others"), name))
        title = f"{'percent of busy time':26}{'machine':>9}" + ("  CPU ms/Gb" if gigabits else "")
        lines = [title + "".join(f"{name:>{max(10, len(name) + 2)}}" for name in processes if name != "others")]

        def row(title, count, pick):
            share = f"{title:26}{100 * count / self.busy():>9.1f}" + self._seconds_per_gigabit(count, gigabits, seconds)
            return share + "".join(f"{pick(name):>{max(10, len(name) + 2)}.1f}" for name in processes if name != "others")

        for group in self.groups():
            if group in ("idle", "other programs"):
                continue
            lines.append(row(group, self.by_group[group], lambda name, of=group: 100 * self.by_process[name][of] / self.busy()))
        lines.append(row("all of it", self.busy(), lambda name: 100 * sum(
            count for group, count in self.by_process[name].items() if group != "idle") / self.busy()))
        used = [(self.busy(), "busy"), (self.by_group["idle"], "idle"), (self.by_group["other programs"], "in other programs")]
        lines.append(f"{self.total} samples on {self.cpus} cores in {seconds:.1f} s: "
                     + ", ".join(f"{100 * count / self.total:.1f} % {what}" for count, what in used))
        return lines
