#include "crypto/blake2s.h"

#include <blake2.h>

#include <algorithm>
#include <cassert>

namespace culvert::crypto {
namespace {

// The state of a hash under way; wiped, since keys pass through it.
class State {
 public:
  State(size_t out_bytes, std::span<const uint8_t> key) {
    assert(out_bytes >= 1 && out_bytes <= BLAKE2S_OUTBYTES && key.size() <= BLAKE2S_KEYBYTES);
    if (key.empty())
      blake2s_init(&state_, out_bytes);
    else
      blake2s_init_key(&state_, out_bytes, key.data(), key.size());
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;
  ~State() { wipe({reinterpret_cast<uint8_t*>(&state_), sizeof(state_)}); }

  void update(std::span<const uint8_t> bytes) {
    if (!bytes.empty()) blake2s_update(&state_, bytes.data(), bytes.size());
  }
  void update(Parts parts) {
    for (const auto& part : parts) update(part);
  }
  void finish(std::span<uint8_t> out) { blake2s_final(&state_, out.data(), out.size()); }

 private:
  blake2s_state state_;
};

using Block = Secret<kBlake2sBlockBytes>;

// RFC 5869, with one to three outputs. The chaining key is read before the first output is written.
void hkdf(std::span<const uint8_t, kHashBytes> chaining_key, std::span<const uint8_t> input,
          std::initializer_list<Secret<kHashBytes>*> outputs) {
  Secret<kHashBytes> extracted;
  hmac_blake2s(extracted.bytes(), chaining_key, {input});
  std::span<const uint8_t> previous;
  uint8_t number = 1;
  for (Secret<kHashBytes>* output : outputs) {
    hmac_blake2s(output->bytes(), extracted.bytes(), {previous, std::span(&number, 1)});
    previous = output->bytes();
    ++number;
  }
}

}  // namespace

Hash blake2s(Parts parts) {
  Hash out;
  blake2s(out, parts);
  return out;
}

void blake2s(std::span<uint8_t> out, Parts parts) {
  blake2s_keyed(out, {}, parts);
}

void blake2s_keyed(std::span<uint8_t> out, std::span<const uint8_t> key, Parts parts) {
  State state(out.size(), key);
  state.update(parts);
  state.finish(out);
}

void hmac_blake2s(std::span<uint8_t, kHashBytes> out, std::span<const uint8_t> key, Parts parts) {
  constexpr uint8_t kInnerPad = 0x36;
  constexpr uint8_t kOuterPad = 0x5c;
  Block block;
  if (key.size() > kBlake2sBlockBytes)
    blake2s(block.bytes().first<kHashBytes>(), {key});
  else
    std::copy(key.begin(), key.end(), block.data());
  for (uint8_t& byte : block.bytes()) byte ^= kInnerPad;

  Secret<kHashBytes> inner;
  State inner_state(kHashBytes, {});
  inner_state.update(block.bytes());
  inner_state.update(parts);
  inner_state.finish(inner.bytes());

  for (uint8_t& byte : block.bytes()) byte ^= kInnerPad ^ kOuterPad;
  blake2s(out, {block.bytes(), inner.bytes()});
}

void kdf1(std::span<const uint8_t, kHashBytes> chaining_key, std::span<const uint8_t> input, Secret<kHashBytes>& out1) {
  hkdf(chaining_key, input, {&out1});
}

void kdf2(std::span<const uint8_t, kHashBytes> chaining_key, std::span<const uint8_t> input, Secret<kHashBytes>& out1,
          Secret<kHashBytes>& out2) {
  hkdf(chaining_key, input, {&out1, &out2});
}

void kdf3(std::span<const uint8_t, kHashBytes> chaining_key, std::span<const uint8_t> input, Secret<kHashBytes>& out1,
          Secret<kHashBytes>& out2, Secret<kHashBytes>& out3) {
  hkdf(chaining_key, input, {&out1, &out2, &out3});
}

}  // namespace culvert::crypto
