"""The Linux kernel module as the peer, in a virtual machine of its own."""

import os
import subprocess

from rig.implementation import ROOT, implementation
from rig.scenario import scenario
from rig.shell import Missing, attempt, check, run

RIG = f"{ROOT}/tests/interop/kernel_peer"


def prepare():
    """Fetches the kernel and builds the image while there still is a network. Returns False if that cannot be."""
    return attempt(f"{RIG}/build-initramfs", timeout=600).returncode == 0


def prove(lab, which, **options):
    if os.environ.get("CULVERT_KERNEL_PEER") != "1":
        raise Missing("no kernel peer: tools/setup interop installs qemu, tests/interop/kernel_peer/build-initramfs says more")
    env = {**os.environ, "KP_STATE": os.path.join(lab.directory, "kernel-peer"), "KP_DEBUG": "1", **options}
    run(f"{RIG}/start", env=env, timeout=200)
    lab.undo.append(lambda: run(f"{RIG}/stop", env=env))
    with open(lab.log("prove"), "w+", encoding="utf-8") as log:
        try:
            done = subprocess.run([f"{RIG}/prove", implementation(which).program, "-f", "kp0"], env=env, timeout=400,
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        finally:
            log.seek(0)
            lines = log.read().splitlines()
            print("\n".join(lines))
    failed = [line for line in lines if line.startswith("FAIL")]
    check(done.returncode == 0, f"{len(failed)} checks failed: {'; '.join(' '.join(line.split()[1:-2]) for line in failed)}")


@scenario("the kernel module: handshakes, sizes, TCP, UDP, PSK, roaming, cookies", pairs=(("culvert",),), long=True)
def everything(lab, which):
    prove(lab, which)


@scenario("the kernel module: keys are renewed after 120 s, no packet lost", pairs=(("culvert",),), long=True)
def rekey(lab, which):
    prove(lab, which, PROVE_LONG="1")
