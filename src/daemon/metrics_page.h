// All that devices tell, as one text that is made piece by piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "src/device/metrics.h"

namespace culvert::daemon {

// A text of ten thousand peers would hold the control thread up for tens of milliseconds, and a client that does not
// read it would keep megabytes: so a piece is made when there is room to send it. Each piece tells what holds when it
// is made. A peer or a device may come and go in between.
//
// Thread safety: none; owned by the control thread.
class MetricsPage {
 public:
  // The devices of now, in the order of their names.
  using Devices = std::function<std::vector<const device::Measured*>()>;
  static constexpr size_t kPeersInPiece = 128;

  MetricsPage(Devices devices, bool each_peer) : devices_(std::move(devices)), each_peer_(each_peer) {}

  // The next piece: that of the devices first, then of at most kPeersInPiece peers. "" at the end.
  std::string next();

 private:
  std::string first_piece();
  std::string next_slice();

  Devices devices_;
  bool each_peer_;
  bool begun_ = false;
  // Where the next slice begins.
  size_t family_ = 0;
  bool family_has_head_ = false;
  std::string device_;  // this one, or the next after it
  uint64_t peer_ = 0;   // of device_
};

// For those who want the pieces alone.
inline std::function<std::string()> pieces_of(MetricsPage page) {
  return [page = std::move(page)]() mutable { return page.next(); };
}

}  // namespace culvert::daemon
