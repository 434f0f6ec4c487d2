"""The tables of tools/lab: how wide they are, and how rounds of several files are counted."""

import json
import os
import sys
import tempfile
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tools"), os.path.join(ROOT, "tests", "support")]
sys.dont_write_bytecode = True

from laboratory import command, goals, record, report  # noqa: E402

MACHINE = {"commit": "0123456", "cpu": "A processor with a name that goes on and on", "cpus": 8, "memory_gib": 64, "features": "avx2",
           "microcode": "0x1", "virtualization": "none", "kernel": "6.12", "governor": "performance", "load": "0.1", "cores": [0, 1],
           "iperf3": "iperf 3.12", "wg": "wireguard-tools 1.0"}
PLANES = ("culvert", "wireguard-go", "none", "a-plane-with-a-long-name")


def figure(turn, plane, value, disturbed=False):
    return {"round": turn, "plane": plane, "wire_mtu": 1500, "inner": "v4", "outer": "v4", "peers": 1, "measure": "tcp", "variant": 1,
            "direction": "forward", "congestion": "cubic", "name": "TCP, 1 flow, CUBIC", "value": value, "unit": "Gb/s",
            "better": "more", "foreign_cores": 0.5, "stolen_cores": 0.0, "disturbed": disturbed}


def run(kind="run", rounds=2, disturbed=()):
    kept = record.Record("tools/lab run --planes " + ",".join(PLANES), kind, dict(MACHINE), [{"name": each, "version": "1"} for each in PLANES],
                         "wireguard-go", [])
    kept.figures.extend(figure(turn, plane, 3 + turn, turn in disturbed) for turn in range(1, rounds + 1) for plane in PLANES)
    kept.finish()
    return kept


class Goals(unittest.TestCase):
    """What is to be reached depends on TCP's congestion control and on the processor."""

    def at_least(self, congestion, cpu):
        return {each.row: each.wanted_under(congestion, cpu).at_least for each in goals.GOALS
                if each.row in ("tcp-1500-1", "tcp-1500-both", "tcp-9000-1", "tcp-1500-4")}

    def test_amd_has_its_own_under_bbr(self):
        self.assertEqual(self.at_least("bbr", "AMD EPYC"), {"tcp-1500-1": 3.0, "tcp-1500-both": 3.2, "tcp-9000-1": 2.1, "tcp-1500-4": 2.6})
        self.assertEqual(self.at_least("bbr", "Intel"), {"tcp-1500-1": 2.7, "tcp-1500-both": 2.6, "tcp-9000-1": 1.9, "tcp-1500-4": 2.6})

    def test_cubic_has_the_same_everywhere(self):
        self.assertEqual(self.at_least("cubic", "AMD EPYC")["tcp-1500-1"], 3.6)
        self.assertEqual(self.at_least("cubic", "AMD EPYC")["tcp-1500-both"], 3.5)


class Rounds(unittest.TestCase):
    """`tools/lab show` takes several files together as if all their rounds had been one run."""

    def read(self, *kept):
        with tempfile.TemporaryDirectory() as directory:
            paths = [os.path.join(directory, f"{number}.json") for number in range(len(kept))]
            for path, each in zip(paths, kept):
                each.write(path)
            return record.read(paths)

    def test_one_file_keeps_its_numbers(self):
        self.assertEqual([each["round"] for each in self.read(run(rounds=2)).figures], [1] * 4 + [2] * 4)

    def test_a_second_file_is_numbered_on(self):
        found = self.read(run(rounds=2), run(rounds=3))
        self.assertEqual(sorted({each["round"] for each in found.figures}), [1, 2, 3, 4, 5])
        self.assertIn("medians of 5 rounds", report.tables(found))

    def test_rounds_of_which_there_are_only_failures_count(self):
        first = run(rounds=1)
        first.failures.append({**figure(2, "none", 0), "problem": "it did not start"})
        found = self.read(first, run(rounds=1, disturbed=(1,)))
        self.assertIn("failed: round 2, none", report.warnings(found))
        self.assertIn("in rounds 3:", report.warnings(found))

    def test_rounds_are_told_in_their_order(self):
        self.assertIn("in rounds 2, 10, 11:", report.warnings(run(rounds=11, disturbed=(10, 2, 11))))

    def test_what_is_no_file_of_the_lab_is_named(self):
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump({"figures": [{}], "failures": []}, file)
            file.flush()
            self.assertRaisesRegex(ValueError, file.name, record.read, [file.name])


class Width(unittest.TestCase):
    """Nothing is wider than the terminal as long as one column fits beside the first."""

    def shown(self, kind, width):
        before = os.environ.get("COLUMNS")
        os.environ["COLUMNS"] = str(width)
        try:
            return command.tabulated(run(kind, disturbed=(1, 2)))
        finally:
            del os.environ["COLUMNS"]
            if before is not None:
                os.environ["COLUMNS"] = before

    def test_no_line_is_wider_than_the_terminal(self):
        for kind in ("run", "targets", "quick"):
            for width in (80, 100, 132, 200):
                with self.subTest(kind=kind, width=width):
                    self.assertLessEqual(max(map(len, self.shown(kind, width).splitlines())), width)

    def test_columns_that_do_not_fit_go_below_with_the_first_one_again(self):
        cells = [["", "one", "two", "three"], ["rows", "1", "22", "333"]]
        self.assertEqual(report.aligned(cells), ["       one   two   three", "rows     1    22     333"])
        self.assertEqual(report.aligned(cells, 24), report.aligned(cells))
        self.assertEqual(report.aligned(cells, 23), ["       one   two", "rows     1    22", "", "       three", "rows     333"])
        self.assertEqual(len(report.aligned(cells, 1)), 3 * 3 - 1)

    def test_a_pipe_has_no_width(self):
        wide = report.tables(run())
        self.assertGreater(max(map(len, wide.splitlines())), 100)
        self.assertEqual(sum(line.startswith("↑ TCP") for line in wide.splitlines()), 1)
        self.assertIn("goal", goals.table(run("targets")))


if __name__ == "__main__":
    unittest.main()
