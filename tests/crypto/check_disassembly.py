#!/usr/bin/env python3
"""What the compiler made of the AVX-512 engine: valgrind cannot run it, so its instructions are looked at.

1. No division anywhere: its time depends on its operands.
2. No gather and no scatter: no address comes from a vector.
3. Tests that turn vectors into flags (vptest, kortest, ktest, comparisons of floats) only where verdicts are made.
4. No function that the linker could take for another file's: those have no business with these instructions.
5. The key stream's functions hold no conditional jump but the few of their round loops.
"""
import argparse
import re
import subprocess
import sys

FUNCTION = re.compile(r"^[0-9a-f]+ <(.*)>:$")
INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\s+(?:(?:data16|cs|ds|notrack|rep|repz|lock)\s+)*(\S+)\s*(.*)$")

DIVISION = re.compile(r"^i?div[bwlq]?$|^v?div[ps][sd]$|^v?sqrt")
GATHER_OR_SCATTER = re.compile(r"^vp?(gather|scatter)")
VECTOR_TO_FLAGS = re.compile(r"^v?ptest$|^vtest|^kortest|^ktest|^v?u?comis")
CONDITIONAL_JUMP = re.compile(r"^j(?!mp)[a-z]+$|^loop")

JUDGES = re.compile(r"::open(_pieces|_single)?\(|::Piece<.*OpenMessage>::")
STREAMS = re.compile(r"::generate_stream<|::generate_single<|::make_block\(|::keep_stream\(")
# Two loops, or one and the choices of keys and of rounds that fetch.
PUBLIC_JUMPS = 3
# Poly1305 goes on beside these: each of two messages ends or not, is there or not, has an incomplete block or not, and a
# successor or not; and what happens then lies apart.
STREAMS_AND_MACS = re.compile(r"::generate_stream<2, true>")
PUBLIC_JUMPS_OF_MACS = 9


def functions(objdump, path):
    listing = subprocess.run([objdump, "-d", "-C", "--no-show-raw-insn", path], check=True, capture_output=True,
                             text=True).stdout
    name, body = None, []
    for line in listing.splitlines():
        if match := FUNCTION.match(line):
            if name:
                yield name, body
            name, body = match.group(1), []
        elif match := INSTRUCTION.match(line):
            body.append(match.group(1))
    if name:
        yield name, body


def complaints(name, body):
    for instruction in body:
        if DIVISION.match(instruction):
            yield f"division {instruction}"
        if GATHER_OR_SCATTER.match(instruction):
            yield f"addresses from a vector: {instruction}"
        if VECTOR_TO_FLAGS.match(instruction) and not JUDGES.search(name):
            yield f"flags from a vector: {instruction}"
    if STREAMS.search(name):
        jumps = sum(bool(CONDITIONAL_JUMP.match(instruction)) for instruction in body)
        if jumps > PUBLIC_JUMPS + (PUBLIC_JUMPS_OF_MACS if STREAMS_AND_MACS.search(name) else 0):
            yield f"{jumps} conditional jumps"


def weak_functions(objdump, path):
    symbols = subprocess.run([objdump, "-t", "-C", path], check=True, capture_output=True, text=True).stdout
    return [line for line in symbols.splitlines() if re.search(r"^[0-9a-f]+ {2}w.*\.text", line)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("objdump")
    parser.add_argument("path", help="an object or a library")
    arguments = parser.parse_args()
    objdump, path = arguments.objdump, arguments.path
    found = 0
    streams = 0
    for name, body in functions(objdump, path):
        if "(anonymous namespace)" not in name:
            continue
        streams += bool(STREAMS.search(name))
        for complaint in complaints(name, body):
            print(f"{name}: {complaint}")
            found += 1
    for symbol in weak_functions(objdump, path):
        print(f"weak function: {symbol}")
        found += 1
    if streams < 4:
        print(f"{path} holds only {streams} functions that make key stream: is it the engine?")
        found += 1
    print(f"{path}: {found} complaints")
    return found != 0


if __name__ == "__main__":
    sys.exit(main())
