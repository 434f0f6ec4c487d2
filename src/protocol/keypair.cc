#include "src/protocol/keypair.h"

#include "src/protocol/messages.h"

namespace culvert::protocol {

Keypair::Keypair(KeypairParameters parameters)
    : sending_key_(std::move(parameters.sending_key)),
      receiving_key_(std::move(parameters.receiving_key)),
      created_(parameters.created),
      local_index_(parameters.local_index),
      remote_index_(parameters.remote_index),
      i_am_initiator_(parameters.i_am_initiator),
      owner_(parameters.owner),
      confirmed_(parameters.i_am_initiator),
      send_counter_(parameters.first_counter) {}

bool Keypair::reserve(uint32_t count, uint64_t& first) {
  uint64_t next = send_counter_.load(std::memory_order_relaxed);
  do {
    if (count > kRejectAfterMessages - next) return false;
    // Not fetch_add: a loser of the race must not push the counter past the limit, or round.
  } while (!send_counter_.compare_exchange_weak(next, next + count, std::memory_order_relaxed));
  first = next;
  return true;
}

bool Keypair::confirm() {
  // The plain load keeps the line shared in the usual case.
  return !confirmed() && !confirmed_.exchange(true, std::memory_order_relaxed);
}

bool Keypair::usable_for_sending(Instant now) const {
  return confirmed() && !sending_expired_.load(std::memory_order_relaxed) && now - created_ < kRejectAfterTime &&
         sent() < kRejectAfterMessages;
}

bool Keypair::usable_for_receiving(Instant now) const {
  return now - created_ < kRejectAfterTime;
}

bool Keypair::wants_rekey_after_send(Instant now) const {
  if (sending_expired_.load(std::memory_order_relaxed)) return false;
  return sent() >= kRekeyAfterMessages || (i_am_initiator_ && now - created_ >= kRekeyAfterTime);
}

bool Keypair::wants_rekey_on_receive(Instant now) const {
  return i_am_initiator_ && !sending_expired_.load(std::memory_order_relaxed) && now - created_ >= kRekeyOnReceiveTime;
}

std::unique_ptr<Keypair> Keypairs::publish(std::unique_ptr<Keypair> keypair) {
  // Pairs with the acquire in current(): what the constructor wrote is visible.
  published_.store(keypair.get(), std::memory_order_release);
  std::swap(current_, keypair);
  return keypair;
}

std::unique_ptr<Keypair> Keypairs::publish_next(std::unique_ptr<Keypair> keypair) {
  // Pairs with the acquire in to_send_with(): what the constructor wrote, or that it is current now, is visible.
  published_next_.store(keypair.get(), std::memory_order_release);
  std::swap(next_, keypair);
  return keypair;
}

RetiredKeypairs Keypairs::add(std::unique_ptr<Keypair> keypair) {
  RetiredKeypairs retired;
  retired.add(std::move(previous_));
  if (keypair->i_am_initiator()) {
    std::unique_ptr<Keypair> replaced = publish(std::move(keypair));
    if (next_ != nullptr) {
      // The peer may have started to use it already, so it still receives; what was current is two behind.
      previous_ = publish_next(nullptr);
      retired.add(std::move(replaced));
    } else {
      previous_ = std::move(replaced);
    }
  } else {
    // Nothing may be sent on it before it is confirmed, so current stays.
    retired.add(publish_next(std::move(keypair)));
  }
  return retired;
}

RetiredKeypairs Keypairs::received_with(const Keypair* keypair, bool& became_current) {
  RetiredKeypairs retired;
  became_current = keypair != nullptr && keypair == next_.get();
  if (became_current) {
    retired.add(std::move(previous_));
    previous_ = publish(std::move(next_));
    (void)publish_next(nullptr);
  }
  return retired;
}

void Keypairs::expire_sending() {
  if (current_ != nullptr) current_->expire_sending();
  if (next_ != nullptr) next_->expire_sending();
}

RetiredKeypairs Keypairs::clear() {
  RetiredKeypairs retired;
  retired.add(publish_next(nullptr));
  retired.add(std::move(previous_));
  retired.add(publish(nullptr));
  return retired;
}

}  // namespace culvert::protocol
