"""Running programs, and waiting for what they bring about: always for a condition, never for a time."""

import subprocess
import time


class Failure(AssertionError):
    """Something that the scenario demands did not hold."""


class Missing(Exception):
    """Something that the scenario needs is not on this machine; says what, and how to get it."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def run(*command, stdin=None, timeout=60, env=None):
    """Runs a program to its end and returns its output; a status other than 0 is a Failure that quotes it."""
    done = attempt(*command, stdin=stdin, timeout=timeout, env=env)
    if done.returncode != 0:
        raise Failure(f"{' '.join(map(str, command))}: status {done.returncode}: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def attempt(*command, stdin=None, timeout=60, env=None):
    """Runs a program to its end and returns the CompletedProcess, whatever its status."""
    given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    try:
        return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=timeout, env=env, **given)
    except subprocess.TimeoutExpired as late:
        raise Failure(f"{' '.join(map(str, command))}: not done after {timeout} s") from late


def wait_until(condition, what, timeout=60, interval=0.02):
    """Polls until the condition returns something true, and returns that. The timeout is a last resort.

    It is longer than the protocol's own clocks: a peer that has lost its keys unnoticed is missed after 15 s, and each
    attempt at a handshake that crosses another takes 5 s.
    """
    deadline = time.monotonic() + timeout
    while True:
        met = condition()
        if met:
            return met
        if time.monotonic() > deadline:
            raise Failure(f"waited {timeout} s in vain: {what}")
        time.sleep(interval)


def runs(pid):
    """True for a process that has not ended. Of a killed parent's children, nobody here takes note."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def end(process, grace=10):
    """Ends a Popen by its pid: SIGTERM, and SIGKILL if that is ignored. Returns its status, None if it had to be killed."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(grace)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            return None
    return process.returncode
