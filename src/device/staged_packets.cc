// How a first packet waits for its handshake.
//
//   1. A worker has a packet for a peer, and the peer no keypair: it stages a copy (src/pipeline/staging.h), leaves the
//      mark TimerMarks::want_handshake() and asks for attention (src/pipeline/shared_state.h).
//   2. The control thread advances the peer's timers, which answer "send an initiation" (schedule.cc, handshake.cc).
//   3. The response comes and the new keypair is current, or as responder we hear the first message on it: flush()
//      has each worker send what it has staged for the peer; without staged packets a keepalive goes out.
//   4. Nobody answers for 90 s, the link goes down or the peer is removed: drop_staged() counts the packets as lost.

#include <array>
#include <atomic>
#include <cstring>
#include <vector>

#include "crypto/aead.h"
#include "src/device/device.h"
#include "src/device/encoding.h"
#include "src/log.h"

namespace culvert::device {

// All at once: each call waits for the workers.
void Device::drop_staged(std::vector<pipeline::PeerPath*>& paths, pipeline::DropReason reason) {
  // Pairs with the release in Staging::stage(): which workers have staged something is visible.
  std::erase_if(paths,
                [](const pipeline::PeerPath* path) { return path->staged.load(std::memory_order_acquire) == 0; });
  if (!paths.empty()) workers_.drop_staged(paths, reason, false);
  paths.clear();
}

bool Device::has_staged(DevicePeer& peer) {
  // Writes nothing new, but is ordered with the same in Staging::stage(): either its packet is seen here, or
  // that worker sees the new keypair after it and asks for a flush. A fence would do, were it not that
  // ThreadSanitizer knows none.
  return peer.path.staged.fetch_add(0, std::memory_order_acq_rel) > 0;
}

// A keypair has come up, or it is time for a sign of life.
void Device::flush_or_keepalive(DevicePeer& peer) {
  if (has_staged(peer))
    workers_.flush_staged(peer.path);
  else
    send_keepalive(peer);
}

void Device::flush(DevicePeer& peer) {
  if (has_staged(peer)) workers_.flush_staged(peer.path);
}

void Device::send_keepalive(DevicePeer& peer) {
  protocol::TimerMarks& marks = peer.peer.marks();
  protocol::Keypair* const keypair = peer.peer.current_keypair();
  uint64_t counter = 0;
  if (keypair == nullptr || !keypair->usable_for_sending(now_) || !keypair->reserve(1, counter)) {
    (void)marks.want_handshake(now_);  // the caller advances the timers, which act on it
    return;
  }
  std::array<uint8_t, protocol::kKeepaliveBytes> message;
  const protocol::TransportHeader header = {static_cast<uint32_t>(protocol::MessageType::transport_data),
                                            keypair->remote_index(), counter};
  std::memcpy(message.data(), &header, sizeof header);
  uint8_t* const sealed = message.data() + sizeof header;
  const crypto::SealMessage seal = {keypair->sending_key(), counter, sealed, sealed, 0};
  crypto::seal({&seal, 1});
  marks.any_authenticated_packet_sent();
  (void)marks.any_authenticated_packet_traversal(now_);
  if (send_to_peer(peer, message, 0)) stats_.keepalives_sent.add(1);
  log_verbose("{} - Sending keepalive packet", log_name(peer));
  if (keypair->wants_rekey_after_send(now_)) (void)marks.want_handshake(now_);
}

}  // namespace culvert::device
