"""Where figures were made: enough to judge them, and to make them again."""

import os
import re

from rig.implementation import ROOT
from rig.shell import attempt

FEATURES = ("avx2", "avx512f", "avx512ifma", "avx512vl", "vaes", "gfni")


def _read(path, default="unknown"):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return default


def _cpu(key):
    found = re.search(rf"^{key}\s*:\s*(.*)$", _read("/proc/cpuinfo"), re.M)
    return found.group(1) if found else "unknown"


def _first_line(*command):
    done = attempt(*command, timeout=20)
    return (done.stdout or done.stderr).strip().splitlines()[0] if done.stdout or done.stderr else "unknown"


def commit():
    """The checkout's commit, and whether files of it were changed since."""
    head = attempt("git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "rev-parse", "--short=12", "HEAD")
    if head.returncode != 0:
        return "none: no git checkout"
    changed = attempt("git", "-C", ROOT, "-c", f"safe.directory={ROOT}", "status", "--porcelain", "--untracked-files=no").stdout
    return head.stdout.strip() + (", with changes that are not committed" if changed.strip() else "")


def congestion():
    """The congestion control of TCP that this machine uses by default."""
    return _read("/proc/sys/net/ipv4/tcp_congestion_control", "cubic")


def congestions():
    """Those that the kernel has now."""
    return tuple(_read("/proc/sys/net/ipv4/tcp_available_congestion_control", "cubic").split())


def governor(cores):
    found = {_read(f"/sys/devices/system/cpu/cpu{core}/cpufreq/scaling_governor", "") for core in cores} - {""}
    return ", ".join(sorted(found)) or "none, the kernel does not control the frequency"


def describe(cores):
    """Everything that the report's heading says about the machine."""
    flags = _cpu("flags").split()
    has = [each for each in FEATURES if each in flags]
    kilobytes = re.search(r"MemTotal:\s+(\d+)", _read("/proc/meminfo"))
    return {"cpu": f"{_cpu('model name')} (family {_cpu('cpu family')}, model {_cpu('model')}, stepping {_cpu('stepping')})",
            "cpus": os.cpu_count(), "cores": list(cores),
            "features": " ".join(has) + ("" if "avx512ifma" in has else ", no avx512ifma"),
            "microcode": _cpu("microcode"), "memory_gib": round(int(kilobytes.group(1)) / (1 << 20)) if kilobytes else 0,
            "virtualization": "in a virtual machine" if "hypervisor" in flags else "no virtual machine",
            "kernel": f"{os.uname().sysname} {os.uname().release} {os.uname().version}", "governor": governor(cores),
            "load": _read("/proc/loadavg").split(" ")[0], "commit": commit(),
            "iperf3": _first_line("iperf3", "--version"), "wg": _first_line("wg", "--version")}
