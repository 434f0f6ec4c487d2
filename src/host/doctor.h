// `culvert doctor`: what this host costs a tunnel, and the command that mends it. Nothing here changes anything.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/endpoint.h"

namespace culvert::host {

struct TunnelFacts {
  std::string name;
  uint64_t mtu = 0;  // bytes
};

// What was found; values that could not be read are empty and blamed on nobody.
struct HostFacts {
  bool net_admin = false, tun_device = false;       // CAP_NET_ADMIN, /dev/net/tun
  bool bpf = false;                                 // CAP_BPF and CAP_PERFMON
  bool ipv6_off = false;                            // no IPv6 in this kernel or namespace
  std::optional<uint64_t> rmem_max, wmem_max;       // bytes
  std::optional<uint64_t> ip_forward, early_demux;  // sysctls of IPv4
  std::optional<uint64_t> rp_filter;                // of the device, or of all if that is stricter
  std::optional<uint64_t> conntrack_count, conntrack_max;
  std::string device;                               // that the route leaves by; "": no route
  std::optional<uint64_t> device_mtu, path_mtu;     // bytes
  bool path_swallows = false;                       // what is larger than path_mtu is lost without a word
  uint64_t overhead_bytes = 80;                     // of a packet in a tunnel that goes this way
  std::vector<TunnelFacts> tunnels;                 // that run here
  std::optional<uint64_t> transmit_queue_length;    // packets
  std::optional<bool> gro, gso, transmit_checksum;  // of the device
  std::optional<bool> udp_gro_forwarding;           // of the device
  std::optional<uint64_t> receive_queues;           // of the device
  std::optional<uint64_t> transmit_queues;          // of the device
  std::optional<uint64_t> queues, most_queues;      // channels of the card: in use, and there
  bool queues_are_combined = true;                  // each to receive and to send
  std::optional<bool> transmit_steering;            // XPS on any of them
  std::optional<bool> packet_steering;              // RPS on any of them
  std::optional<bool> threaded_napi;
  uint64_t processors = 1;
};

struct Finding {
  std::string what;      // a sentence
  std::string measured;  // such as "net.core.rmem_max = 212992"
  std::string mend;      // a command
};

// Looks at the way to `target`, which is probed, or at the default route's without one. `tunnels`: names of interfaces
// that run here. `root` stands before /proc and /sys, for tests.
HostFacts read_host_facts(const std::optional<io::Endpoint>& target, const std::vector<std::string>& tunnels = {},
                          const std::string& root = "");

// What is worth mending, the worst first. Pure.
std::vector<Finding> diagnose(const HostFacts& facts);

}  // namespace culvert::host
