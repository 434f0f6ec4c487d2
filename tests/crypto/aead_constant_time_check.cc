// Shows that an engine takes no branch and no address from secrets. To run under valgrind's memcheck: keys and texts
// are marked undefined, and memcheck reports every branch and address that depends on them. Lengths, counters,
// pointers, ciphertexts' whereabouts and verdicts are public.
//
// One program per engine: CULVERT_CHECKED_ENGINE names it. valgrind 3.19 knows AVX2 but not AVX-512; that engine's
// source is compiled against emulated intrinsics, so what is shown is that its source is constant in time. That the
// compiler adds no branches to straight vector code is then an assumption; tests/crypto/check_disassembly.py looks at
// the object.
//
// With the argument `leak` it does only what it must not, to show that the check works. check_constant_time.py judges.
#include <sodium.h>
#include <valgrind/memcheck.h>

#include <cstdio>
#include <cstring>
#include <vector>

#include "crypto/aead_engine.h"

namespace culvert::crypto {
namespace {

using Bytes = std::vector<uint8_t>;

const Engine& checked_engine() {
  return CULVERT_CHECKED_ENGINE;
}

void hide(const Bytes& bytes) {
  VALGRIND_MAKE_MEM_UNDEFINED(bytes.data(), bytes.size());
}
void show(const Bytes& bytes) {
  VALGRIND_MAKE_MEM_DEFINED(bytes.data(), bytes.size());
}

struct Case {
  size_t count;
  uint32_t length;  // of the first; the others' differ by `step`
  uint32_t step;
  size_t keys;
  bool in_place;
};

constexpr Case kCases[] = {
    {1, 0, 0, 1, false},     {1, 1, 0, 1, true},      {1, 64, 0, 1, false},   {1, 200, 0, 1, true},
    {1, 576, 0, 1, false},   {1, 1420, 0, 1, true},   {1, 2000, 0, 1, false}, {2, 300, 1, 2, true},
    {3, 1420, 0, 1, false},  {4, 100, 30, 1, true},   {8, 64, 0, 1, false},   {8, 1420, 0, 8, true},
    {11, 333, 77, 3, false}, {20, 576, 0, 1, true},   {40, 0, 13, 40, false}, {40, 256, 0, 1, true},
    {130, 32, 5, 1, false},  {130, 17, 0, 130, true}, {60, 1420, 1, 1, true}, {30, 3000, 64, 30, false},
};

// False if the results are wrong: then what was watched is not the engine.
bool run_case(const Engine& engine, const Case& test) {
  std::vector<Bytes> keys(test.keys, Bytes(kAeadKeyBytes));
  for (Bytes& key : keys) randombytes_buf(key.data(), key.size());
  std::vector<Bytes> texts, sealed, expected, opened;
  for (size_t i = 0; i < test.count; ++i) {
    const auto length = static_cast<uint32_t>(test.length + i * test.step);
    Bytes& text = texts.emplace_back(length + 1);
    randombytes_buf(text.data(), text.size());
    text.resize(length);
    uint8_t nonce[12] = {};
    std::memcpy(nonce + 4, &i, 8);
    Bytes& reference = expected.emplace_back(length + kAeadTagBytes);
    crypto_aead_chacha20poly1305_ietf_encrypt(reference.data(), nullptr, text.data(), length, nullptr, 0, nullptr,
                                              nonce, keys[i % keys.size()].data());
    sealed.emplace_back(length + kAeadTagBytes);
    opened.emplace_back(length + kAeadTagBytes);
    if (test.in_place) std::copy(text.begin(), text.end(), sealed.back().begin());
  }
  for (const Bytes& key : keys) hide(key);
  std::vector<SealMessage> sealing;
  for (size_t i = 0; i < test.count; ++i) {
    hide(texts[i]);
    if (test.in_place) hide(sealed[i]);
    sealing.push_back({keys[i % keys.size()].data(), i, test.in_place ? sealed[i].data() : texts[i].data(),
                       sealed[i].data(), static_cast<uint32_t>(texts[i].size())});
  }
  engine.seal(sealing.data(), sealing.size());
  bool right = true;
  for (size_t i = 0; i < test.count; ++i) {
    show(sealed[i]);
    right = right && sealed[i] == expected[i];
  }
  if (std::strcmp(engine.name, "portable") == 0) {
    // libsodium branches on its verdict, and cannot be told that this is public.
    for (const Bytes& key : keys) show(key);
  }
  std::vector<OpenMessage> opening;
  for (size_t i = 0; i < test.count; ++i) {
    if (i % 5 == 3) sealed[i].back() ^= 1;
    if (test.in_place) opened[i] = sealed[i];
    opening.push_back({keys[i % keys.size()].data(), i, test.in_place ? opened[i].data() : sealed[i].data(),
                       opened[i].data(), static_cast<uint32_t>(texts[i].size()), false});
  }
  const size_t authentic = engine.open(opening.data(), opening.size());
  right = right && authentic == test.count - (test.count + 1) / 5;
  for (size_t i = 0; i < test.count; ++i) {
    show(texts[i]);
    show(opened[i]);
    if (opening[i].authentic) right = right && std::equal(texts[i].begin(), texts[i].end(), opened[i].begin());
    right = right && opening[i].authentic == (i % 5 != 3);
  }
  return right;
}

// The mistake that the check is there to find.
void leak() {
  const Bytes key(kAeadKeyBytes, 1);
  hide(key);
  if (key[0] == 1) std::puts("a branch on a secret");
}

}  // namespace
}  // namespace culvert::crypto

int main(int argument_count, char** arguments) {
  using namespace culvert::crypto;
  if (RUNNING_ON_VALGRIND == 0) std::puts("not under valgrind: nothing is watched");
  if (sodium_init() < 0) return 2;
  if (argument_count > 1 && std::strcmp(arguments[1], "leak") == 0) {
    leak();
    return 0;
  }
  for (const Case& test : kCases) {
    if (run_case(checked_engine(), test)) continue;
    std::printf("%s: wrong result for %zu messages of %u bytes\n", checked_engine().name, test.count, test.length);
    return 3;
  }
  std::printf("%s: done\n", checked_engine().name);
  return 0;
}
