// Sees the probes that pass a network device, with the kernel's times.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "io/endpoint.h"
#include "io/fd.h"
#include "io/result.h"

namespace culvert::traffic {

// Which packets a tap sees: UDP of this family to this port, or with the ECN field ECT(1) if the port is 0.
struct TapFilter {
  io::Family family = io::Family::v4;
  uint16_t port = 0;
};

// A packet socket. Filters run in the kernel, so that nobody is woken for the rest. Thread safety: none.
class PacketTap {
 public:
  // On a device of the calling thread's network namespace: what leaves by it, or what comes in. Errors: EPERM, ENODEV.
  static io::Result<PacketTap> open(const std::string& device, bool leaving, const TapFilter& filter);

  // A packet's UDP payload, its first bytes if there are that many, and when it passed (CLOCK_REALTIME).
  struct Sighting {
    const uint8_t* payload;
    uint32_t captured_bytes, payload_bytes;
    int64_t at_ns;
  };

  // Hands on what was seen since, never waits.
  void drain(const std::function<void(const Sighting&)>& take) const;

 private:
  PacketTap(io::Fd fd, bool leaving, io::Family family) : fd_(std::move(fd)), leaving_(leaving), family_(family) {}

  io::Fd fd_;
  bool leaving_;
  io::Family family_;
};

}  // namespace culvert::traffic
