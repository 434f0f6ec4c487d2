#include "bench/traffic/stream_counts.h"

#include <algorithm>

#include "bench/traffic/datagram.h"

namespace culvert::traffic {

void StreamCounts::record(std::span<const uint8_t> message, size_t segment_bytes, int64_t now) {
  if (segment_bytes == 0) segment_bytes = message.size();
  const uint64_t before = datagrams_;
  for (size_t at = 0; at + sizeof(DatagramHeader) <= message.size(); at += segment_bytes) {
    const DatagramHeader header = read_header(message.data() + at);
    const int64_t delay = now - static_cast<int64_t>(header.sent_ns);
    total_delay_ns_ += delay;
    max_delay_ns_ = std::max(max_delay_ns_, delay);
    ++datagrams_;
    bytes_ += std::min(segment_bytes, message.size() - at);
    if (Stream* const stream = find(header.stream); stream != nullptr) {
      stream->tracker.record(header.sequence);
      stream->active = true;
    }
  }
  if (datagrams_ == before) return;
  if (before == 0) first_ns_ = now;
  last_ns_ = now;
  ++messages_;
}

StreamCounts::Stream* StreamCounts::find(uint32_t number) {
  if (latest_ != nullptr && latest_number_ == number) [[likely]]
    return latest_;
  auto found = streams_.find(number);
  if (found == streams_.end()) {
    if (streams_.size() >= kMaxStreams) return nullptr;
    found = streams_.emplace(number, std::make_unique<Stream>()).first;
  }
  latest_ = found->second.get();
  latest_number_ = number;
  return latest_;
}

void StreamCounts::reset() {
  latest_ = nullptr;
  std::erase_if(streams_, [](const auto& entry) { return !entry.second->active; });
  for (auto& [number, stream] : streams_) {
    stream->tracker.restart();
    stream->active = false;
  }
  datagrams_ = bytes_ = messages_ = 0;
  first_ns_ = last_ns_ = total_delay_ns_ = max_delay_ns_ = 0;
}

uint64_t StreamCounts::lost() const {
  uint64_t sum = 0;
  for (const auto& [number, stream] : streams_) sum += stream->tracker.lost();
  return sum;
}

uint64_t StreamCounts::reordered() const {
  uint64_t sum = 0;
  for (const auto& [number, stream] : streams_) sum += stream->tracker.reordered();
  return sum;
}

uint64_t StreamCounts::duplicates() const {
  uint64_t sum = 0;
  for (const auto& [number, stream] : streams_) sum += stream->tracker.duplicates();
  return sum;
}

double StreamCounts::mean_delay_us() const {
  if (datagrams_ == 0) return 0;
  return static_cast<double>(total_delay_ns_) / static_cast<double>(datagrams_) / 1e3;
}

}  // namespace culvert::traffic
