// Joins neighbouring packets of a flow into superpackets before they are written to the inner side: the
// software side of GRO (Linux net/ipv4/tcp_offload.c tcp_gro_receive, udp_offload.c udp_gro_receive).
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "io/inner_side.h"
#include "io/superpacket.h"
#include "src/packet/ip_header.h"

namespace culvert::packet {

// Thread safety: none; one worker owns it. All memory is allocated by the constructor.
// Invariants: packets of one flow leave in the order they came in; a packet that cannot be joined passes as it is;
// cutting a superpacket gives back exactly the packets that went into it, save for
// - IPv4 ids that are always zero under "don't fragment" (RFC 6864 lets any id stand there; macOS TCP, unconnected
//   UDP on Linux): they are counted up from zero;
// - TCP and UDP checksums that were wrong: they become right. Nobody verifies them, as in the kernel module.
// A packet whose IPv4 checksum is wrong is not joined. No more than 64 UDP packets are.
class Coalescer {
 public:
  // Most packets between two calls of clear().
  static constexpr size_t kMaxPackets = 512;

  Coalescer();
  ~Coalescer();
  Coalescer(const Coalescer&) = delete;
  Coalescer& operator=(const Coalescer&) = delete;

  // Adds one packet, from whose bytes `ip` was read without an error; what follows its total length is left out. The
  // bytes stay where they are, may be written to (headers of the first packet of a superpacket are), and live until
  // clear(). `lease` is the claim on their memory, if there is one. At most kMaxPackets before clear().
  void add(uint8_t* packet, const IpHeader& ip, const io::InnerOffloads& offloads, io::Lease* lease = nullptr);

  // The packets to write, in order. Valid until clear().
  std::span<const io::GatheredPacket> finish();

  void clear();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace culvert::packet
