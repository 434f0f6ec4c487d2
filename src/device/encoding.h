// Keys as text: base64 in configuration files, hex on the UAPI socket; and prefixes as wg(8) writes them.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "crypto/secret.h"
#include "io/decimal.h"
#include "src/protocol/allowed_ips.h"

namespace culvert::device {

// 32 bytes of a public key.
using Key = std::array<uint8_t, 32>;
// 32 bytes of a private or preshared key, as given: never clamped here.
using SecretKey = crypto::Secret<32>;

// Lower-case, 64 characters, appended to `out`.
void append_hex(crypto::SecretString& out, std::span<const uint8_t, 32> key);
std::string to_hex(const Key& key);

// Exactly 64 hex digits of either case; nothing otherwise.
std::optional<Key> key_from_hex(std::string_view text);
std::optional<SecretKey> secret_key_from_hex(std::string_view text);

// "AbCd…wXyZ": a public key for the log, shortened as wireguard-go does it.
std::string short_name(const Key& public_key);

// 44 characters of RFC 4648 base64 with padding, as wg(8) prints keys.
std::string to_base64(const Key& key);
// Appended to `out`.
void append_base64(crypto::SecretString& out, const SecretKey& key);

// Exactly 44 characters; the unused low bits of the last digit must be zero, as wg(8) demands.
std::optional<Key> key_from_base64(std::string_view text);
std::optional<SecretKey> secret_key_from_base64(std::string_view text);

// A value of the user's for an error, in single quotes: without control characters, and not without end. Never a key.
std::string quote(std::string_view value);

// A setting's name that nobody knows, for an error. What is as long as a key is only described: it may be one that was
// pasted into the wrong place. Of several words it is the first.
std::string quote_name(std::string_view name);

// Masked on the way into AllowedIps; an interface's address keeps its host bits.
using Prefix = protocol::Prefix;

// The same prefix with all bits past its length cleared.
Prefix masked(Prefix prefix);

// "10.0.0.0/8", "2001:db8::/32" (RFC 5952), appended to `out`. 130,000 of them take a few milliseconds.
void append_prefix(crypto::SecretString& out, const Prefix& prefix);
std::string to_string(const Prefix& prefix);

// Which prefix texts parse_prefix() takes.
enum class PrefixLength : uint8_t { required, optional };

// "10.0.0.1/8" or "2001:db8::1/32"; where the length is optional, a bare address means /32 or /128. Scopes,
// signs and leading zeros are refused, as wireguard-go refuses them. Host bits are kept.
std::optional<Prefix> parse_prefix(std::string_view text, PrefixLength length);

// A group's name: letters, digits, '.', '_' and '-', 1 to kMaxGroupNameBytes of them.
inline constexpr size_t kMaxGroupNameBytes = 32;
bool is_group_name(std::string_view text);

using io::parse_decimal;

}  // namespace culvert::device
