// The receiving end of `udp` and `search`.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "bench/traffic/stream_counts.h"
#include "io/endpoint.h"
#include "io/fd.h"
#include "io/result.h"
#include "io/udp_message.h"

namespace culvert::traffic {

// A UDP socket with UDP_GRO and what came in by it. Thread safety: none.
class Sink {
 public:
  // Errors: no such address here, port taken.
  static io::Result<std::unique_ptr<Sink>> open(const io::Endpoint& bind);

  int fd() const { return socket_.get(); }

  // Takes and counts what is there, at most kMaxBatches batches of it; never waits. Returns how many messages.
  size_t drain();

  void reset();

  // One JSON object; `datagrams`, `bytes`, `messages`, `lost`, `reordered`, `duplicates`, `seconds`, and beyond:
  // `overflows` (datagrams that the sink's own buffer had no room for: the sink was too slow), `delay_mean_us` and
  // `delay_max_us` (from the sender's system call to this program, which naps for up to 100 us at a time).
  std::string report() const;

 private:
  struct Slot {
    uint8_t* bytes = nullptr;
    iovec part{};
    io::ControlBuffer control{};
  };

  explicit Sink(io::Fd socket);

  uint64_t kernel_drops() const;

  static constexpr int kMaxBatches = 16;

  io::Fd socket_;
  std::vector<uint8_t> memory_;
  std::vector<Slot> slots_;
  std::vector<mmsghdr> headers_;
  StreamCounts counts_;
  uint64_t drops_before_ = 0;  // at the last reset()
};

// `sink`: prints "ready", serves the control socket and counts until SIGTERM or SIGINT; returns the last report.
io::Result<std::string> run_sink(const io::Endpoint& bind, const std::string& control_path);

}  // namespace culvert::traffic
