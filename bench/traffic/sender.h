// Numbered datagrams as fast as the kernel takes them.
#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "bench/traffic/message_plan.h"
#include "io/endpoint.h"
#include "io/fd.h"
#include "io/result.h"
#include "io/udp_message.h"

namespace culvert::traffic {

struct SenderOptions {
  io::Endpoint to;
  PayloadSize size;
  bool gso = false;
  uint16_t flows = 1;
};

// Payload bytes, without headers. A stall is a time when the kernel had no room.
struct SentCounts {
  uint64_t datagrams = 0;
  uint64_t bytes = 0;
  uint64_t system_calls = 0;
  uint64_t stalls = 0;
};

// N flows, each a socket with a source port of its own, that send in turn, a batch of messages at a time. Payloads are
// written once; afterwards only headers change.
//
// Thread safety: none.
class Sender {
 public:
  // Errors: no route, no descriptors.
  static io::Result<std::unique_ptr<Sender>> open(const SenderOptions& options);

  // From now on another run: new streams that count from 0, and new counts. The pattern of messages starts anew.
  // `max_message_datagrams`: superpackets hold no more than that, so that slow rates are not all bursts.
  void begin_run(uint16_t run, uint32_t max_message_datagrams = UINT32_MAX);

  // Datagrams of the next message: a budget for send() below that sends nothing.
  uint32_t next_message_datagrams() const { return plan_[place_].datagrams; }

  // Sends one batch of whole messages of the next flow, at most `budget` datagrams; waits while the kernel has no
  // room. Errors: what sendmmsg(2) says, with advice.
  io::Status send(uint64_t budget, int64_t now);

  const SentCounts& counts() const { return counts_; }

 private:
  // Of one flow.
  struct Flow {
    io::Fd socket;
    uint32_t stream = 0;
    uint32_t next_sequence = 0;
  };
  // One sendmmsg entry and its payload.
  struct Slot {
    uint8_t* payload = nullptr;
    iovec part{};
    MessageShape shape;
    io::ControlBuffer control{};
  };

  explicit Sender(const SenderOptions& options) : options_(options) {}

  io::Status open_flows();
  void allocate();
  void make_plan();
  uint32_t fill(Flow& flow, uint64_t budget, int64_t now);
  void write_message(uint32_t index, Flow& flow, int64_t now);
  io::Status hand_over(Flow& flow, uint32_t count);
  io::Status recover(Flow& flow, uint32_t unsent, int error);

  const SenderOptions options_;
  std::vector<Flow> flows_;
  size_t turn_ = 0;

  std::vector<MessageShape> plan_;
  size_t place_ = 0;           // in plan_, of the next message
  uint32_t kernel_limit_ = 0;  // datagrams in a message that the kernel takes
  uint32_t run_limit_ = 0;     // that the run wants

  std::vector<uint8_t> memory_;
  std::vector<Slot> slots_;
  std::vector<mmsghdr> headers_;
  SentCounts counts_;
};

}  // namespace culvert::traffic
