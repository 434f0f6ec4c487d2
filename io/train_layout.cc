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

// Whether a datagram may go behind those of an open train.
inline bool fits(const OutgoingTrain& train, uint32_t bytes) {
  const bool has_short_end = train.length != uint32_t{train.segment_size} * train.datagrams;
  return !has_short_end && bytes <= train.segment_size && train.datagrams < kMaxTrainDatagrams &&
         train.length + bytes <= kMaxTrainBytes;
}

inline void append(OutgoingTrain& train, uint32_t bytes) {
  train.length += bytes;
  ++train.datagrams;
}

}  // namespace

TrainLayout::TrainLayout() : arena_(std::make_unique_for_overwrite<uint8_t[]>(kArenaBytes + kCacheLine)) {
  const auto address = reinterpret_cast<uintptr_t>(arena_.get());
  base_ = arena_.get() + (round_to_line(address) - address);
}

// Begins a train with a datagram.
inline void TrainLayout::begin(const Outgoing& datagram) {
  OutgoingTrain& train = trains_[train_count_++];
  train.length = datagram.length;
  train.segment_size = static_cast<uint16_t>(datagram.length);
  train.datagrams = 1;
  train.destination = datagram.destination;
  train.lost.reset();
}

void TrainLayout::lay_out(Sending& batch) {
  train_count_ = 0;
  if (batch.destination_count == 1) return lay_out_for_one(batch);
  std::fill_n(open_.data(), batch.destination_count, kNone);
  for (uint32_t i = 0; i < batch.count; ++i) {
    const Outgoing& datagram = batch.datagrams[i];
    uint16_t& open = open_[datagram.destination];
    if (open != kNone && fits(trains_[open], datagram.length)) {
      places_[i] = {trains_[open].length, open};
      append(trains_[open], datagram.length);
      continue;
    }
    open = static_cast<uint16_t>(train_count_);
    places_[i] = {0, open};
    begin(datagram);
  }
  size_t used = 0;
  for (OutgoingTrain& train : trains()) {
    train.bytes = base_ + used;
    used += round_to_line(train.length);
  }
  for (uint32_t i = 0; i < batch.count; ++i)
    batch.datagrams[i].bytes = trains_[places_[i].train].bytes + places_[i].offset;
}

// One destination has one train after the other, so where they are is known at once.
void TrainLayout::lay_out_for_one(Sending& batch) {
  OutgoingTrain* train = nullptr;
  uint8_t* at = base_;
  for (uint32_t i = 0; i < batch.count; ++i) {
    Outgoing& datagram = batch.datagrams[i];
    if (train != nullptr && fits(*train, datagram.length)) {
      append(*train, datagram.length);
    } else {
      if (train != nullptr) at = train->bytes + round_to_line(train->length);
      train = &trains_[train_count_];
      begin(datagram);
      train->bytes = at;
    }
    places_[i].train = static_cast<uint16_t>(train_count_ - 1);
    datagram.bytes = at;
    at += datagram.length;
  }
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
