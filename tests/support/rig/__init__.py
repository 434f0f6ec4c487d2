"""Network namespaces, WireGuard implementations and traffic for the end-to-end tests, the demo and the lab.

Needs nothing but Python 3.11 and the programs of Debian 12: ip, wg, ping, iperf3, nft.
"""
