// What workers can reach, and who frees it: the control thread replaces or unlinks something, puts the old one on a
// list here, and reclaim() frees the lists once no worker can hold a pointer into them any more. Keypairs leave by
// retire(), peers by free_detached_peers().

#include <utility>

#include "src/device/device.h"
#include "src/pipeline/grace_period.h"

namespace culvert::device {

// After a grace period: no worker routes to these peers any more, but packets may still be staged for them.
void Device::free_detached_peers() {
  if (detached_peers_.empty()) return;
  drop_staged(given_up_, pipeline::DropReason::handshake_failed);  // one of them may be among these
  std::vector<pipeline::PeerPath*> paths;
  for (const auto& peer : detached_peers_) paths.push_back(&peer->path);
  // Also where nothing is staged: a flush that was asked for earlier is over after this.
  workers_.drop_staged(paths, pipeline::DropReason::no_peer, true);
  for (const auto& peer : detached_peers_) give_back_peer_number(peer->path.number);
  detached_peers_.clear();
}

void Device::publish_allowed_ips() {
  if (!groups_.changed()) return;
  groups_.publish(retired_groups_);
  auto copy = std::make_unique<const protocol::AllowedIps>(groups_.allowed_ips());
  published_.allowed_ips.store(copy.get(), std::memory_order_release);
  if (published_allowed_ips_ != nullptr) retired_allowed_ips_.push_back(std::move(published_allowed_ips_));
  published_allowed_ips_ = std::move(copy);
}

void Device::publish_identity() {
  std::unique_ptr<const protocol::Mac1Key> key;
  cookie_checker_.reset();
  if (identity_.exists()) {
    cookie_checker_.emplace(identity_.public_key());
    key = std::make_unique<const protocol::Mac1Key>(identity_.public_key());
  }
  published_.mac1_key.store(key.get(), std::memory_order_release);
  if (mac1_key_ != nullptr) retired_mac1_keys_.push_back(std::move(mac1_key_));
  mac1_key_ = std::move(key);
}

// Before a message is created: it needs an index.
void Device::ensure_free_index() {
  if (!index_table_->full()) return;
  std::unique_ptr<protocol::IndexTable> grown = index_table_->grown();
  published_.index_table.store(grown.get(), std::memory_order_release);
  retired_index_tables_.push_back(std::exchange(index_table_, std::move(grown)));
}

void Device::retire(protocol::RetiredKeypairs retired) {
  for (std::unique_ptr<protocol::Keypair>& keypair : retired) {
    if (DevicePeer* const peer = find_peer(keypair->owner())) {
      const protocol::ReplayWindow::Reception reception = keypair->reception();
      peer->reception_before.expected += reception.expected;
      peer->reception_before.admitted += reception.admitted;
    }
    retired_keypairs_.push_back(std::move(keypair));
  }
}

void Device::reclaim() {
  for (const auto& worker : workers_) worker->announce_control();
  publish_allowed_ips();
  const bool something = !retired_keypairs_.empty() || !retired_allowed_ips_.empty() ||
                         !retired_index_tables_.empty() || !retired_mac1_keys_.empty() || !detached_peers_.empty();
  if (!something) return;
  pipeline::wait_for_workers();
  retired_keypairs_.clear();
  retired_allowed_ips_.clear();
  retired_groups_.clear();
  retired_index_tables_.clear();
  retired_mac1_keys_.clear();
  free_detached_peers();
}

}  // namespace culvert::device
