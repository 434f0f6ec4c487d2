// Every timer of WireGuard (paper sections 6.1 to 6.5; the events and their names are those of the kernel's
// timers.c). The data path only leaves marks; the control thread evaluates them when one of them can be due.
//
//   timer                | starts with                        | stopped by                        | after
//   ---------------------+------------------------------------+-----------------------------------+--------------
//   retransmit handshake | handshake_initiated                | handshake_complete                | 5 s + jitter
//   send keepalive       | data_received                      | any_authenticated_packet_sent     | 10 s
//   new handshake        | data_sent                          | any_authenticated_packet_received | 15 s + jitter
//   zero key material    | session_derived, giving up         | its next start                    | 540 s
//   persistent keepalive | any_authenticated_packet_traversal | its next start                    | as configured
//
// Data is transport data that is not a keepalive. Authenticated packets are handshake messages, data and
// keepalives. Traversal is sent or received.
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>

#include "src/protocol/messages.h"
#include "src/protocol/time.h"

namespace culvert::protocol {

// What the data path leaves behind for the timers of one peer. In steady traffic a call reads one cache line
// and rarely writes it.
//
// Thread safety: the events may be called from any thread. Those that return a bool say whether the caller
// has to wake the control thread for this peer, which then calls Timers::advance(); while traffic goes on,
// the control thread comes by itself every 10 s and the answer is false. The rest is for Timers.
//
// All loads and stores are relaxed, as a mark orders no other memory, but for `watched_`: see touch().
class alignas(64) TimerMarks {
 public:
  // A batch with data in it was sent; received, and found authentic and not replayed.
  [[nodiscard]] bool data_sent(Instant now);
  [[nodiscard]] bool data_received(Instant now);

  // A batch with anything in it, or a handshake message, was sent; received and found authentic.
  void any_authenticated_packet_sent();
  void any_authenticated_packet_received();

  // Either of both; before what is sent goes out. Without a persistent keepalive it costs one load.
  [[nodiscard]] bool any_authenticated_packet_traversal(Instant now);

  // There is something to send and no keypair to send it with, or a keypair wants to be replaced
  // (Keypair::wants_rekey_after_send). Asks for an initiation, as often as the caller likes: if the last one
  // was too recent nothing is sent, but the attempts are counted from the start again.
  [[nodiscard]] bool want_handshake(Instant now);

  // Keypair::wants_rekey_on_receive() was true: the same, but only once until the next handshake completes.
  [[nodiscard]] bool want_lastminute_handshake(Instant now);

  // The throttle: kRekeyTimeout and jitter have to pass after each handshake message of ours before an initiation.
  // The kernel's has no jitter. But two sides whose initiations have crossed answer each other at the same time,
  // and if both have data to send all the time, their next initiations cross again, and so on.
  bool may_initiate(Instant now) const;

  // When data was first sent after the last authenticated packet received; nothing: none since. Control thread.
  std::optional<Instant> unanswered_since() const;

 private:
  friend class Timers;

  // Who watches the marks: the control thread sleeps, or has looked, or has looked and marks were set since.
  enum Watched : uint8_t { kAsleep, kQuiet, kActive };
  // Bits of wanted_.
  enum Wanted : uint8_t { kNothing = 0, kFreshAttempts = 1, kInitiation = 2 };

  // A mark was set. Exchanges on one variable are totally ordered: either the control thread's exchange comes
  // later and acquires the mark with it, or it came before and this one sees kAsleep.
  [[nodiscard]] bool touch() { return watched_.exchange(kActive, std::memory_order_acq_rel) == kAsleep; }

  // All marks are gone and nobody watches them.
  void forget();

