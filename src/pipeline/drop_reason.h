// Why a packet or datagram went no further. Every drop of the data path is counted under exactly one of
// these.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace culvert::pipeline {

enum class DropReason : uint8_t {
  // Outbound: packets from the inner side.
  not_ip,              // neither IPv4 nor IPv6, or cut short
  malformed_offload,   // the virtio header and the packet contradict each other
  no_peer,             // no allowed IPs cover the destination; answered by ICMP
  no_endpoint,         // the peer has no endpoint yet; answered by ICMP
  routing_loop,        // our own outer datagram, routed into the tunnel that made it
  staging_full,        // waited for a handshake and was displaced
  handshake_failed,    // waited for a handshake that never came
  counters_exhausted,  // the keypair ran out of counters
  send_failed,         // the outer side refused it
  // Inbound: datagrams from the outer side.
  malformed_datagram,    // no WireGuard message: wrong type or length
  invalid_mac1,          // a handshake message that is not for us
  handshake_queue_full,  // the control thread is behind
  unknown_index,         // no keypair has this receiver index
  keypair_expired,       // older than Reject-After-Time
  forged,                // the tag is wrong
  replayed,              // the counter was seen, is too old or past Reject-After-Messages
  malformed_inner,       // what was inside is no whole IP packet
  source_not_allowed,    // the inner source address is not the peer's
  inner_refused,         // the inner side refused it
  count
};

inline constexpr size_t kDropReasons = static_cast<size_t>(DropReason::count);

// The metrics label of each reason, in the order of the enum.
inline constexpr std::array<std::string_view, kDropReasons> kDropReasonNames = {
    "not_ip",          "malformed_offload",  "no_peer",          "no_endpoint",
    "routing_loop",    "staging_full",       "handshake_failed", "counters_exhausted",
    "send_failed",     "malformed_datagram", "invalid_mac1",     "handshake_queue_full",
    "unknown_index",   "keypair_expired",    "forged",           "replayed",
    "malformed_inner", "source_not_allowed", "inner_refused"};

}  // namespace culvert::pipeline
