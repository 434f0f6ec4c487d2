#include "src/pipeline/staging.h"

#include <cstring>

#include "io/inner_queue.h"
#include "src/pipeline/peer_path.h"
#include "src/protocol/messages.h"

namespace culvert::pipeline {

void Staging::pop_front(PeerPath& path, std::deque<StagedPacket>& queue) {
  bytes_ -= queue.front().packet.length;
  queue.pop_front();
  path.staged.fetch_sub(1, std::memory_order_relaxed);
}

size_t Staging::stage(PeerPath& path, const io::Superpacket& packet) {
  std::deque<StagedPacket>& queue = queues_[&path];
  size_t lost = 0;
  while (!queue.empty() &&
         (queue.size() >= protocol::kMaxStagedPackets || bytes_ + packet.length > kBudgetBytes)) {
    pop_front(path, queue);
    ++lost;
  }
  if (bytes_ + packet.length > kBudgetBytes) {
    queues_.erase(&path);
    return lost + 1;
  }
  StagedPacket copy;
  copy.bytes = std::make_unique_for_overwrite<uint8_t[]>(packet.length + io::InnerQueue::kReadTailroom);
  std::memcpy(copy.bytes.get(), packet.bytes, packet.length);
  copy.packet = packet;
  copy.packet.bytes = copy.bytes.get();
  bytes_ += packet.length;
  queue.push_back(std::move(copy));
  path.staged.fetch_add(1, std::memory_order_seq_cst);  // pairs with the load in Device::flush_or_keepalive
  return lost;
}

std::deque<StagedPacket> Staging::take(PeerPath& path) {
  const auto found = queues_.find(&path);
  if (found == queues_.end()) return {};
  std::deque<StagedPacket> queue = std::move(found->second);
  queues_.erase(found);
  for (const StagedPacket& staged : queue) bytes_ -= staged.packet.length;
  path.staged.fetch_sub(static_cast<uint32_t>(queue.size()), std::memory_order_relaxed);
  return queue;
}

size_t Staging::drop(PeerPath& path) {
  return take(path).size();
}

}  // namespace culvert::pipeline
