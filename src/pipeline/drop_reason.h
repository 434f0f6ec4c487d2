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
  send_failed,         // the outer side refused it, or had no room
  link_down,           // there is no outer side: the interface is down
  congestion,          // its queue stood too long, and its ends do no ECN
  control_queue_full,  // a handshake message or keepalive of ours: the worker is behind
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

// The metrics label of a reason. A reason without one does not compile (-Wswitch).
constexpr std::string_view name_of(DropReason reason) {
  switch (reason) {
    case DropReason::not_ip:
      return "not_ip";
    case DropReason::malformed_offload:
      return "malformed_offload";
    case DropReason::no_peer:
      return "no_peer";
    case DropReason::no_endpoint:
      return "no_endpoint";
    case DropReason::routing_loop:
      return "routing_loop";
    case DropReason::staging_full:
      return "staging_full";
    case DropReason::handshake_failed:
      return "handshake_failed";
    case DropReason::counters_exhausted:
      return "counters_exhausted";
    case DropReason::send_failed:
      return "send_failed";
    case DropReason::link_down:
      return "link_down";
    case DropReason::congestion:
      return "congestion";
    case DropReason::control_queue_full:
      return "control_queue_full";
    case DropReason::malformed_datagram:
      return "malformed_datagram";
    case DropReason::invalid_mac1:
      return "invalid_mac1";
    case DropReason::handshake_queue_full:
      return "handshake_queue_full";
    case DropReason::unknown_index:
      return "unknown_index";
    case DropReason::keypair_expired:
      return "keypair_expired";
    case DropReason::forged:
      return "forged";
    case DropReason::replayed:
      return "replayed";
    case DropReason::malformed_inner:
      return "malformed_inner";
    case DropReason::source_not_allowed:
      return "source_not_allowed";
    case DropReason::inner_refused:
      return "inner_refused";
    case DropReason::count:
      break;
  }
  return {};
}

// The labels of all reasons, in the order of the enum.
inline constexpr std::array<std::string_view, kDropReasons> kDropReasonNames = [] {
  std::array<std::string_view, kDropReasons> names;
  for (size_t i = 0; i < kDropReasons; ++i) names[i] = name_of(static_cast<DropReason>(i));
  return names;
}();

}  // namespace culvert::pipeline
