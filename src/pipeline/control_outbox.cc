#include "src/pipeline/control_outbox.h"

#include <cstring>

namespace culvert::pipeline {

bool ControlOutbox::push(const ControlDatagram& datagram) {
  if (ring_.try_push(datagram)) return true;
  stats_.drop(DropReason::control_queue_full);
  return false;
}

void ControlOutbox::send(io::OuterSide* outer) {
  sending_.clear();
  // No more than is there now: the control thread may push as fast as this sends, and traffic has to have its turn.
  for (size_t left = ring_.size(); left > 0 && ring_.try_pop(datagrams_[sending_.count]); --left) {
    if (outer == nullptr) {
      stats_.drop(DropReason::link_down);
      continue;
    }
    add(datagrams_[sending_.count]);
    if (sending_.count == datagrams_.size()) send_batch(*outer);
  }
  if (outer != nullptr && sending_.count != 0) send_batch(*outer);
}

// One destination each: they are few, and hardly any two go to the same peer.
void ControlOutbox::add(const ControlDatagram& datagram) {
  io::Destination& to = sending_.destinations[sending_.destination_count];
  to = {};
  to.envelope.endpoint = datagram.path != nullptr ? datagram.path->endpoint.load() : datagram.to;
  to.envelope.local_port = datagram.local_port;
  to.envelope.traffic_class = datagram.traffic_class;
  io::Outgoing& out = sending_.datagrams[sending_.count++];
  out = {};
  out.length = datagram.length;
  out.destination = static_cast<uint16_t>(sending_.destination_count++);
}

void ControlOutbox::send_batch(io::OuterSide& outer) {
  outer.lend(sending_);
  for (uint32_t i = 0; i < sending_.count; ++i)
    if (uint8_t* const room = sending_.datagrams[i].bytes)
      std::memcpy(room, datagrams_[i].bytes.data(), datagrams_[i].length);
  outer.send(sending_);
  for (uint32_t i = 0; i < sending_.count; ++i) {
    PeerPath* const path = datagrams_[i].path;
    const io::Destination& to = sending_.destinations[i];
    if (sending_.lost != 0 && sending_.datagrams[i].lost)
      stats_.drop(DropReason::send_failed);
    else if (path != nullptr)
      traffic_.of(path->number).sent_bytes.add(datagrams_[i].length);
    if (path != nullptr && to.source_refused) path->endpoint.forget_source(to.envelope.endpoint.source);
  }
  sending_.clear();
}

}  // namespace culvert::pipeline
