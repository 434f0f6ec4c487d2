"""Runs a plan: every round measures everything once, the contenders by turns and in another order each time."""

import os
import sys
import time

from rig.shell import Failure

from laboratory.measure import Trial
from laboratory.plan import expected_seconds, set_up_seconds
from laboratory.processor import Watch
from laboratory.topology import Topology

NOISE = (Failure, OSError, KeyError, ValueError, ArithmeticError)  # what a broken plane or a garbled answer can bring about


class Progress:
    """Says on standard error what is going on and how long it will take. One line that changes, or a line for each step."""

    def __init__(self, expected, steps, stream=sys.stderr):
        self.expected, self.steps, self.stream = expected, steps, stream
        self.began = time.monotonic()
        self.step = 0
        self.expected_so_far = 0.0

    def say(self, text, cost):
        self.step += 1
        spent = time.monotonic() - self.began
        # At first the estimate is all there is; with every step what was seen counts more.
        pace = (spent + 10) / (self.expected_so_far + 10)
        left = round(max(0.0, self.expected - self.expected_so_far) * pace)
        self.expected_so_far += cost
        line = f"[{self.step}/{self.steps}] {text}; {left // 60}:{left % 60:02} left"
        if self.stream.isatty():
            width = self._width()
            print(f"\r{line[:width]:{width}}", end="", file=self.stream, flush=True)
        else:
            print(line, file=self.stream, flush=True)

    def close(self):
        if self.stream.isatty():
            print(f"\r{'':{self._width()}}\r", end="", file=self.stream, flush=True)

    def _width(self):
        """One column less than the terminal has: the last one would begin a new line."""
        return (os.get_terminal_size(self.stream.fileno()).columns or 80) - 1


class Rounds:
    """One run of a plan. `run` fills the record; topologies live as long as a round needs them."""

    def __init__(self, plan, planes, record, directory, cores, program):
        self.plan, self.planes, self.record = plan, planes, record
        self.directory, self.cores, self.program = directory, cores, program
        self.alive = {}
        self.hopeless = set()  # contenders that could not be set up

    def run(self, rounds):
        steps = rounds * sum(len(task.contenders) for task in self.plan)
        self.progress = Progress(rounds * expected_seconds(self.plan), steps)
        try:
            for turn in range(1, rounds + 1):
                self._round(turn, rounds)
            self.record.finish()
        finally:
            self.progress.close()
            self._keep(())

    def _round(self, turn, rounds):
        for number, task in enumerate(self.plan):
            shift = (turn - 1 + number) % len(task.contenders)
            for contender in task.contenders[shift:] + task.contenders[:shift]:
                variant = "" if task.variant is None else f" {task.variant}"
                direction = "" if task.direction == "forward" else f" {task.direction}"
                peers = "" if contender.setting.peers == 1 else f", {contender.setting.peers} peers"
                congestion = f", {task.congestion}" if task.measure.bulk_tcp else ""
                self.progress.say(f"round {turn}/{rounds}, MTU {contender.setting.wire_mtu}, {task.measure.name}{variant}"
                                  f"{direction}, {contender.plane}{peers}{congestion}", self._cost(task, contender))
                self._trial(turn, task, contender)
            self._keep({contender for later in self.plan[number + 1:] for contender in later.contenders})

    def _cost(self, task, contender):
        return task.measure.cost(task.seconds) + (0 if contender in self.alive else set_up_seconds(contender))

    def _trial(self, turn, task, contender):
        if contender in self.hopeless:
            return
        try:
            topology = self._topology(contender)
        except NOISE as problem:
            self.hopeless.add(contender)
            self.record.fail(turn, task, contender, f"cannot be set up: {problem}")
            return
        try:
            watch = Watch(self.cores)
            readings = task.measure.take(topology, Trial(task.seconds, task.direction, task.variant, self.cores, self.program,
                                                         task.congestion))
            topology.check_alive()
            self.record.add(turn, task, contender, readings, watch.use())
        except NOISE as problem:
            self.record.fail(turn, task, contender, self._cause(topology, problem))
            self.alive.pop(contender)
            self._close(topology)

    @staticmethod
    def _cause(topology, problem):
        """A daemon that died explains whatever else went wrong."""
        try:
            topology.check_alive()
        except Failure as death:
            return death
        return problem if isinstance(problem, Failure) else f"{type(problem).__name__}: {problem}"

    def _topology(self, contender):
        if contender not in self.alive:
            self.alive[contender] = Topology(self.planes[contender.plane], contender.setting, self.directory)
        return self.alive[contender]

    def _keep(self, needed):
        for contender in [each for each in self.alive if each not in needed]:
            self._close(self.alive.pop(contender))

    @staticmethod
    def _close(topology):
        try:
            topology.close()
        except NOISE as problem:
            print(f"lab: {topology.plane} did not end as it should: {problem}", file=sys.stderr)
