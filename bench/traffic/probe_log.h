// When each probe of a tunnel passed which place, and how long it took from one place to the next.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/traffic/latency.h"

namespace culvert::traffic {

// Where probes are seen, in the order of their way.
enum class Place : uint8_t { sent, near_inner, near_outer, far_outer, far_inner, received, count };
inline constexpr size_t kPlaces = static_cast<size_t>(Place::count);

// Between two places.
struct Stretch {
  std::string_view name;
  Place from, to;
};
inline constexpr auto kStretches = std::to_array<Stretch>({
    {"to_device", Place::sent, Place::near_inner},      // system call, routing, the device's queue of packets
    {"sender", Place::near_inner, Place::near_outer},   // the device's queue towards the daemon, and the daemon
    {"wire", Place::near_outer, Place::far_outer},      // the outer devices
    {"receiver", Place::far_outer, Place::far_inner},   // the outer socket, and the daemon
    {"to_program", Place::far_inner, Place::received},  // the inner socket, and waking who reads it
    {"tunnel", Place::near_inner, Place::far_inner},    // sender, wire and receiver
    {"whole", Place::sent, Place::received},
});

// Outside the tunnel nothing but its length tells one probe from another, so they come in this many lengths by turns.
inline constexpr uint32_t kProbeLengths = 64;

// Bytes of inner packets are 96 and more by 16, so that padding adds nothing; a transport data message has 32 more.
constexpr uint32_t inner_length_of(uint32_t sequence) {
  return 96 + 16 * (sequence % kProbeLengths);
}

// The turn of the probe in a UDP payload of this length outside; nothing if none has this length.
constexpr std::optional<uint32_t> turn_of_message(uint32_t length) {
  if (length < 128 || length % 16 != 0 || (length - 128) / 16 >= kProbeLengths) return std::nullopt;
  return (length - 128) / 16;
}

// Thread safety: none.
class ProbeLog {
 public:
  explicit ProbeLog(size_t expected) { times_.reserve(expected); }

  // The next probe leaves, its sequence number is the number of those before.
  void sent(int64_t at_ns) { times_.push_back({at_ns}); }

  // Later sightings of the same probe at the same place do not count, and neither do unknown sequence numbers.
  void seen(uint32_t sequence, Place place, int64_t at_ns);

  // The same of a probe of which only the turn is known: the latest that was sent before.
  void seen_by_turn(uint32_t turn, Place place, int64_t at_ns);

  // The probe counts as lost: its times mean nothing, as the clock was set while it was on its way.
  void forget(uint32_t sequence);

  size_t count() const { return times_.size(); }
  size_t count_at(Place place) const;

  // Of the probes that arrived and were seen at both ends; a count of 0 if none was.
  LatencySummary summarize(const Stretch& stretch) const;

 private:
  std::vector<std::array<int64_t, kPlaces>> times_;  // 0: not seen
};

}  // namespace culvert::traffic
