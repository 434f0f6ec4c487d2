#include "src/protocol/timers.h"

#include <algorithm>

namespace culvert::protocol {

namespace {

// An unchanged mark costs no write, so this much of the last traversal is not kept.
constexpr Duration kTraversalGrain = std::chrono::milliseconds(10);

int64_t to_mark(Instant now) {
  return std::max<int64_t>(now.time_since_epoch().count(), 1);
}
Instant from_mark(int64_t mark) {
  return Instant(Duration(mark));
}

}  // namespace

bool TimerMarks::data_sent(Instant now) {
  if (unanswered_since_.load(std::memory_order_relaxed) != 0) return false;
  unanswered_since_.store(to_mark(now), std::memory_order_relaxed);
  return touch();
}

bool TimerMarks::data_received(Instant now) {
  if (unacknowledged_since_.load(std::memory_order_relaxed) == 0) {
    unacknowledged_since_.store(to_mark(now), std::memory_order_relaxed);
    return touch();
  }
  if (!need_another_keepalive_.load(std::memory_order_relaxed))
    need_another_keepalive_.store(true, std::memory_order_relaxed);
  return false;
}

void TimerMarks::any_authenticated_packet_sent() {
  if (unacknowledged_since_.load(std::memory_order_relaxed) != 0)
    unacknowledged_since_.store(0, std::memory_order_relaxed);
}

void TimerMarks::any_authenticated_packet_received() {
  if (unanswered_since_.load(std::memory_order_relaxed) != 0) unanswered_since_.store(0, std::memory_order_relaxed);
}

bool TimerMarks::any_authenticated_packet_traversal(Instant now) {
  if (!traversal_matters_.load(std::memory_order_relaxed)) return false;
  const int64_t last = last_traversal_.load(std::memory_order_relaxed);
  if (last != 0 && to_mark(now) - last < kTraversalGrain.count()) return false;
  last_traversal_.store(to_mark(now), std::memory_order_relaxed);
  return last == 0 && touch();
}

bool TimerMarks::want_handshake(Instant now) {
  const uint8_t wish = may_initiate(now) ? kFreshAttempts | kInitiation : kFreshAttempts;
  if ((wanted_.load(std::memory_order_relaxed) & wish) == wish) return false;
  const uint8_t before = wanted_.fetch_or(wish, std::memory_order_relaxed);
  return (wish & kInitiation) != 0 && (before & kInitiation) == 0;
}

bool TimerMarks::want_lastminute_handshake(Instant now) {
  if (sent_lastminute_handshake_.load(std::memory_order_relaxed) ||
      sent_lastminute_handshake_.exchange(true, std::memory_order_relaxed))
    return false;
  return want_handshake(now);
}

bool TimerMarks::may_initiate(Instant now) const {
  return to_mark(now) >= may_initiate_from_.load(std::memory_order_relaxed);
}

std::optional<Instant> TimerMarks::unanswered_since() const {
  const int64_t since = unanswered_since_.load(std::memory_order_relaxed);
  return since != 0 ? std::optional(from_mark(since)) : std::nullopt;
}

void TimerMarks::forget() {
  for (Mark* mark : {&unanswered_since_, &unacknowledged_since_, &last_traversal_, &may_initiate_from_})
    mark->store(0, std::memory_order_relaxed);
  need_another_keepalive_.store(false, std::memory_order_relaxed);
  sent_lastminute_handshake_.store(false, std::memory_order_relaxed);
  wanted_.store(kNothing, std::memory_order_relaxed);
  watched_.store(kAsleep, std::memory_order_relaxed);
}

bool Timers::start() {
  // A worker may have left marks after stop().
  if (!running_) marks_.forget();
  running_ = true;
  return persistent_keepalive_ > Duration::zero();
}

void Timers::stop() {
  running_ = false;
  handshake_attempts_ = 0;
  retransmit_handshake_.reset();
  zero_key_material_.reset();
  next_look_.reset();
  marks_.forget();
}

bool Timers::set_persistent_keepalive(Duration interval) {
  const bool was_off = persistent_keepalive_ <= Duration::zero();
  const bool is_on = interval > Duration::zero();
  persistent_keepalive_ = interval;
  // What went by while it was off has started no timer; the keepalive that is sent now does.
  if (was_off) marks_.last_traversal_.store(0, std::memory_order_relaxed);
  marks_.traversal_matters_.store(is_on, std::memory_order_relaxed);
  return was_off && is_on && running_;
}

void Timers::handshake_initiated(Instant now, Duration jitter) {
  throttle(now, jitter);
  mark_traversal(now);
  marks_.any_authenticated_packet_sent();
  if (running_) retransmit_handshake_ = now + kRekeyTimeout + jitter;
}

void Timers::initiation_failed(Instant now) {
  throttle(now, Duration::zero());
}

void Timers::handshake_responded(Instant now, Duration jitter) {
  throttle(now, jitter);
  if (retransmit_handshake_) retransmit_handshake_ = now + kRekeyTimeout + jitter;
  mark_traversal(now);
  marks_.any_authenticated_packet_sent();
}

void Timers::handshake_received(Instant now) {
  marks_.any_authenticated_packet_received();
  mark_traversal(now);
}

void Timers::handshake_complete() {
  retransmit_handshake_.reset();
  handshake_attempts_ = 0;
  marks_.sent_lastminute_handshake_.store(false, std::memory_order_relaxed);
}

void Timers::session_derived(Instant now) {
  if (running_) zero_key_material_ = now + kKeyWipeTime;
}

void Timers::lift_throttle() {
  marks_.may_initiate_from_.store(0, std::memory_order_relaxed);
}

std::optional<Instant> Timers::next_deadline() const {
  if (!running_) return std::nullopt;
  std::optional<Instant> earliest;
  const auto consider = [&earliest](std::optional<Instant> deadline) {
    if (deadline && (!earliest || *deadline < *earliest)) earliest = deadline;
  };
  const auto consider_mark = [&consider](const TimerMarks::Mark& mark, Duration after) {
    const int64_t since = mark.load(std::memory_order_relaxed);
    if (since != 0) consider(from_mark(since) + after);
    return since;
  };
  consider(retransmit_handshake_);
  consider(zero_key_material_);
  consider(next_look_);
  consider_mark(marks_.unacknowledged_since_, kKeepaliveTimeout);
  // A mark that came up after the last look has no jitter yet; advance() gives it one.
  const int64_t unanswered = marks_.unanswered_since_.load(std::memory_order_relaxed);
  if (unanswered != 0) {
    const bool has_jitter = unanswered == new_handshake_mark_;
    consider(from_mark(unanswered) + kNewHandshakeTime + (has_jitter ? new_handshake_jitter_ : Duration(0)));
  }
  if (persistent_keepalive_ > Duration::zero()) consider_mark(marks_.last_traversal_, persistent_keepalive_);
  return earliest;
}

TimerActions Timers::advance(Instant now, Duration jitter) {
  TimerActions actions;
  const uint8_t wanted = marks_.wanted_.exchange(TimerMarks::kNothing, std::memory_order_relaxed);
  if (!running_) return actions;
  if (wanted != TimerMarks::kNothing) handshake_attempts_ = 0;
  if ((wanted & TimerMarks::kInitiation) != 0) request_initiation(now, actions);
  advance_retransmit_handshake(now, actions);
  advance_new_handshake(now, jitter, actions);
  advance_send_keepalive(now, actions);
  advance_persistent_keepalive(now, actions);
  if (zero_key_material_ && now >= *zero_key_material_) {
    zero_key_material_.reset();
    actions.wipe_keys = true;
  }
  watch(now);
  return actions;
}

void Timers::advance_retransmit_handshake(Instant now, TimerActions& actions) {
  if (!retransmit_handshake_ || now < *retransmit_handshake_) return;
  retransmit_handshake_.reset();
  if (handshake_attempts_ > kMaxTimerHandshakes) {
    actions.give_up = true;
    marks_.unacknowledged_since_.store(0, std::memory_order_relaxed);
    // What is left of a partial exchange must not stay for ever.
    if (!zero_key_material_) zero_key_material_ = now + kKeyWipeTime;
    return;
  }
  ++handshake_attempts_;
  actions.clear_source = true;
  request_initiation(now, actions);
}

void Timers::advance_new_handshake(Instant now, Duration jitter, TimerActions& actions) {
  int64_t since = marks_.unanswered_since_.load(std::memory_order_relaxed);
  if (since == 0) return;
  if (since != new_handshake_mark_) {
    new_handshake_mark_ = since;
    new_handshake_jitter_ = jitter;
  }
  if (now < from_mark(since) + kNewHandshakeTime + new_handshake_jitter_) return;
  // It fails if the answer comes in this very moment.
  if (!marks_.unanswered_since_.compare_exchange_strong(since, 0, std::memory_order_relaxed)) return;
  handshake_attempts_ = 0;
  actions.clear_source = true;
  request_initiation(now, actions);
}

void Timers::advance_send_keepalive(Instant now, TimerActions& actions) {
  int64_t since = marks_.unacknowledged_since_.load(std::memory_order_relaxed);
  if (since == 0 || now < from_mark(since) + kKeepaliveTimeout) return;
  // Sending the keepalive clears the new mark, as it deletes the new timer in the kernel: another one follows
  // only if this one cannot be sent.
  const bool another = marks_.need_another_keepalive_.load(std::memory_order_relaxed);
  const int64_t mark = another ? to_mark(now) : 0;
  if (!marks_.unacknowledged_since_.compare_exchange_strong(since, mark, std::memory_order_relaxed)) return;
  if (another) marks_.need_another_keepalive_.store(false, std::memory_order_relaxed);
  actions.send_keepalive = true;
}

void Timers::advance_persistent_keepalive(Instant now, TimerActions& actions) {
  if (persistent_keepalive_ <= Duration::zero()) return;
  int64_t last = marks_.last_traversal_.load(std::memory_order_relaxed);
  if (last == 0 || now < from_mark(last) + persistent_keepalive_) return;
  // It counts as sent, so that the next one follows even if this one cannot be sent for lack of a keypair: in
  // the kernel the handshake that it asks for starts the timer again.
  if (!marks_.last_traversal_.compare_exchange_strong(last, to_mark(now), std::memory_order_relaxed)) return;
  actions.send_persistent_keepalive = true;
}

void Timers::request_initiation(Instant now, TimerActions& actions) {
  if (marks_.may_initiate(now)) actions.send_initiation = true;
}

void Timers::throttle(Instant now, Duration jitter) {
  marks_.may_initiate_from_.store(to_mark(now + kRekeyTimeout + jitter), std::memory_order_relaxed);
}

void Timers::mark_traversal(Instant now) {
  // It was asleep and the mark says otherwise now: make it true.
  if (marks_.any_authenticated_packet_traversal(now)) watch(now);
}

void Timers::watch(Instant now) {
  const bool pending = marks_.unanswered_since_.load(std::memory_order_relaxed) != 0 ||
                       marks_.unacknowledged_since_.load(std::memory_order_relaxed) != 0;
  next_look_.reset();
  if (!running_) {
    marks_.watched_.store(TimerMarks::kAsleep, std::memory_order_relaxed);
    return;
  }
  const bool active = marks_.watched_.load(std::memory_order_relaxed) == TimerMarks::kActive;
  if (!active && !pending) {
    // Nothing for a whole look: sleep, unless a mark comes up in this very moment.
    const uint8_t before = marks_.watched_.exchange(TimerMarks::kAsleep, std::memory_order_acq_rel);
    if (before != TimerMarks::kActive) return;
  }
  marks_.watched_.exchange(TimerMarks::kQuiet, std::memory_order_acq_rel);
  const bool persistent = persistent_keepalive_ > Duration::zero();
  next_look_ = now + (persistent ? std::min(persistent_keepalive_, kKeepaliveTimeout) : kKeepaliveTimeout);
}

}  // namespace culvert::protocol
