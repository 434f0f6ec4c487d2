"""The lab: WireGuard data planes side by side in network namespaces, measured by turns. `tools/lab --help` says how to use it.

    plane         what is compared: programs, the kernel module, no tunnel
    topology      two ends of one plane on a wire
    processor     who used the processor, and whether others disturbed the run
    traffic       the programs that make traffic
    measure       what can be measured; its figures come from tcp, udp, latency, footprint, handshakes
    plan          what is measured on what, in which order: quick, full, targets, run
    rounds        does it, and keeps every figure
    record        the figures and their JSON
    ratios        medians and ratios within a round
    report        tables; goals: the table of what the project wants to reach
    machine       where it was measured
    command       the command line

Needs nothing but Python 3.11, tests/support/rig, and the programs of Debian 12: ip, wg, iperf3.
"""
