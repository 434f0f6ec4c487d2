#include "src/protocol/cookie.h"

#include <algorithm>
#include <cassert>
#include <string_view>

#include "crypto/blake2s.h"
#include "crypto/random.h"

namespace culvert::protocol {
namespace {

constexpr std::string_view kMac1Label = "mac1----";
constexpr std::string_view kCookieLabel = "cookie--";

// Hash(label || public key).
crypto::Hash derive_key(std::string_view label, const PublicKey& key) {
  return crypto::blake2s({std::span(reinterpret_cast<const uint8_t*>(label.data()), label.size()), key.bytes});
}

// mac1 covers what stands before both macs, mac2 what stands before itself.
std::span<const uint8_t> before_mac1(std::span<const uint8_t> message) {
  return message.first(message.size() - sizeof(Macs));
}
std::span<const uint8_t> before_mac2(std::span<const uint8_t> message) {
  return message.first(message.size() - kMacBytes);
}

Macs macs_of(std::span<const uint8_t> message) {
  return read_message<Macs>(message.last(sizeof(Macs)));
}

Mac compute_mac2(std::span<const uint8_t> message, const crypto::Secret<kCookieBytes>& cookie) {
  Mac mac;
  crypto::blake2s_keyed(mac, cookie.bytes(), {before_mac2(message)});
  return mac;
}

}  // namespace

Mac1Key::Mac1Key(const PublicKey& receiver) : key_(derive_key(kMac1Label, receiver)) {}

Mac Mac1Key::compute(std::span<const uint8_t> message) const {
  assert(message.size() >= sizeof(Macs));
  Mac mac;
  crypto::blake2s_keyed(mac, key_, {before_mac1(message)});
  return mac;
}

bool Mac1Key::verify(std::span<const uint8_t> message) const {
  return message.size() >= sizeof(Macs) && crypto::equal_constant_time(macs_of(message).mac1, compute(message));
}

CookieChecker::CookieChecker(const PublicKey& ours) : mac1_key_(ours), cookie_key_(derive_key(kCookieLabel, ours)) {}

MacVerdict CookieChecker::validate(std::span<const uint8_t> message, std::span<const uint8_t> source, Instant now) {
  if (!mac1_key_.verify(message)) return MacVerdict::invalid_mac;
  const Mac expected = compute_mac2(message, make_cookie(source, now));
  return crypto::equal_constant_time(macs_of(message).mac2, expected) ? MacVerdict::valid_mac_with_cookie
                                                                      : MacVerdict::valid_mac_no_cookie;
}

void CookieChecker::create_cookie_reply(std::span<const uint8_t> message, uint32_t receiver_index,
                                        std::span<const uint8_t> source, Instant now, CookieReply& out) {
  assert(message.size() >= sizeof(Macs));
  out.type = static_cast<uint32_t>(MessageType::cookie_reply);
  out.receiver_index = receiver_index;
  crypto::fill_random(out.nonce);
  const auto cookie = make_cookie(source, now);
  crypto::xchacha20_poly1305_seal(out.encrypted_cookie, cookie_key_, out.nonce, cookie.bytes(), macs_of(message).mac1);
}

crypto::Secret<kCookieBytes> CookieChecker::make_cookie(std::span<const uint8_t> source, Instant now) {
  if (!secret_born_ || now >= *secret_born_ + kCookieRefreshTime) {
    crypto::fill_random(secret_.bytes());
    secret_born_ = now;
  }
  crypto::Secret<kCookieBytes> cookie;
  crypto::blake2s_keyed(cookie.bytes(), secret_.bytes(), {source});
  return cookie;
}

CookieGenerator::CookieGenerator(const PublicKey& remote)
    : mac1_key_(remote), cookie_key_(derive_key(kCookieLabel, remote)) {}

void CookieGenerator::add_macs(std::span<uint8_t> message, Instant now) {
  assert(message.size() >= sizeof(Macs));
  const std::span<uint8_t> mac1 = message.last(sizeof(Macs)).first(kMacBytes);
  const std::span<uint8_t> mac2 = message.last(kMacBytes);
  last_mac1_sent_ = mac1_key_.compute(message);
  std::copy(last_mac1_sent_->begin(), last_mac1_sent_->end(), mac1.begin());
  if (cookie_born_ && now < *cookie_born_ + kCookieRefreshTime - kCookieSecretLatency) {
    const Mac mac = compute_mac2(message, cookie_);
    std::copy(mac.begin(), mac.end(), mac2.begin());
  } else {
    cookie_.wipe();
    cookie_born_.reset();
    std::fill(mac2.begin(), mac2.end(), uint8_t{0});
  }
}

bool CookieGenerator::consume_cookie_reply(const CookieReply& reply, Instant now) {
  if (!last_mac1_sent_) return false;
  crypto::Secret<kCookieBytes> cookie;
  if (!crypto::xchacha20_poly1305_open(cookie.bytes(), cookie_key_, reply.nonce, reply.encrypted_cookie,
                                       *last_mac1_sent_))
    return false;
  cookie_ = std::move(cookie);
  cookie_born_ = now;
  last_mac1_sent_.reset();
  return true;
}

}  // namespace culvert::protocol
