"""Every figure of a run, and where it came from. Written and read as JSON."""

import json

SETTING = ("wire_mtu", "inner", "outer", "peers")
SUFFIXES = {"forward": "", "reverse": ", reverse", "both": ", both ways"}


def named(reading, suffix, congestion):
    """The name of a figure: "TCP, 1 flow: retransmits" both ways under CUBIC is "TCP, 1 flow, both ways, CUBIC: retransmits"."""
    head, colon, tail = reading.partition(":")
    return head + suffix + (f", {congestion.upper()}" if congestion else "") + colon + tail


class Record:
    """Figures in the order in which they were measured. Plain values only, so that it can go to a file and come back."""

    def __init__(self, command, kind, machine, planes, baseline, left_out):
        self.content = {"command": command, "kind": kind, "machine": machine, "planes": planes, "baseline": baseline,
                        "left_out": left_out, "complete": False, "figures": [], "failures": []}

    def __getattr__(self, name):
        try:
            return self.__dict__["content"][name]
        except KeyError:
            raise AttributeError(name) from None

    def add(self, turn, task, contender, readings, use):
        """Takes the readings of one trial over, with what the machine did meanwhile."""
        congestion = task.congestion if task.measure.bulk_tcp else ""
        for reading in readings:
            self.figures.append({
                "round": turn, "plane": contender.plane, **{key: getattr(contender.setting, key) for key in SETTING},
                "measure": task.measure.name, "variant": task.variant, "direction": task.direction, "seconds": task.seconds,
                "congestion": congestion, "name": named(reading.name, SUFFIXES[task.direction], congestion),
                "value": reading.value, "unit": reading.unit, "better": reading.better,
                "foreign_cores": round(use.foreign, 3), "stolen_cores": round(use.steal, 3), "disturbed": use.disturbed})

    def fail(self, turn, task, contender, problem):
        self.failures.append({
            "round": turn, "plane": contender.plane, **{key: getattr(contender.setting, key) for key in SETTING},
            "measure": task.measure.name, "variant": task.variant, "direction": task.direction, "congestion": task.congestion,
            "problem": str(problem)})

    def finish(self):
        self.content["complete"] = True

    def write(self, path):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(self.content, file, indent=1)
            file.write("\n")


def read(paths):
    """One record of several files, as if all their rounds had been one run. ValueError says which file is none."""
    merged = None
    rounds = 0
    for number, path in enumerate(paths):
        try:
            with open(path, encoding="utf-8") as file:
                content = json.load(file)
            found = [*content["figures"], *content["failures"]]
            for each in found:
                each["round"] += rounds
            rounds = max((each["round"] for each in found), default=rounds)
            if merged is None:
                merged = Record(*(content[key] for key in ("command", "kind", "machine", "planes", "baseline", "left_out")))
            else:
                merged.content["command"] += f"\n{'':10}{content['command']}"
                merged.content["planes"] += [each for each in content["planes"] if each not in merged.planes]
                if content["machine"]["commit"] not in merged.machine["commit"]:
                    merged.machine["commit"] += f"; {content['machine']['commit']}"
            merged.content["complete"] = content["complete"] and (merged.complete or number == 0)
        except (OSError, json.JSONDecodeError, KeyError, TypeError) as problem:
            raise ValueError(f"{path}: no figures of the lab: {problem!r}") from problem
        merged.figures.extend(content["figures"])
        merged.failures.extend(content["failures"])
    return merged
