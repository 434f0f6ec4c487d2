// Of TunQueue: two queues that are read as one, sparse flows first (tun/lanes.h).
//
// Each flow stays in order. From the bulk queue it goes to the sparse one only when nothing of it is left there: the
// program knows that by what LaneReader has handed on. The other way is free: when flows have moved, bulk packets are
// kept back until the sparse queue was found empty, or as much of it was read as it can hold.
#include <time.h>

#include <algorithm>
#include <span>
#include <utility>

#include "tun/tun_queue.h"

namespace culvert::tun {
static_assert(2 * TunQueue::kReadSlots <= io::PlainBatch::kMaxPackets);  // a batch has room for what both queues yield
namespace {

// The clock of the program, bpf_ktime_get_ns().
uint64_t monotonic_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

void TunQueue::pair_with(std::unique_ptr<TunQueue> sparse, lane* shared) {
  sparse_ = std::move(sparse);
  sparse_->counters_ = counters_;
  poll_fds_[1] = sparse_->fd();
  if (shared != nullptr) lane_.emplace(*shared);
}

io::ReadOutcome TunQueue::read_both(io::PlainBatch& batch) {
  batch.more = false;
  const io::ReadOutcome outcome = sparse_->append(batch);
  if (kept_count_ != 0) {
    patience_ -= std::min<size_t>(patience_, batch.count);
    if (batch.count == 0 || patience_ == 0) hand_on_kept(batch);
    batch.more = kept_count_ != 0;
    return outcome;
  }
  // Something sparse alone is not to wait for a read that finds nothing. The Poller reports what there is.
  bulk_skipped_ = batch.count != 0 && !bulk_came_ && !bulk_skipped_;
  return bulk_skipped_ || outcome != io::ReadOutcome::ok ? outcome : append_bulk(batch);
}

io::ReadOutcome TunQueue::append_bulk(io::PlainBatch& batch) {
  if (lane_) lane_->look();
  const uint32_t sparse = batch.count;
  const io::ReadOutcome outcome = append(batch);
  const std::span<io::Superpacket> bulk(batch.packets.data() + sparse, batch.count - sparse);
  bulk_came_ = !bulk.empty();
  if (!lane_) return outcome;
  batch.left_behind = 0;
  const uint64_t now = bulk.empty() ? 0 : monotonic_ns();
  for (io::Superpacket& packet : bulk)
    packet.waited_us = static_cast<uint32_t>(std::min<uint64_t>((lane_->take(now) + 999) / 1000, UINT32_MAX));
  if (bulk.empty()) lane_->found_empty();
  batch.left_behind = lane_->left();
  if (bulk.empty() || !lane_->has_moved()) {
    lane_->hand_on();
    return outcome;
  }
  std::copy(bulk.begin(), bulk.end(), kept_.begin());
  kept_count_ = bulk.size();
  patience_ = LANE_ROOM;
  batch.count = sparse;
  batch.more = true;
  return outcome;
}

void TunQueue::hand_on_kept(io::PlainBatch& batch) {
  std::copy_n(kept_.begin(), kept_count_, batch.packets.begin() + batch.count);
  batch.count += static_cast<uint32_t>(kept_count_);
  kept_count_ = 0;
  lane_->hand_on();
}

}  // namespace culvert::tun
