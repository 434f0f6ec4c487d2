// One run of a sender: for a time, at a rate or as fast as it goes.
#pragma once

#include <cstdint>

#include "bench/traffic/sender.h"
#include "io/result.h"

namespace culvert::traffic {

struct StreamRun {
  uint16_t run = 0;
  double rate = 0;  // datagrams per second over all flows; 0: as fast as it goes
  double seconds = 1;
};

struct StreamResult {
  SentCounts sent;
  double seconds = 0;

  double rate() const { return static_cast<double>(sent.datagrams) / seconds; }
};

// Sends. At a rate, what is due goes out every kPaceInterval, or when a message's worth is due if that is longer; a
// superpacket holds what is due in kMaxMessageTime at most.
io::Result<StreamResult> send_stream(Sender& sender, const StreamRun& run);

inline constexpr int64_t kPaceInterval = 100'000;
inline constexpr int64_t kMaxMessageTime = 1'000'000;

}  // namespace culvert::traffic