  using Mark = std::atomic<int64_t>;                 // nanoseconds of Instant; 0: none
  Mark unanswered_since_{0};                         // first data sent after the last authenticated packet received
  Mark unacknowledged_since_{0};                     // first data received after the last authenticated packet sent
  Mark last_traversal_{0};                           // or up to 10 ms earlier; unused while traversal_matters_ is false
  Mark may_initiate_from_{0};                        // set by each handshake message sent
  std::atomic<bool> traversal_matters_{false};       // there is a persistent keepalive
  std::atomic<bool> need_another_keepalive_{false};  // data received while unacknowledged
  std::atomic<bool> sent_lastminute_handshake_{false};
  std::atomic<uint8_t> wanted_{kNothing};
  std::atomic<uint8_t> watched_{kAsleep};
};

// What the control thread has to do for a peer now, in this order.
struct TimerActions {
  bool wipe_keys = false;                  // forget handshake and keypairs: Peer::clear_keys()
  bool give_up = false;                    // too many attempts: drop the staged packets
  bool clear_source = false;               // forget the endpoint's source address, it may be the cause of the trouble
  bool send_initiation = false;            // Peer::create_initiation()
  bool send_keepalive = false;             // passive: send one, or the staged packets if there are any
  bool send_persistent_keepalive = false;  // likewise

  bool any() const {
    return wipe_keys || give_up || clear_source || send_initiation || send_keepalive || send_persistent_keepalive;
  }
  bool operator==(const TimerActions&) const = default;
};

// Thread safety: the control thread alone, but for marks().
//
// `jitter` is what the caller drew for this call, uniform in 0 .. kRekeyTimeoutJitterMax.
//
// The caller keeps one wake-up per peer: after each call here, and whenever a mark asked to be woken, it
// calls advance(), does what that says, and sleeps until next_deadline(). A keepalive that cannot be sent for
// want of a keypair asks for a handshake instead (TimerMarks::want_handshake()), as staged packets do.
class Timers {
 public:
  // The marks that the data path sets. Events of handshake messages set them too, inside the calls below.
  TimerMarks& marks() { return marks_; }
  const TimerMarks& marks() const { return marks_; }

  // The interface goes up or down. While stopped nothing is ever due; stopping forgets all that was pending,
  // the attempts and the throttle. start() returns whether to send a keepalive at once.
  [[nodiscard]] bool start();
  void stop();
  bool running() const { return running_; }

  // 0 switches it off. Returns whether to send a keepalive at once (it was off, and the interface is up).
  [[nodiscard]] bool set_persistent_keepalive(Duration interval);
  Duration persistent_keepalive() const { return persistent_keepalive_; }

  // An initiation was made; it counts as sent even if the network did not take it.
  void handshake_initiated(Instant now, Duration jitter);

  // An initiation could not be made at all. The throttle counts it, so that nobody asks again at once.
  void initiation_failed(Instant now);

  // A response was sent. It takes the place of an initiation of ours that is pending: the retry of that waits for
  // the throttle, instead of finding it closed.
  void handshake_responded(Instant now, Duration jitter);

  // An initiation or a response was received and is good.
  void handshake_received(Instant now);

  // A response was received, or the first message on the keypair that we responded for: the handshake is
  // done.
  void handshake_complete();

  // A keypair was derived: before a response is sent, or after one was received.
  void session_derived(Instant now);

  // The next initiation need not wait for the last one (our key has changed).
  void lift_throttle();

  // When advance() has to be called; nothing: not before somebody asks for it.
  std::optional<Instant> next_deadline() const;

  // What is due. What it says is said once.
  [[nodiscard]] TimerActions advance(Instant now, Duration jitter);

  unsigned handshake_attempts() const { return handshake_attempts_; }

  // Whether there was traffic lately: advance() has to come again to look at the marks.
  bool watching() const { return next_look_.has_value(); }

 private:
  void advance_retransmit_handshake(Instant now, TimerActions& actions);
  void advance_new_handshake(Instant now, Duration jitter, TimerActions& actions);
  void advance_send_keepalive(Instant now, TimerActions& actions);
  void advance_persistent_keepalive(Instant now, TimerActions& actions);
  void request_initiation(Instant now, TimerActions& actions);
  void throttle(Instant now, Duration jitter);
  void mark_traversal(Instant now);
  void watch(Instant now);

  TimerMarks marks_;
  bool running_ = false;
  Duration persistent_keepalive_{0};
  unsigned handshake_attempts_ = 0;
  std::optional<Instant> retransmit_handshake_;
  std::optional<Instant> zero_key_material_;
  // The jitter of the new-handshake timer, drawn when its mark was first seen.
  int64_t new_handshake_mark_ = 0;
  Duration new_handshake_jitter_{0};
  // When to look at the marks again: no mark can be due earlier than 10 s after it was set.
  std::optional<Instant> next_look_;
};

}  // namespace culvert::protocol
