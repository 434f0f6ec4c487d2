// A device that is measured: it tells what a test gave it.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "src/daemon/metrics_page.h"

namespace culvert::daemon::test {

struct FakeMeasured final : device::Measured {
  explicit FakeMeasured(device::Metrics all_in) : all(std::move(all_in)) {}

  const std::string& name() const override { return all.name; }
  device::Metrics metrics() const override { return all; }
  device::PeerSlice peer_metrics(uint64_t from, size_t most) const override {
    device::PeerSlice slice;
    const size_t end = std::min(peers.size(), from + most);
    for (size_t i = from; i < end; ++i) slice.peers.push_back(peers[i]);
    if (end < peers.size()) slice.next = end;
    return slice;
  }

  device::Metrics all;
  std::vector<device::PeerMetrics> peers;
};

inline std::string text_of(MetricsPage page) {
  std::string text;
  for (std::string piece = page.next(); !piece.empty(); piece = page.next()) text += piece;
  return text;
}

inline std::string text_of(const FakeMeasured& device) {
  return text_of(MetricsPage([&] { return std::vector<const device::Measured*>{&device}; }, true));
}

}  // namespace culvert::daemon::test
