// What the device tells for metrics: values alone. src/daemon/metrics.cc makes text of them.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/counters.h"
#include "io/device_counts.h"
#include "io/endpoint.h"
#include "io/engine.h"
#include "io/inner_side.h"
#include "io/outer_side.h"
#include "src/device/encoding.h"
#include "src/pipeline/stats.h"

namespace culvert::device {

// Thread safety: the control thread alone.
struct ControlStats {
  io::Counter initiations_sent, initiations_received;
  io::Counter responses_sent, responses_received;
  io::Counter cookie_replies_sent, cookie_replies_received;
  io::Counter handshakes_rejected;  // not authentic, replayed, for nobody, or too many
  io::Counter handshake_send_errors;
  io::Counter keepalives_sent;
};

inline constexpr auto kControlCounters = [] {
  constexpr const char* kFamily = "handshake_messages_total";
  constexpr const char* kHelp = "Handshake messages, by kind.";
  using Stats = ControlStats;
  return std::to_array<io::CounterEntry<ControlStats>>({
      {&Stats::initiations_sent, kFamily, kHelp, "kind=\"initiation_sent\""},
      {&Stats::initiations_received, kFamily, kHelp, "kind=\"initiation_received\""},
      {&Stats::responses_sent, kFamily, kHelp, "kind=\"response_sent\""},
      {&Stats::responses_received, kFamily, kHelp, "kind=\"response_received\""},
      {&Stats::cookie_replies_sent, kFamily, kHelp, "kind=\"cookie_reply_sent\""},
      {&Stats::cookie_replies_received, kFamily, kHelp, "kind=\"cookie_reply_received\""},
      {&Stats::handshakes_rejected, kFamily, kHelp, "kind=\"rejected\""},
      {&Stats::handshake_send_errors, kFamily, kHelp, "kind=\"send_failed\""},
      {&Stats::keepalives_sent, "keepalives_sent_total", "Keepalives sent."},
  });
}();
static_assert(io::describes_all(kControlCounters), "a counter of ControlStats has no line in the table");

// Counters are in the order of their tables, drops in that of pipeline::DropReason.
struct WorkerMetrics {
  io::CounterValues<pipeline::kWorkerCounters.size()> counters{};
  io::CounterValues<pipeline::kDropReasons> drops{};
};

struct PortMetrics {
  uint16_t port = 0;
  uint64_t datagrams_sent = 0;  // since the port was opened
};

// What is known of one peer.
struct PeerMetrics {
  Key public_key{};
  std::optional<io::Endpoint> endpoint;
  uint64_t received_bytes = 0, sent_bytes = 0;
  // Transport data that the peer has numbered and that has arrived, of all its keypairs so far.
  uint64_t expected_messages = 0, received_messages = 0;
  int64_t last_handshake_seconds = 0;               // Unix time; 0: never
  std::optional<std::chrono::seconds> keypair_age;  // of the one to send with; none: there is none
};

struct MemberMetrics {
  std::string public_key;  // base64
  bool alive = false;
  uint64_t sent_bytes = 0, received_bytes = 0;
};
struct GroupMetrics {
  std::string name;
  std::vector<MemberMetrics> members;
};

struct Metrics {
  std::string name;         // of the interface
  std::string aead_engine;  // crypto::engine_name()
  size_t peers = 0;
  bool link_up = false;
  size_t workers_now = 0;
  size_t workers_serving = 0;                   // of these
  std::vector<WorkerMetrics> workers;           // all that there ever were
  std::vector<PortMetrics> ports;               // none while the link is down
  io::DeviceCounts outer_device, inner_device;  // empty where there are sockets, or a TUN device
  // Of all workers.
  io::CounterValues<io::kOuterCounters.size()> outer{};
  io::CounterValues<io::kInnerCounters.size()> inner{};
  io::OuterState outer_state;
  bool tun_tcp = false, tun_udp = false;
  io::Engine tun_engine = io::Engine::automatic;
  io::CounterValues<kControlCounters.size()> control{};
  // In order of their names, as many groups as have kMaxMemberMetrics members together.
  std::vector<GroupMetrics> groups;
};

// More would be too much for whoever collects them.
inline constexpr size_t kMaxMemberMetrics = 1024;

// A part of all peers.
struct PeerSlice {
  std::vector<PeerMetrics> peers;
  std::optional<uint64_t> next;  // where the next slice begins; none: this was the last
};

// A device, as those see it who collect metrics.
class Measured {
 public:
  virtual ~Measured() = default;
  virtual const std::string& name() const = 0;  // of the interface
  virtual Metrics metrics() const = 0;
  // Of at most `most` peers from `from` on, which is 0 or a `next`; the oldest first.
  virtual PeerSlice peer_metrics(uint64_t from, size_t most) const = 0;
};

}  // namespace culvert::device
