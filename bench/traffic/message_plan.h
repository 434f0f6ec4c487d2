// Which datagrams a sender sends, message by message: a pattern that repeats.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "io/endpoint.h"

namespace culvert::traffic {

// The sizes that --size asks for: payload bytes, or 0 for IMIX.
struct PayloadSize {
  uint32_t bytes = 0;

  bool imix() const { return bytes == 0; }
};

// "imix" or a number of bytes from kMinPayloadBytes to kMaxPayloadBytes. Nothing for anything else.
std::optional<PayloadSize> parse_payload_size(std::string_view text);

// One sendmmsg entry: `datagrams` of `payload_bytes` each; more than one is a UDP_SEGMENT superpacket.
struct MessageShape {
  uint32_t payload_bytes = 0;
  uint32_t datagrams = 1;

  uint32_t bytes() const { return payload_bytes * datagrams; }
  bool operator==(const MessageShape&) const = default;
};

// The pattern for datagrams of this size. `max_datagrams` is how many one message may hold: 1 without GSO. A
// superpacket stays below io::kMaxTrainBytes, beyond which the kernel takes it apart early.
//
// IMIX: IP packets of 64, 576 and 1420 bytes, 7:4:1 by number, mixed well; with GSO in runs of one size.
std::vector<MessageShape> plan_messages(PayloadSize size, io::Family family, uint32_t max_datagrams);

}  // namespace culvert::traffic
