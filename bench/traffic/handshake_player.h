// Many initiators against one responder, as fast as it answers.
#pragma once

#include <sys/socket.h>

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "bench/traffic/initiator.h"
#include "io/endpoint.h"
#include "io/fd.h"
#include "io/result.h"
#include "io/udp_message.h"
#include "src/protocol/allowed_ips.h"

namespace culvert::traffic {

// What is missing in the sum of answers and unanswered ones was in flight at the end.
struct HandshakeCounts {
  uint64_t initiations = 0;
  uint64_t responses = 0;
  uint64_t cookies = 0;
  uint64_t unanswered = 0;  // given up after kPatience
};

// One socket, from which all initiators send, each with a source address of its own where there are enough.
//
// Initiators take turns. Each waits for its answer before it starts again, and starts at most every kMinInterval, so
// that its timestamps increase and no responder takes it for a flood (WireGuard paper section 5.1: 20 ms in all
// implementations).
//
// Thread safety: none.
class HandshakePlayer {
 public:
  static constexpr std::chrono::milliseconds kMinInterval{50};
  static constexpr std::chrono::milliseconds kPatience{1000};

  static io::Result<std::unique_ptr<HandshakePlayer>> open(std::span<Initiator> initiators, const io::Endpoint& server,
                                                           const std::optional<protocol::Prefix>& sources,
                                                           size_t window);

  // One whole handshake of the first initiator, verified to its end. Errors: no answer, or not the server's.
  io::Status prove();

  // Plays for a while.
  io::Result<HandshakeCounts> play(double seconds);

 private:
  static constexpr size_t kBatch = 32;

  struct Slot {
    std::array<uint8_t, 256> bytes;
    iovec part{};
    io::SocketAddress address{};
    io::ControlBuffer control{};
  };
  struct Sent {
    uint32_t index;  // of the message
    protocol::Instant when;
  };

  HandshakePlayer(std::span<Initiator> initiators, const io::Endpoint& server,
                  const std::optional<protocol::Prefix>& sources, size_t window, io::Fd socket);

  io::Status send_due(protocol::Instant now);
  void write_initiation(Slot& slot, msghdr& message, protocol::Instant now);
  io::Status hand_over(size_t count);
  void give_up_old(protocol::Instant now);
  size_t receive(protocol::Instant now);
  void receive_message(std::span<const uint8_t> message, protocol::Instant now);
  void address_message(Slot& slot, msghdr& message, size_t bytes, uint32_t number);
  Initiator* owner_of(uint32_t index);

  const std::span<Initiator> initiators_;
  const io::Endpoint server_;
  const std::optional<protocol::Prefix> sources_;
  const size_t window_;
  const io::Fd socket_;

  std::vector<protocol::Instant> last_sent_;  // of each initiator
  uint32_t turn_ = 0;
  uint32_t round_ = 0;
  std::deque<Sent> in_flight_;  // oldest first; those that were answered stay until they are oldest
  size_t waiting_ = 0;          // those of them that were not
  HandshakeCounts counts_;

  std::array<Slot, kBatch> slots_;
  std::array<mmsghdr, kBatch> headers_{};
};

}  // namespace culvert::traffic
