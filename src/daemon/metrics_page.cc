#include "src/daemon/metrics_page.h"

#include <algorithm>
#include <utility>

#include "src/daemon/metrics.h"

namespace culvert::daemon {

std::string MetricsPage::next() {
  std::string piece = std::exchange(begun_, true) ? "" : first_piece();
  while (piece.empty() && each_peer_ && family_ < kPeerFamilies) piece = next_slice();
  return piece;
}

std::string MetricsPage::first_piece() {
  std::vector<std::string> texts;
  for (const device::Measured* const device : devices_()) texts.push_back(metrics_text(device->metrics()));
  return join_metrics(texts);
}

std::string MetricsPage::next_slice() {
  const std::vector<const device::Measured*> devices = devices_();
  const auto at = std::find_if(devices.begin(), devices.end(),
                               [this](const device::Measured* device) { return device->name() >= device_; });
  if (at == devices.end()) {
    ++family_;
    family_has_head_ = false;
    device_.clear();
    peer_ = 0;
    return "";
  }
  const device::Measured& device = **at;
  const device::PeerSlice slice = device.peer_metrics(device.name() == device_ ? peer_ : 0, kPeersInPiece);
  device_ = device.name();
  if (slice.next)
    peer_ = *slice.next;
  else
    device_.push_back(0), peer_ = 0;  // the least of the names behind it
  if (slice.peers.empty()) return "";
  return peer_family_text(family_, device.name(), slice.peers, !std::exchange(family_has_head_, true));
}

}  // namespace culvert::daemon
