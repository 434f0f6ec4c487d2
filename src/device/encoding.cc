#include "src/device/encoding.h"

#include <arpa/inet.h>
#include <sodium.h>

#include <algorithm>

namespace culvert::device {
namespace {

constexpr size_t kKeyBytes = 32;
constexpr size_t kKeyHexDigits = 64;
constexpr size_t kKeyBase64Digits = 44;

constexpr uint8_t kLongestV4 = 32;
constexpr uint8_t kLongestV6 = 128;

bool decode_hex(std::string_view text, std::span<uint8_t, kKeyBytes> out) {
  size_t bytes = 0;
  return text.size() == kKeyHexDigits &&
         sodium_hex2bin(out.data(), out.size(), text.data(), text.size(), nullptr, &bytes, nullptr) == 0 &&
         bytes == kKeyBytes;
}

bool decode_base64(std::string_view text, std::span<uint8_t, kKeyBytes> out) {
  size_t bytes = 0;
  return text.size() == kKeyBase64Digits &&
         sodium_base642bin(out.data(), out.size(), text.data(), text.size(), nullptr, &bytes, nullptr,
                           sodium_base64_VARIANT_ORIGINAL) == 0 &&
         bytes == kKeyBytes;
}

// A prefix of full length.
std::optional<Prefix> parse_address(std::string_view text) {
  char terminated[INET6_ADDRSTRLEN] = {};
  if (text.empty() || text.size() >= sizeof terminated || text.find('\0') != std::string_view::npos)
    return std::nullopt;
  std::copy(text.begin(), text.end(), terminated);
  const bool v6 = text.find(':') != std::string_view::npos;
  Prefix prefix;
  if (inet_pton(v6 ? AF_INET6 : AF_INET, terminated, prefix.address.data()) != 1) return std::nullopt;
  prefix.version = v6 ? protocol::IpVersion::v6 : protocol::IpVersion::v4;
  prefix.cidr = v6 ? kLongestV6 : kLongestV4;
  return prefix;
}

// One octet or prefix length. inet_ntop() and std::to_chars would do, but 130,000 addresses are printed by
// one `get`.
void append_small_number(crypto::SecretString& out, unsigned value) {
  if (value >= 100) out.push_back(static_cast<char>('0' + value / 100));
  if (value >= 10) out.push_back(static_cast<char>('0' + value / 10 % 10));
  out.push_back(static_cast<char>('0' + value % 10));
}

}  // namespace

void append_hex(crypto::SecretString& out, std::span<const uint8_t, 32> key) {
  char text[kKeyHexDigits + 1];
  sodium_bin2hex(text, sizeof text, key.data(), key.size());
  out.append(text, kKeyHexDigits);
  sodium_memzero(text, sizeof text);
}

std::string to_hex(const Key& key) {
  crypto::SecretString out;
  append_hex(out, key);
  return std::string(out);
}

std::optional<Key> key_from_hex(std::string_view text) {
  std::optional<Key> key(std::in_place);
  if (!decode_hex(text, *key)) key.reset();
  return key;
}

std::optional<SecretKey> secret_key_from_hex(std::string_view text) {
  std::optional<SecretKey> key(std::in_place);
  if (!decode_hex(text, key->bytes())) key.reset();
  return key;
}

void append_base64(crypto::SecretString& out, const SecretKey& key) {
  const size_t end = out.size();
  out.resize(end + kKeyBase64Digits + 1);
  sodium_bin2base64(out.data() + end, kKeyBase64Digits + 1, key.data(), key.size(), sodium_base64_VARIANT_ORIGINAL);
  out.resize(end + kKeyBase64Digits);
}

std::string to_base64(const Key& key) {
  char text[kKeyBase64Digits + 1];
  sodium_bin2base64(text, sizeof text, key.data(), key.size(), sodium_base64_VARIANT_ORIGINAL);
  return std::string(text, kKeyBase64Digits);
}

std::string short_name(const Key& public_key) {
  const std::string text = to_base64(public_key);
  return text.substr(0, 4) + "…" + text.substr(39, 4);
}

std::optional<Key> key_from_base64(std::string_view text) {
  std::optional<Key> key(std::in_place);
  if (!decode_base64(text, *key)) key.reset();
  return key;
}

std::optional<SecretKey> secret_key_from_base64(std::string_view text) {
  std::optional<SecretKey> key(std::in_place);
  if (!decode_base64(text, key->bytes())) key.reset();
  return key;
}

std::string quote(std::string_view value) {
  constexpr size_t kLongest = 64;
  std::string out = "'";
  for (const char c : value.substr(0, kLongest)) out.push_back(c >= ' ' && c <= '~' ? c : '?');
  out += value.size() > kLongest ? "...'" : "'";
  return out;
}

std::string quote_name(std::string_view name) {
  constexpr size_t kLongestName = 40;  // 32 bytes in base64 are 43
  const std::string_view word = name.substr(0, name.find_first_of(" \t"));
  return word.size() <= kLongestName ? quote(word) : "a word of " + std::to_string(word.size()) + " characters";
}

Prefix masked(Prefix prefix) {
  for (size_t i = 0; i < prefix.address.size(); ++i) {
    const int kept_bits = std::clamp(prefix.cidr - static_cast<int>(8 * i), 0, 8);
    prefix.address[i] &= static_cast<uint8_t>(0xff00 >> kept_bits);
  }
  return prefix;
}

void append_prefix(crypto::SecretString& out, const Prefix& prefix) {
  if (prefix.version == protocol::IpVersion::v4) {
    for (size_t i = 0; i < 4; ++i) {
      append_small_number(out, prefix.address[i]);
      out.push_back(i < 3 ? '.' : '/');
    }
  } else {
    char text[INET6_ADDRSTRLEN] = "";
    inet_ntop(AF_INET6, prefix.address.data(), text, sizeof text);
    out.append(text).push_back('/');
  }
  append_small_number(out, prefix.cidr);
}

std::string to_string(const Prefix& prefix) {
  crypto::SecretString out;
  append_prefix(out, prefix);
  return std::string(out);
}

std::optional<Prefix> parse_prefix(std::string_view text, PrefixLength length) {
  const size_t slash = text.find('/');
  std::optional<Prefix> prefix = parse_address(text.substr(0, slash));
  if (!prefix) return std::nullopt;
  if (slash == std::string_view::npos) return length == PrefixLength::optional ? prefix : std::nullopt;
  const std::string_view digits = text.substr(slash + 1);
  const std::optional<uint64_t> bits = parse_decimal(digits, prefix->cidr);
  if (!bits || (digits.size() > 1 && digits.front() == '0')) return std::nullopt;
  prefix->cidr = static_cast<uint8_t>(*bits);
  return prefix;
}

bool is_group_name(std::string_view text) {
  constexpr std::string_view kCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  return !text.empty() && text.size() <= kMaxGroupNameBytes &&
         text.find_first_not_of(kCharacters) == std::string_view::npos;
}

}  // namespace culvert::device
