// Of Outbound: what packets had to wait on the inner side is counted, and where its queue stands, senders are told.
#include <algorithm>
#include <span>

#include "src/packet/ecn.h"
#include "src/pipeline/outbound.h"

namespace culvert::pipeline {

void Outbound::heed_waits(protocol::Instant now) {
  std::span<io::Superpacket> packets = std::span(batch_.packets).first(batch_.count);
  while (!packets.empty() && packets.back().waited_us == 0) packets = packets.first(packets.size() - 1);
  for (io::Superpacket& packet : packets) {
    if (packet.waited_us == 0) continue;
    const std::chrono::microseconds wait(packet.waited_us);
    count_wait(wait);
    // What is the last one is no queue, however late the worker got to it.
    const bool last = &packet == &packets.back() && batch_.left_behind == 0;
    if (codel_.dequeue(wait, last, now, kQueueLimits)) [[unlikely]]
      signal_congestion(packet);
  }
}

void Outbound::count_wait(std::chrono::microseconds wait) {
  using std::chrono::milliseconds;
  Counter& waits = wait < milliseconds(1)    ? stats_.waits_below_1ms
                   : wait < milliseconds(5)  ? stats_.waits_below_5ms
                   : wait < milliseconds(20) ? stats_.waits_below_20ms
                                             : stats_.waits_longer;
  waits.add(1);
}

// Marks the packet (RFC 3168) or, where its ends do no ECN, has it leave without its first segment: the whole would be
// the loss of a window.
void Outbound::signal_congestion(io::Superpacket& packet) {
  packet::IpHeader ip;
  if (packet::parse_ip({packet.bytes, packet.length}, ip) != packet::IpError::none) return;
  if ((ip.traffic_class & packet::kEcnMask) == packet::kEcnNotCapable) {
    shortened_[shortened_count_++] = &packet;
  } else {
    packet::decapsulate_ecn(packet::kEcnCongestion, ip, packet.bytes);
    stats_.packets_marked.add(1);
  }
}

bool Outbound::is_shortened(const io::Superpacket& packet) const {
  const auto shortened = std::span(shortened_).first(shortened_count_);
  return std::find(shortened.begin(), shortened.end(), &packet) != shortened.end();
}

}  // namespace culvert::pipeline
