#include "src/pipeline/train_builder.h"

#include "src/pipeline/peer_path.h"

namespace culvert::pipeline {
namespace {

constexpr size_t kCacheLine = 64;

size_t round_to_line(size_t bytes) {
  return (bytes + kCacheLine - 1) & ~(kCacheLine - 1);
}

}  // namespace

TrainBuilder::TrainBuilder() : arena_(std::make_unique_for_overwrite<uint8_t[]>(kArenaBytes + kCacheLine)) {
  const auto address = reinterpret_cast<uintptr_t>(arena_.get());
  base_ = arena_.get() + (round_to_line(address) - address);
  trains_.reserve(kMaxTrains);
  paths_.reserve(kMaxTrains);
}

uint8_t* TrainBuilder::append(PeerPath& path, const io::Endpoint& to, uint8_t traffic_class, size_t bytes) {
  if (!trains_.empty() && used_ + bytes <= kArenaBytes) {
    io::OutgoingTrain& last = trains_.back();
    const bool open = last.length == size_t{last.segment_size} * last.datagrams;
    if (paths_.back() == &path && open && bytes <= last.segment_size && last.traffic_class == traffic_class &&
        last.datagrams < io::kMaxTrainDatagrams && last.length + bytes <= io::kMaxTrainBytes) {
      uint8_t* const room = base_ + used_;
      last.length += static_cast<uint32_t>(bytes);
      ++last.datagrams;
      used_ += bytes;
      return room;
    }
  }
  const size_t start = round_to_line(used_);
  if (start + bytes > kArenaBytes || trains_.size() == kMaxTrains) return nullptr;
  io::OutgoingTrain train;
  train.bytes = base_ + start;
  train.length = static_cast<uint32_t>(bytes);
  train.segment_size = static_cast<uint16_t>(bytes);
  train.datagrams = 1;
  train.to = to;
  train.traffic_class = traffic_class;
  train.allow_gso = !path.gso_refused.load(std::memory_order_relaxed);
  trains_.push_back(train);
  paths_.push_back(&path);
  used_ = start + bytes;
  return base_ + start;
}

void TrainBuilder::clear() {
  trains_.clear();
  paths_.clear();
  used_ = 0;
}

}  // namespace culvert::pipeline
