// What stands at the start of every datagram that `udp` and `search` send and `sink` counts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "src/protocol/messages.h"

namespace culvert::traffic {

// A stream is one flow of one run: its run number in the upper and its flow number in the lower 16 bits. Its
// sequence numbers start at 0 and wrap. `sent_ns` is now_ns() of the sender, shared by all that it sends at once.
struct DatagramHeader {
  protocol::Le32 stream;
  protocol::Le32 sequence;
  protocol::Le64 sent_ns;
};
static_assert(sizeof(DatagramHeader) == 16 && alignof(DatagramHeader) == 1);
static_assert(offsetof(DatagramHeader, stream) == 0);
static_assert(offsetof(DatagramHeader, sequence) == 4);
static_assert(offsetof(DatagramHeader, sent_ns) == 8);

// The smallest UDP payload: also what a 64-byte IPv6 packet has room for.
inline constexpr size_t kMinPayloadBytes = sizeof(DatagramHeader);
inline constexpr size_t kMaxPayloadBytes = 65507;

constexpr uint32_t stream_of(uint16_t run, uint16_t flow) {
  return uint32_t{run} << 16 | flow;
}

inline DatagramHeader read_header(const uint8_t* datagram) {
  DatagramHeader header;
  std::memcpy(&header, datagram, sizeof header);
  return header;
}

inline void write_header(uint8_t* datagram, const DatagramHeader& header) {
  std::memcpy(datagram, &header, sizeof header);
}

}  // namespace culvert::traffic
