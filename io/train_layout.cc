#include "io/train_layout.h"

#include <algorithm>

namespace culvert::io {
namespace {

constexpr size_t kCacheLine = 64;
constexpr uint16_t kNone = 0xffff;

// Each train starts on a cache line.
constexpr size_t kArenaBytes = Sending::kMaxBytes + Sending::kMaxDatagrams * kCacheLine;

size_t round_to_line(size_t bytes) {
  return (bytes + kCacheLine - 1) & ~(kCacheLine - 1);
}

}  // namespace

TrainLayout::TrainLayout() : arena_(std::make_unique_for_overwrite<uint8_t[]>(kArenaBytes + kCacheLine)) {
  const auto address = reinterpret_cast<uintptr_t>(arena_.get());
  base_ = arena_.get() + (round_to_line(address) - address);
}

// Puts a datagram behind those of an open train. False when it does not fit there.
bool TrainLayout::append(const Outgoing& datagram, uint16_t train, Place& place) {
  if (train == kNone) return false;
  OutgoingTrain& open = trains_[train];
  const bool has_short_end = open.length != uint32_t{open.segment_size} * open.datagrams;
  if (has_short_end || datagram.length > open.segment_size || open.datagrams == kMaxTrainDatagrams ||
      open.length + datagram.length > kMaxTrainBytes)
    return false;
  place = {open.length, train};
  open.length += datagram.length;
  ++open.datagrams;
  return true;
}

void TrainLayout::lay_out(Sending& batch) {
  std::fill_n(open_.data(), batch.destination_count, kNone);
  train_count_ = 0;
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Outgoing& datagram = batch.datagrams[i];
    uint16_t& open = open_[datagram.destination];
    if (append(datagram, open, places_[i])) continue;
    open = static_cast<uint16_t>(train_count_++);
    places_[i] = {0, open};
    OutgoingTrain& train = trains_[open];
    train.length = datagram.length;
    train.segment_size = static_cast<uint16_t>(datagram.length);
    train.datagrams = 1;
    train.destination = datagram.destination;
    train.lost.reset();
  }
  size_t used = 0;
  for (OutgoingTrain& train : trains()) {
    train.bytes = base_ + used;
    used += round_to_line(train.length);
  }
  for (uint32_t i = 0; i < batch.count; ++i)
    batch.datagrams[i].bytes = trains_[places_[i].train].bytes + places_[i].offset;
}

void TrainLayout::report_lost(Sending& batch) const {
  std::array<uint16_t, Sending::kMaxDatagrams> seen;
  std::fill_n(seen.data(), train_count_, uint16_t{0});
  for (uint32_t i = 0; i < batch.count; ++i) {
    const uint16_t train = places_[i].train;
    Outgoing& datagram = batch.datagrams[i];
    datagram.lost = trains_[train].lost.test(seen[train]++);
    batch.lost += datagram.lost ? 1 : 0;
  }
}

}  // namespace culvert::io
