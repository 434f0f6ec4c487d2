// Trains to send in tests: what they look like and what has to arrive.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "io/outer_queue.h"
#include "io/udp_sockets.h"

namespace culvert::io {

using Datagram = std::vector<uint8_t>;

inline Endpoint endpoint(const std::string& text, const std::string& source = "") {
  Endpoint parsed, parsed_source;
  EXPECT_TRUE(parse_endpoint(text, parsed)) << text;
  if (!source.empty()) {
    EXPECT_TRUE(parse_endpoint(source + ":0", parsed_source)) << source;
    parsed.source = parsed_source.remote;
  }
  return parsed;
}

// Trains with recognisable contents, and the memory that they point into.
class Outgoing {
 public:
  // `datagrams` of `size` bytes, the last one of `last` bytes (0: as long as the others).
  OutgoingTrain& add(const Endpoint& to, uint16_t datagrams, uint16_t size, uint16_t last = 0) {
    const uint32_t length = (datagrams - 1u) * size + (last == 0 ? size : last);
    auto& bytes = memory_.emplace_back(std::make_unique<Datagram>(length));
    std::iota(bytes->begin(), bytes->end(), static_cast<uint8_t>(17 * memory_.size()));
    // Every datagram starts with a number of its own where there is room.
    for (uint32_t i = 0; size >= 4 && i * size + 4 <= length; ++i, ++next_number_)
      for (uint32_t b = 0; b < 4; ++b) (*bytes)[i * size + b] = static_cast<uint8_t>(next_number_ >> (8 * b));
    OutgoingTrain train;
    train.bytes = bytes->data();
    train.length = length;
    train.segment_size = size;
    train.datagrams = datagrams;
    train.to = to;
    return trains.emplace_back(train);
  }

  // What has to arrive at `to`, in order.
  std::vector<Datagram> datagrams(const Endpoint& to) const {
    std::vector<Datagram> result;
    for (const OutgoingTrain& train : trains) {
      for (uint32_t begin = 0; train.to.same_remote(to) && begin < train.length; begin += train.segment_size) {
        const uint32_t end = std::min<uint32_t>(train.length, begin + train.segment_size);
        result.emplace_back(train.bytes + begin, train.bytes + end);
      }
    }
    return result;
  }

  uint64_t total() const {
    uint64_t sum = 0;
    for (const OutgoingTrain& train : trains) sum += train.datagrams;
    return sum;
  }

  std::vector<OutgoingTrain> trains;

 private:
  std::vector<std::unique_ptr<Datagram>> memory_;
  uint32_t next_number_ = 0;
};

inline std::unique_ptr<UdpSockets> open_sockets(const UdpOptions& options = {},
                                                const Syscalls& syscalls = kernel_syscalls()) {
  auto opened = UdpSockets::open(options, syscalls);
  EXPECT_TRUE(opened) << opened.error().text();
  return opened ? std::move(*opened) : nullptr;
}

}  // namespace culvert::io
