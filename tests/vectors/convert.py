#!/usr/bin/env python3
"""convert.py FOLDER: writes the .txt files beside this script from Project Wycheproof's JSON files in FOLDER.

FOLDER is testvectors_v1 of the repository C2SP/wycheproof, which is under the Apache License 2.0. Only facts are taken
over: numbers, keys, nonces, messages, tags and verdicts. Comments, flags and notes stay where they are; a test's number
leads to them.
"""

import argparse
import hashlib
import json
import os
import sys

AEAD = ("key", "iv", "aad", "msg", "ct", "tag")
# What is written of each file: the fields, and the size of nonce that our functions take.
FILES = {
    "chacha20_poly1305": (AEAD, 96),
    "x25519": (("private", "public", "shared"), None),
    "xchacha20_poly1305": (AEAD, 192),
}


def text(name, source):
    """The lines of one file."""
    fields, nonce_bits = FILES[name]
    groups = json.loads(source)["testGroups"]
    kept = [test for group in groups if group.get("ivSize") == nonce_bits for test in group["tests"]]
    left_out = sum(len(group["tests"]) for group in groups) - len(kept)
    why = f" {left_out} of another nonce size, which cannot be passed to us, are left out." if left_out else ""
    lines = [f"# {len(kept)} vectors of {name}_test.json, Project Wycheproof (C2SP/wycheproof, testvectors_v1, Apache-2.0).{why}",
             f"# Written by tests/vectors/convert.py from the file of SHA-256 {hashlib.sha256(source).hexdigest()}.",
             f"# number verdict {' '.join(fields)}; - is an empty field"]
    for test in kept:
        lines.append(" ".join([str(test["tcId"]), test["result"], *(test[field] or "-" for field in fields)]))
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER", help="where Project Wycheproof's JSON files are")
    folder = parser.parse_args().folder
    here = os.path.dirname(os.path.abspath(__file__))
    for name in FILES:
        path = os.path.join(folder, f"{name}_test.json")
        try:
            with open(path, "rb") as file:
                made = text(name, file.read())
        except (OSError, ValueError, KeyError) as problem:
            sys.exit(f"convert.py: {path} is no file of Project Wycheproof: {problem!r}")
        with open(os.path.join(here, f"{name}.txt"), "w", encoding="ascii") as file:
            file.write(made)


if __name__ == "__main__":
    main()
