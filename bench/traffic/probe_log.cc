#include "bench/traffic/probe_log.h"

#include <algorithm>

namespace culvert::traffic {

void ProbeLog::seen(uint32_t sequence, Place place, int64_t at_ns) {
  if (sequence >= times_.size()) return;
  int64_t& time = times_[sequence][static_cast<size_t>(place)];
  if (time == 0) time = at_ns;
}

void ProbeLog::seen_by_turn(uint32_t turn, Place place, int64_t at_ns) {
  const auto after = std::upper_bound(times_.begin(), times_.end(), at_ns,
                                      [](int64_t at, const auto& probe) { return at < probe[0]; });
  const auto sent_before = static_cast<uint32_t>(after - times_.begin());
  const uint32_t back = (sent_before + kProbeLengths - 1 - turn % kProbeLengths) % kProbeLengths;
  if (back < sent_before) seen(sent_before - 1 - back, place, at_ns);
}

void ProbeLog::forget(uint32_t sequence) {
  if (sequence < times_.size()) std::fill(times_[sequence].begin() + 1, times_[sequence].end(), 0);
}

size_t ProbeLog::count_at(Place place) const {
  const auto at = static_cast<size_t>(place);
  return static_cast<size_t>(
      std::count_if(times_.begin(), times_.end(), [&](const auto& probe) { return probe[at] != 0; }));
}

LatencySummary ProbeLog::summarize(const Stretch& stretch) const {
  const auto from = static_cast<size_t>(stretch.from), to = static_cast<size_t>(stretch.to);
  LatencySamples samples(times_.size());
  constexpr auto kReceived = static_cast<size_t>(Place::received);
  for (const auto& probe : times_)
    if (probe[from] != 0 && probe[to] != 0 && probe[kReceived] != 0) samples.add(probe[to] - probe[from]);
  return samples.summarize();
}

}  // namespace culvert::traffic
