// Trains to send in tests: what they look like and what has to arrive.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "io/outer_side.h"
#include "io/udp_sockets.h"

namespace culvert::io {

using Bytes = std::vector<uint8_t>;

inline Endpoint endpoint(const std::string& text, const std::string& source = "") {
  Endpoint parsed, parsed_source;
  EXPECT_TRUE(parse_endpoint(text, parsed)) << text;
  if (!source.empty()) {
    EXPECT_TRUE(parse_endpoint(source + ":0", parsed_source)) << source;
    parsed.source = parsed_source.remote;
  }
  return parsed;
}

// A train's worth of datagrams, and what became of them.
struct OutgoingRun {
  Bytes bytes;
  uint32_t segment_size = 0;  // bytes of every datagram but the last
  uint16_t datagrams = 0;
  Endpoint to;
  uint16_t local_port = 0;
  uint8_t traffic_class = 0;
  bool allow_gso = true;

  uint16_t datagrams_sent = 0;
  bool gso_refused = false, source_refused = false;

  uint32_t length(uint32_t i) const {
    return std::min(segment_size, static_cast<uint32_t>(bytes.size()) - i * segment_size);
  }
};

// Datagrams with recognisable contents to send through a side.
class OutgoingRuns {
 public:
  // `datagrams` of `size` bytes, the last one of `last` bytes (0: as long as the others).
  OutgoingRun& add(const Endpoint& to, uint16_t datagrams, uint16_t size, uint16_t last = 0) {
    const uint32_t length = (datagrams - 1u) * size + (last == 0 ? size : last);
    OutgoingRun& run = trains.emplace_back();
    run.bytes.resize(length);
    std::iota(run.bytes.begin(), run.bytes.end(), static_cast<uint8_t>(17 * trains.size()));
    // Every datagram starts with a number of its own where there is room.
    for (uint32_t i = 0; size >= 4 && i * size + 4 <= length; ++i, ++next_number_)
      for (uint32_t b = 0; b < 4; ++b) run.bytes[i * size + b] = static_cast<uint8_t>(next_number_ >> (8 * b));
    run.segment_size = size;
    run.datagrams = datagrams;
    run.to = to;
    return run;
  }

  // Sends all of them, in as many batches as it takes.
  void send(OuterSide& side) {
    for (OutgoingRun& run : trains) {
      run.datagrams_sent = 0;
      run.gso_refused = run.source_refused = false;
      for (uint32_t i = 0; i < run.datagrams; ++i) {
        if (sending_->count == Sending::kMaxDatagrams || bytes_ + run.length(i) > Sending::kMaxBytes) send_batch(side);
        parts_.push_back({&run, i});
        io::Outgoing& out = sending_->datagrams[sending_->count++];
        out = {};
        out.length = run.length(i);
        out.destination = destination_of(run);
        bytes_ += out.length;
      }
    }
    send_batch(side);
  }

  // What has to arrive at `to`, in order.
  std::vector<Bytes> datagrams(const Endpoint& to) const {
    std::vector<Bytes> result;
    for (const OutgoingRun& run : trains) {
      for (uint32_t i = 0; run.to.same_remote(to) && i < run.datagrams; ++i) {
        const auto begin = run.bytes.begin() + static_cast<ptrdiff_t>(i * run.segment_size);
        result.emplace_back(begin, begin + static_cast<ptrdiff_t>(run.length(i)));
      }
    }
    return result;
  }

  uint64_t total() const {
    uint64_t sum = 0;
    for (const OutgoingRun& run : trains) sum += run.datagrams;
    return sum;
  }

  std::deque<OutgoingRun> trains;

 private:
  struct Part {
    OutgoingRun* run;
    uint32_t index;
  };

  // Each destination once.
  uint16_t destination_of(const OutgoingRun& run) {
    for (uint16_t i = 0; i < sending_->destination_count; ++i) {
      const Destination& one = sending_->destinations[i];
      if (one.envelope.endpoint == run.to && one.envelope.local_port == run.local_port &&
          one.envelope.traffic_class == run.traffic_class && one.allow_segmentation == run.allow_gso)
        return i;
    }
    Destination& to = sending_->destinations[sending_->destination_count];
    to = {};
    to.envelope.endpoint = run.to;
    to.envelope.local_port = run.local_port;
    to.envelope.traffic_class = run.traffic_class;
    to.allow_segmentation = run.allow_gso;
    return static_cast<uint16_t>(sending_->destination_count++);
  }

  void send_batch(OuterSide& side) {
    side.lend(*sending_);
    for (uint32_t i = 0; i < sending_->count; ++i) {
      const Part& part = parts_[i];
      std::memcpy(sending_->datagrams[i].bytes, part.run->bytes.data() + part.index * part.run->segment_size,
                  sending_->datagrams[i].length);
    }
    side.send(*sending_);
    uint32_t lost = 0;
    for (uint32_t i = 0; i < sending_->count; ++i) {
      const io::Outgoing& out = sending_->datagrams[i];
      const Destination& to = sending_->destinations[out.destination];
      const bool is_lost = sending_->lost != 0 && out.lost;
      lost += is_lost ? 1 : 0;
      parts_[i].run->datagrams_sent += is_lost ? 0 : 1;
      parts_[i].run->gso_refused |= to.segmentation_refused;
      parts_[i].run->source_refused |= to.source_refused;
    }
    EXPECT_EQ(lost, sending_->lost);
    sending_->clear();
    parts_.clear();
    bytes_ = 0;
  }

  std::unique_ptr<Sending> sending_ = std::make_unique<Sending>();
  std::vector<Part> parts_;
  size_t bytes_ = 0;
  uint32_t next_number_ = 0;
};

inline std::unique_ptr<UdpSockets> open_sockets(const UdpOptions& options = {},
                                                const Syscalls& syscalls = kernel_syscalls()) {
  auto opened = UdpSockets::open(options, syscalls);
  EXPECT_TRUE(opened) << opened.error().text();
  return opened ? std::move(*opened) : nullptr;
}

}  // namespace culvert::io
