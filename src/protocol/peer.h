// One peer as the control thread sees it: its keys, its handshake, its cookie, its keypairs and its timers,
// kept in step with each other and with the index table as the kernel's send.c, receive.c and noise.c do.
//
// The endpoint is not here, the pipeline stores it. The rule that the pipeline follows: an initiation or a
// response that was consumed with success, and transport data that was authentic and not replayed, move the
// endpoint to the address and port that they came from; a cookie reply never does, since whoever can read one
// of our messages can make one.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "src/protocol/cookie.h"
#include "src/protocol/index_table.h"
#include "src/protocol/keypair.h"
#include "src/protocol/messages.h"
#include "src/protocol/noise.h"
#include "src/protocol/peer_handle.h"
#include "src/protocol/time.h"
#include "src/protocol/timers.h"

namespace culvert::protocol {

// Thread safety: the control thread alone, but for current_keypair() and marks().
//
// Invariants: 1. the index table holds exactly the local indices of the pending handshake and of the keypairs
// in keypairs(); 2. a keypair that leaves is out of the index table and in the returned list, never freed
// here;
// 3. every handshake message that is created or consumed reaches the timers here: the caller calls none of
// the timers' handshake events.
//
// `indices` is the current table; it must not be full() where a message is created. `jitter` is uniform in
// 0 .. kRekeyTimeoutJitterMax. `retired` is empty on the way in.
class Peer {
 public:
  // `handle` is what the keypairs' owner() says and what the index table finds. `home_slot` is below kHomeSlots.
  Peer(const PublicKey& remote_static, PeerHandle handle, uint8_t home_slot = 0);

  const PublicKey& public_key() const { return handshake_.remote_static(); }
  PeerHandle handle() const { return handle_; }

  // The slot that every index of this peer names; see kHomeSlots.
  uint8_t home_slot() const { return static_cast<uint8_t>(index_top_byte_ & ~kSpreadBit); }
  // From the next handshake on.
  void set_home_slot(uint8_t slot) { index_top_byte_ = static_cast<uint8_t>((index_top_byte_ & kSpreadBit) | slot); }
  // Whether the peer's indices ask to spread its datagrams by their source port too: from the next handshake on.
  void set_spread(bool spread) { index_top_byte_ = static_cast<uint8_t>(home_slot() | (spread ? kSpreadBit : 0)); }

  // All zeros for none; takes effect with the next handshake.
  void set_preshared_key(const SymmetricKey& key) { handshake_.set_preshared_key(key); }
  const SymmetricKey& preshared_key() const { return handshake_.preshared_key(); }

  // Our own key is new, or was set for the first time: drops the pending handshake, sends no more on the
  // keypairs of the old one, and lets the next initiation go at once. False when no handshake can succeed
  // with this peer (see Handshake::precompute_static_static()).
  bool set_identity(const StaticIdentity& identity, IndexTable& indices);

  // The interface goes up; returns whether to send a keepalive at once. See Timers::start().
  [[nodiscard]] bool start() { return timers_.start(); }

  // The interface goes down, or the peer is removed: forgets everything but configuration.
  [[nodiscard]] RetiredKeypairs stop(IndexTable& indices);

  // TimerActions::wipe_keys.
  [[nodiscard]] RetiredKeypairs clear_keys(IndexTable& indices);

  // Initiator. The initiation to send from our base port to the endpoint, with macs; counts as sent. Nothing
  // when the throttle forbids it, or no handshake can succeed. Ask timers().marks().may_initiate() for which.
  [[nodiscard]] std::optional<HandshakeInitiation> create_initiation(const StaticIdentity& identity, Instant now,
                                                                     WallTime wall, Duration jitter,
                                                                     IndexTable& indices, const IndexRandom& random);

  // Responder. `opened` came from this peer's key. Ok moves the endpoint; create_response() follows.
  [[nodiscard]] InitiationVerdict consume_initiation(OpenedInitiation& opened, Instant now);

  // Responder, right after consume_initiation() was ok. The response to send, with macs. The new keypair
  // waits as next, and workers already receive with it. Nothing when the initiation's ephemeral was of low
  // order.
  [[nodiscard]] std::optional<HandshakeResponse> create_response(Instant now, Duration jitter, IndexTable& indices,
                                                                 const IndexRandom& random, RetiredKeypairs& retired);

  // Initiator. The response was found by its receiver index (IndexTable::find_handshake). True: moves the
  // endpoint, the new keypair is current, and the caller sends the staged packets, or a keepalive if there
  // are none, so that the peer may use the keypair too.
  [[nodiscard]] bool consume_response(const StaticIdentity& identity, const HandshakeResponse& message, Instant now,
                                      WallTime wall, IndexTable& indices, RetiredKeypairs& retired);

  // Either. The reply was found by its receiver index (IndexTable::find_peer). Never moves the endpoint.
  [[nodiscard]] bool consume_cookie_reply(const CookieReply& reply, Instant now) {
    return cookie_.consume_cookie_reply(reply, now);
  }

  // A worker confirmed this keypair (Keypair::confirm()); it may be gone meanwhile. True if it became
  // current: the handshake is complete, and the caller sends the staged packets.
  [[nodiscard]] bool received_with(const Keypair* keypair, WallTime wall, IndexTable& indices,
                                   RetiredKeypairs& retired);

  const Keypairs& keypairs() const { return keypairs_; }
  // Any thread.
  Keypair* current_keypair() const { return keypairs_.current(); }

  Timers& timers() { return timers_; }
  const Timers& timers() const { return timers_; }
  // Any thread.
  TimerMarks& marks() { return timers_.marks(); }

  // When the last handshake completed, for wg(8); nothing: never.
  std::optional<WallTime> last_handshake() const { return last_handshake_; }

 private:
  void drop_handshake(IndexTable& indices);
  // `index` is that of the pending handshake from now on.
  void replace_pending_index(uint32_t index, IndexTable& indices);
  bool begin_session(Instant now, IndexTable& indices, RetiredKeypairs& retired);

  const PeerHandle handle_;
  uint8_t index_top_byte_;
  Handshake handshake_;
  CookieGenerator cookie_;
  Keypairs keypairs_;
  Timers timers_;
  std::optional<uint32_t> pending_index_;  // in the index table as a handshake
  std::optional<WallTime> last_handshake_;
};

}  // namespace culvert::protocol
