// Transport keypairs: the keys that one handshake derived, their counter and replay window, and the three
// places (previous, current, next) that a peer has for them (WireGuard paper sections 5.4.5, 5.4.6 and 6.1;
// the transitions are those of the kernel's noise.c).
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>

#include "crypto/secret.h"
#include "src/protocol/mutex.h"
#include "src/protocol/peer_handle.h"
#include "src/protocol/replay_window.h"
#include "src/protocol/time.h"

namespace culvert::protocol {

// What a keypair is made of.
struct KeypairParameters {
  crypto::Secret<32> sending_key;
  crypto::Secret<32> receiving_key;
  Instant created;
  uint32_t local_index = 0;   // the receiver index of messages to us
  uint32_t remote_index = 0;  // the receiver index of messages to the peer
  bool i_am_initiator = false;
  PeerHandle owner = nullptr;
  uint64_t first_counter = 0;  // other than 0 only in tests of the limits
};

// Thread safety: every method may be called from any thread, as long as the keypair lives: the control thread
// makes it, retires it and frees it once no worker can hold it any more.
//
// Invariants: 1. a counter is handed out once and is below kRejectAfterMessages; 2. a responder's keypair is
// not usable for sending before it was confirmed; 3. a keypair never becomes usable again.
// The padding keeps what workers write away from what they only read.
class Keypair {  // NOLINT(clang-analyzer-optin.performance.Padding)
 public:
  explicit Keypair(KeypairParameters parameters);
  Keypair(const Keypair&) = delete;
  Keypair& operator=(const Keypair&) = delete;

  // 32 bytes each, for crypto/aead.h.
  const uint8_t* sending_key() const { return sending_key_.data(); }
  const uint8_t* receiving_key() const { return receiving_key_.data(); }
  Instant created() const { return created_; }
  uint32_t local_index() const { return local_index_; }
  uint32_t remote_index() const { return remote_index_; }
  bool i_am_initiator() const { return i_am_initiator_; }
  PeerHandle owner() const { return owner_; }

  // Reserves the counters first .. first + count - 1, all of them or none. False when that would reach
  // kRejectAfterMessages; `first` is untouched then.
  [[nodiscard]] bool reserve(uint32_t count, uint64_t& first);

  // The next counter: as many were reserved so far.
  uint64_t sent() const { return send_counter_.load(std::memory_order_relaxed); }

  // Confirmed: the peer has proven that it holds these keys. True from birth for the initiator.
  bool confirmed() const { return confirmed_.load(std::memory_order_relaxed); }

  // Call after an authentic message was received on it. True for the one call that confirmed it; the control
  // thread then has to hear of it (Peer::received_with()).
  [[nodiscard]] bool confirm();

  // From now on nothing may be sent on it, while messages on their way here are still received (the kernel's
  // sending.is_valid).
  void expire_sending() { sending_expired_.store(true, std::memory_order_relaxed); }

  bool usable_for_sending(Instant now) const;
  bool usable_for_receiving(Instant now) const;

  // To ask after something was sent on it: is it time for a new handshake?
  bool wants_rekey_after_send(Instant now) const;

  // To ask after something was received on it: is this the last chance to rekey before it is rejected? The
  // answer stays true; TimerMarks::want_lastminute_handshake() sees to it that it is followed once.
  bool wants_rekey_on_receive(Instant now) const;

  // The replay window, locked for as long as this lives: one a batch, never two at a time on one thread.
  class Admission {
   public:
    // See ReplayWindow::admit().
    [[nodiscard]] bool admit(uint64_t counter) { return window_.admit(counter); }

   private:
    friend class Keypair;
    // The lock lives as long as this, which clang does not follow into members.
    Admission(Mutex& mutex, ReplayWindow& window) NO_THREAD_SAFETY_ANALYSIS : lock_(mutex), window_(window) {}

    MutexLock lock_;
    ReplayWindow& window_;
  };

  // A mutex and not a spin lock: whoever waits for a worker that lost its core must not burn its own.
  [[nodiscard]] Admission lock_replay_window() NO_THREAD_SAFETY_ANALYSIS {
    return Admission(receive_mutex_, replay_window_);
  }

