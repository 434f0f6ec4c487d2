"""Medians, and ratios within a round: two figures of one round saw the same machine, those of different rounds did not."""

import statistics


class Series:
    """The values of one figure by round, for one plane in one setting."""

    def __init__(self):
        self.values = {}
        self.disturbed = set()

    def add(self, figure):
        self.values[figure["round"]] = figure["value"]
        if figure["disturbed"]:
            self.disturbed.add(figure["round"])

    def __len__(self):
        return len(self.values)

    def median(self):
        return statistics.median(self.values.values())

    def least(self):
        return min(self.values.values())

    def most(self):
        return max(self.values.values())


def ratio(mine, base):
    """The median of the ratios of the rounds that have both figures; None if there is no such round."""
    found = [value / base.values[turn] for turn, value in mine.values.items() if base.values.get(turn)]
    return statistics.median(found) if found else None


def series(figures, **wanted):
    """The series of the figures whose fields are as wanted; None if there are none."""
    found = Series()
    for figure in figures:
        if all(figure[key] == value for key, value in wanted.items()):
            found.add(figure)
    return found if len(found) else None


def number(value):
    """Three digits that mean something, without an exponent."""
    if value == 0:
        return "0"
    size = abs(value)
    return f"{value:.0f}" if size >= 100 else f"{value:.1f}" if size >= 10 else f"{value:.2f}" if size >= 1 else f"{value:.3f}"
