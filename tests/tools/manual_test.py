"""The manual pages name what the sources know: variables, keys of configurations, options and verbs. So do the packages."""

import glob
import json
import os
import re
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def read(*patterns):
    text = ""
    for pattern in patterns:
        for path in sorted(glob.glob(os.path.join(ROOT, pattern))):
            with open(path, encoding="utf-8") as file:
                text += file.read()
    return text


def manual(name):
    """As a reader sees it: without the escapes of troff."""
    return read(f"tools/packaging/man/{name}").replace("\\-", "-")


class Manual(unittest.TestCase):
    def has_all(self, page, words):
        self.assertGreater(len(words), 3, "the sources are not read as they should be")
        missing = [word for word in sorted(words) if not re.search(rf"(?<![\w-]){re.escape(word)}(?!\w)", manual(page))]
        self.assertEqual(missing, [], f"tools/packaging/man/{page} does not name them")

    def test_every_variable(self):
        self.has_all("culvert.8", set(re.findall(r'"((?:CULVERT|WG)_[A-Z_]+|LOG_LEVEL|NOTIFY_SOCKET)"', read("src/daemon/*.cc"))) -
                     {"CULVERT_VERSION"})

    def test_every_option_and_verb(self):
        options = set(re.findall(r'"(?:-\w,)?(--[a-z-]+)[",]', read("src/daemon/command_line.cc")))
        verbs = set(re.findall(r'Verb\{"([a-z]+)"', read("src/daemon/verbs.cc")))
        self.assertGreater(len(verbs), 3)
        self.has_all("culvert.8", options | verbs | {"--help"})

    def test_every_key_of_a_configuration(self):
        self.has_all("culvert.conf.5", set(re.findall(r'same_word\(\w*key, "(\w+)"\)', read("src/config/*.cc"))))

    def test_every_library_that_the_packages_are_built_with(self):
        build_group = re.search(r"\n +build\) echo (.*?);;", read("tools/setup"), re.S)[1]
        wanted = set(re.findall(r"[a-z0-9-]+-dev\b", build_group))
        self.assertGreater(len(wanted), 5)
        control = read("tools/packaging/debian/control")
        listed = re.search(r"^Build-Depends:(.*?)^$", control, re.S | re.M)[1]
        self.assertEqual(wanted - set(re.findall(r"[a-z0-9-]+", listed)), set(), "Build-Depends of tools/packaging/debian/control lacks them")

    def test_the_dashboard_shows_what_there_is(self):
        dashboard = json.loads(read("tools/packaging/grafana.json"))
        sources = read("src/*/*.h", "src/*/*.cc", "io/*.h")
        shown = set(re.findall(r"culvert_([a-z_]+)", json.dumps([panel["targets"] for panel in dashboard["panels"]])))
        self.assertGreater(len(shown), 10)
        self.assertEqual([name for name in sorted(shown) if f'"{name}"' not in sources], [], "no metric is named so")


if __name__ == "__main__":
    unittest.main()