  // How much of what was sent to us on it has arrived. Waits for a batch that is being admitted.
  ReplayWindow::Reception reception() const {
    const MutexLock lock(receive_mutex_);
    return replay_window_.reception();
  }

 private:
  // Constant after construction.
  const crypto::Secret<32> sending_key_;
  const crypto::Secret<32> receiving_key_;
  const Instant created_;
  const uint32_t local_index_;
  const uint32_t remote_index_;
  const bool i_am_initiator_;
  const PeerHandle owner_;

  // Relaxed, all three: they order no other memory. The counter is alone on its cache line, because every
  // worker that sends to this peer writes it.
  std::atomic<bool> confirmed_;
  std::atomic<bool> sending_expired_{false};
  alignas(64) std::atomic<uint64_t> send_counter_;

  alignas(64) mutable Mutex receive_mutex_;
  ReplayWindow replay_window_ GUARDED_BY(receive_mutex_);
};

// The keypairs that one transition pushed out, for the caller to take out of the index table at once and to
// free when no worker can hold them any more.
class RetiredKeypairs {
 public:
  RetiredKeypairs() = default;

  // Takes a keypair; null is no keypair.
  void add(std::unique_ptr<Keypair> keypair) {
    if (keypair != nullptr) keypairs_[size_++] = std::move(keypair);
  }
  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  std::unique_ptr<Keypair>* begin() { return keypairs_.data(); }
  std::unique_ptr<Keypair>* end() { return keypairs_.data() + size_; }

 private:
  std::array<std::unique_ptr<Keypair>, 3> keypairs_;
  size_t size_ = 0;
};

// Thread safety: the control thread alone, but for current().
//
// Invariants: 1. a keypair is in one place at most; 2. current() is confirmed; 3. nothing is freed here:
// what leaves is handed to the caller.
class Keypairs {
 public:
  // The keypair to send with, or null. Any thread; it stays alive until the worker's next quiescent point.
  Keypair* current() const { return published_.load(std::memory_order_acquire); }

  // The keypair to send with, or null: next as soon as a worker has confirmed it, else current. A packet that was
  // received on next may be answered before the control thread has made it current, and the peer may have
  // forgotten the one before. Any thread; it stays alive until the worker's next quiescent point.
  Keypair* to_send_with() const {
    Keypair* const next = published_next_.load(std::memory_order_acquire);
    return next != nullptr && next->confirmed() ? next : current();
  }

  // A handshake has derived `keypair`. The initiator's becomes current; the responder's waits as next.
  [[nodiscard]] RetiredKeypairs add(std::unique_ptr<Keypair> keypair);

  // An authentic message came in on `keypair`: if it is next, it becomes current. `became_current` says so,
  // and then the handshake is complete. `keypair` is compared and never followed, so it may be long gone.
  [[nodiscard]] RetiredKeypairs received_with(const Keypair* keypair, bool& became_current);

  // Our own key has changed: nothing more is sent on current and next; all still receive.
  void expire_sending();

  // Forgets all of them.
  [[nodiscard]] RetiredKeypairs clear();

  const Keypair* previous() const { return previous_.get(); }
  const Keypair* next() const { return next_.get(); }

 private:
  // Moves `keypair` into current and lets workers see it; returns what was there.
  std::unique_ptr<Keypair> publish(std::unique_ptr<Keypair> keypair);
  // Replaces next and lets workers see it; returns what was there. After publish() where a keypair moves from
  // next to current, so that a worker finds it in one of the places.
  std::unique_ptr<Keypair> publish_next(std::unique_ptr<Keypair> keypair);

  std::unique_ptr<Keypair> previous_;
  std::unique_ptr<Keypair> current_;
  std::unique_ptr<Keypair> next_;
  std::atomic<Keypair*> published_{nullptr};  // current_; release in publish(), acquire in current()
  // next_; release in publish_next(), acquire in to_send_with()
  std::atomic<Keypair*> published_next_{nullptr};
};

}  // namespace culvert::protocol
