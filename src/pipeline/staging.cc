#include "src/pipeline/staging.h"

#include <cstring>

#include "src/pipeline/shared_state.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {

bool Staging::has_room(const Queue& queue, size_t bytes) const {
  return queue.packets.size() < protocol::kMaxStagedPackets && queue.bytes + bytes <= kPeerBudgetBytes &&
         bytes_ + bytes <= kBudgetBytes;
}

void Staging::pop_front(PeerPath& path, Queue& queue) {
  const size_t bytes = queue.packets.front().packet.length + kPacketOverheadBytes;
  queue.bytes -= bytes;
  bytes_ -= bytes;
  queue.packets.erase(queue.packets.begin());
  forget(path, 1);
}

void Staging::forget(PeerPath& path, size_t packets) {
  path.staged.fetch_sub(static_cast<uint32_t>(packets), std::memory_order_relaxed);
  size_.store(size() - packets, std::memory_order_relaxed);
}

size_t Staging::stage(PeerPath& path, const io::Superpacket& packet) {
  const size_t bytes = packet.length + kPacketOverheadBytes;
  Queue& queue = queues_[&path];
  size_t lost = 0;
  for (; !queue.packets.empty() && !has_room(queue, bytes); ++lost) pop_front(path, queue);
  if (!has_room(queue, bytes)) {
    queues_.erase(&path);
    return lost + 1;
  }
  StagedPacket copy;
  copy.bytes = std::make_unique_for_overwrite<uint8_t[]>(packet.length + io::kTailroom);
  std::memcpy(copy.bytes.get(), packet.bytes, packet.length);
  copy.packet = packet;
  copy.packet.bytes = copy.bytes.get();
  copy.packet.lease = {};
  queue.packets.push_back(std::move(copy));
  queue.bytes += bytes;
  bytes_ += bytes;
  size_.store(size() + 1, std::memory_order_relaxed);
  // Pairs with the read-modify-write in Device::has_staged(): whichever comes second sees the other.
  path.staged.fetch_add(1, std::memory_order_acq_rel);
  return lost;
}

std::vector<StagedPacket> Staging::take(PeerPath& path) {
  const auto found = queues_.find(&path);
  if (found == queues_.end()) return {};
  Queue queue = std::move(found->second);
  queues_.erase(found);
  bytes_ -= queue.bytes;
  forget(path, queue.packets.size());
  return std::move(queue.packets);
}

std::vector<WaitingPacket> Staging::take_all() {
  std::vector<WaitingPacket> all;
  all.reserve(size());
  while (!queues_.empty()) {
    PeerPath& path = *queues_.begin()->first;
    for (StagedPacket& one : take(path)) all.push_back({&path, std::move(one)});
  }
  return all;
}

size_t Staging::drop(PeerPath& path) {
  return take(path).size();
}

size_t Staging::drop_all() {
  const size_t dropped = size();
  while (!queues_.empty()) (void)drop(*queues_.begin()->first);
  return dropped;
}

}  // namespace culvert::pipeline
