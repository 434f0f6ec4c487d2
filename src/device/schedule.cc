// What the control thread does in one turn, and at most how much of it: what workers ask for, handshake messages that
// wait, peers whose timers are due. Whatever starts many peers at once (link up, a new key, a big configuration) only
// wakes them: they queue in deadlines_ with everybody else, and messages from outside are drained in between.

#include <algorithm>
#include <chrono>
#include <utility>

#include "crypto/random.h"
#include "src/device/device.h"
#include "src/device/encoding.h"
#include "src/log.h"
#include "src/pipeline/shared_state.h"

namespace culvert::device {
namespace {

// An answer costs an eighth of a millisecond, an initiation half of that, a look at a peer next to nothing.
constexpr size_t kHandshakesPerTurn = 64;
constexpr size_t kInitiationsPerTurn = 64;
constexpr size_t kLooksPerTurn = 1024;  // by workers' requests, and again by timers

// While more handshake messages wait than one turn takes, ours stand back: answers end handshakes, and what waits
// longest is lost first. A few go out all the same, or a flood would silence us.
constexpr size_t kInitiationsBehindOthers = 8;

// The kernel module's rule: under load from an eighth of the queue on, and for a second after (receive.c).
constexpr size_t kUnderLoadQueue = pipeline::Mailbox::kMaxHandshakes / 8;
constexpr protocol::Duration kUnderLoadMemory = std::chrono::seconds(1);

// Actions may call for new ones (a keepalive without a keypair asks for a handshake), but never without end.
constexpr int kMaxAdvances = 4;

}  // namespace

protocol::Duration Device::draw_jitter() {
  constexpr auto kMaxMs =
      std::chrono::duration_cast<std::chrono::milliseconds>(protocol::kRekeyTimeoutJitterMax).count();
  return std::chrono::milliseconds(crypto::random_below(static_cast<uint32_t>(kMaxMs) + 1));
}

bool Device::attend() {
  if (workers_.balance(now_)) tell_groups_of_workers();
  const bool more_peers = attend_peers();
  const bool more_handshakes = attend_handshakes();
  return more_peers || more_handshakes;
}

bool Device::attend_peers() {
  size_t looks = kLooksPerTurn;
  for (const auto& worker : workers_) {
    pipeline::Mailbox& mailbox = worker->mailbox();
    uint64_t id = 0;
    for (; looks > 0 && mailbox.attention.try_pop(id); --looks) {
      const auto found = peers_.find(id);
      if (found != peers_.end()) attend_peer(*found->second);
    }
    if (mailbox.overflowed.exchange(false, std::memory_order_acq_rel)) overflow_walk_.request();
  }
  looks = walk_peers(overflow_walk_, looks, [this](DevicePeer& peer) {
    if (peer.path.attention.load(std::memory_order_relaxed) != 0) attend_peer(peer);
    return size_t{1};
  });
  return looks == 0 || overflow_walk_.wanted();
}

bool Device::attend_handshakes() {
  const size_t share = std::max<size_t>(1, kHandshakesPerTurn / std::max<size_t>(1, workers_.size()));
  size_t taken = 0;
  for (size_t i = 0; i < workers_.size(); ++i) {
    const size_t waiting = workers_[i].mailbox().handshakes.size();
    excused_handshakes_[i] = std::min(excused_handshakes_[i], waiting);
    if (waiting - excused_handshakes_[i] >= kUnderLoadQueue) under_load_until_ = now_ + kUnderLoadMemory;
    taken += take_handshakes(i, share);
  }
  // Nearly all of them come to one worker; its share alone would make them wait for no reason.
  for (size_t i = 0; i < workers_.size() && taken < kHandshakesPerTurn; ++i)
    taken += take_handshakes(i, kHandshakesPerTurn - taken);
  return taken >= kHandshakesPerTurn;
}

// Yields how many it took of those that wait at worker i.
size_t Device::take_handshakes(size_t i, size_t most) {
  pipeline::HandshakeDatagram datagram;
  size_t taken = 0;
  for (; taken < most && workers_[i].mailbox().handshakes.try_pop(datagram); ++taken) receive(datagram);
  excused_handshakes_[i] -= std::min(excused_handshakes_[i], taken);
  return taken;
}

// What came in while we were busy with a change of our own is no load from outside.
void Device::excuse_waiting_handshakes() {
  for (size_t i = 0; i < workers_.size(); ++i) excused_handshakes_[i] = workers_[i].mailbox().handshakes.size();
}

void Device::attend_peer(DevicePeer& peer) {
  // Pairs with the release in ask_attention(): what the worker did before it asked is visible.
  const uint32_t attention = peer.path.attention.exchange(0, std::memory_order_acq_rel);
  if (!up_) return;
  const protocol::Keypair* const next = peer.peer.keypairs().next();
  if ((attention & pipeline::kKeypairConfirmed) != 0 && next != nullptr && next->confirmed()) {
    protocol::RetiredKeypairs retired;
    if (peer.peer.received_with(next, wall_, *index_table_, retired)) {
      log_verbose("{} - Handshake complete, keypair confirmed", log_name(peer));
      flush(peer);
    }
    retire(std::move(retired));
  }
  if ((attention & pipeline::kStagedLate) != 0) flush(peer);
  if ((attention & pipeline::kRoamed) != 0) attend_roaming(peer);
  wake(peer);
}

void Device::wake(DevicePeer& peer) {
  if (peer.awake_since) return;
  peer.awake_since = now_;
  reschedule(peer);
}

// What the control thread sends leaves by a bounded ring. Answers need theirs too.
bool Device::has_room_to_send() const {
  return workers_.empty() || workers_.front().control_room() > kHandshakesPerTurn;
}

void Device::advance_timers() {
  if (bind_retry_at_ && *bind_retry_at_ <= now_) (void)bring_up();
  recheck_some_sources();
  const bool others_wait = std::any_of(workers_.begin(), workers_.end(), [](const auto& worker) {
    return worker->mailbox().handshakes.size() >= kHandshakesPerTurn;
  });
  const size_t initiations = others_wait ? kInitiationsBehindOthers : kInitiationsPerTurn;
  size_t looks = kLooksPerTurn;
  for (auto at = deadlines_.begin(); at != deadlines_.end() && at->first <= now_; --looks) {
    if (looks == 0 || initiations_in_turn_ >= initiations || !has_room_to_send()) break;
    const auto due = *at;  // the entry goes, and those of others in its group may
    DevicePeer& peer = *due.second;
    peer.awake_since.reset();
    if (std::exchange(peer.sign_of_life_due, false)) flush_or_keepalive(peer);
    advance(peer);
    at = deadlines_.upper_bound(due);
  }
  drop_staged(given_up_, pipeline::DropReason::handshake_failed);
}

void Device::advance(DevicePeer& peer) {
  if (peer.membership != nullptr) look_at_member(peer);
  for (int i = 0; i < kMaxAdvances; ++i) {
    const protocol::TimerActions actions = peer.peer.timers().advance(now_, draw_jitter());
    if (!actions.any()) break;
    if (actions.wipe_keys) retire(peer.peer.clear_keys(*index_table_));
    if (actions.give_up) {
      log_verbose("{} - Handshake did not complete after {} attempts, giving up", log_name(peer),
                  protocol::kMaxTimerHandshakes);
      given_up_.push_back(&peer.path);
    }
    if (actions.clear_source) peer.path.endpoint.forget_source(peer.path.endpoint.load().source);
    if (actions.send_initiation) send_initiation(peer);
    if (actions.send_keepalive || actions.send_persistent_keepalive) flush_or_keepalive(peer);
  }
  if (peer.membership != nullptr)
    peer.membership->next_look = peer.membership->liveness.next_look(peer.peer.timers().watching(), now_);
  reschedule(peer);
}

std::optional<protocol::Instant> Device::next_deadline() const {
  std::optional<protocol::Instant> next = bind_retry_at_;
  const auto consider = [&next](std::optional<protocol::Instant> other) {
    if (other && (!next || *other < *next)) next = other;
  };
  consider(next_source_check());
  if (!deadlines_.empty()) consider(deadlines_.begin()->first);
  return next;
}

void Device::reschedule(DevicePeer& peer) {
  std::optional<protocol::Instant> deadline = peer.peer.timers().next_deadline();
  const auto consider = [&deadline](std::optional<protocol::Instant> other) {
    if (other && (!deadline || *other < *deadline)) deadline = other;
  };
  consider(peer.awake_since);
  if (peer.membership != nullptr) consider(peer.membership->next_look);
  if (deadline == peer.deadline) return;
  if (peer.deadline) deadlines_.erase({*peer.deadline, &peer});
  if (deadline) deadlines_.insert({*deadline, &peer});
  peer.deadline = deadline;
}

}  // namespace culvert::device
