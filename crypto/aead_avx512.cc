// The AVX-512 IFMA engine. It works across messages, because one message cannot fill a vector and WireGuard has many.
//
// A batch goes in pieces of up to 128 messages:
// 1. Order: longest first if lengths differ, so that neighbours fill the lanes of Poly1305.
// 2. Head: block 0 of every message (the Poly1305 keys), and the first blocks of text up to a whole group of 32 lanes.
// 3. Sealing: lanes of text, 32 blocks at a time whatever message they are from; eight messages at a time get their
//    tags when the last of their blocks is sealed, while they are in the first cache.
//    Opening: eight messages at a time are verified, then their lanes are worked on. Nothing is written before it is
//    authenticated, so that works in place too, and messages that fail cost no ChaCha20.
// 4. With many long messages, about half of them get their tags beside the rounds of ChaCha20 instead, two at a time in
//    scalar registers (poly1305_pair.h), as many as will be done when the rounds are.
// A message alone, or a few that nearly fill vectors of their own, take aead_single_avx512.h.
//
// Where the time goes: 1420 bytes, batches of 128 in the first two caches, Zen 5 at 4.15 GHz, 182 ns a message. That is
// measured; its parts are estimated: the rounds of ChaCha20 112 with half of Poly1305 beside them (ports allow 89),
// turning words into blocks and applying them 20, the other half of Poly1305 22, block 0, lanes, order, jobs, verdicts
// and wiping 28.
//
// Constant time: branches and addresses follow from lengths, counters, pointers and verdicts only; tests/crypto checks
// it. Scratch lies on the stack and is wiped once per piece; what the compiler spills is not.
//
// Compiler: clang 19 by preference, see CMakeLists.txt. -mtune only chooses instructions; icelake-server allows whole
// 512-bit vectors and is known to every compiler in question.
#include <immintrin.h>

#include <cstring>

#include "crypto/aead_engine.h"
#include "crypto/aead_piece_avx512.h"
#include "crypto/aead_single_avx512.h"
#include "crypto/poly1305_ifma_blocks.h"
#include "crypto/poly1305_ifma_messages.h"

namespace culvert::crypto {
namespace {

bool supported(const CpuFeatures& features) {
  return features.bmi2 && features.avx512f && features.avx512dq && features.avx512bw && features.avx512vl &&
         features.avx512ifma;
}

// Whether messages one after another are faster than lanes: one alone, or a few whose blocks nearly fill the vectors of
// the single path. Measured on Zen 5.
template <class Message>
bool takes_single(const Message* batch, size_t count) {
  constexpr size_t kMost = 6;
  constexpr uint32_t kEnoughBlocks = 15;
  if (count > kMost) return false;
  uint32_t blocks = 0;
  for (size_t i = 0; i < count; ++i) {
    if (batch[i].length > kMaxSingleBytes) return false;
    blocks += data_blocks(batch[i].length);
  }
  return count == 1 || blocks >= kEnoughBlocks * count;
}

[[gnu::noinline]] void seal_pieces(const SealMessage* batch, size_t count) {
  Scratch scratch;
  for (size_t done = 0; done < count; done += kMaxPiece) {
    const size_t left = count - done;
    Piece<const SealMessage>(scratch, batch + done, static_cast<int>(left < kMaxPiece ? left : kMaxPiece)).run();
  }
}

[[gnu::noinline]] void open_pieces(OpenMessage* batch, size_t count) {
  Scratch scratch;
  for (size_t done = 0; done < count; done += kMaxPiece) {
    const size_t left = count - done;
    Piece<OpenMessage>(scratch, batch + done, static_cast<int>(left < kMaxPiece ? left : kMaxPiece)).run();
  }
}

void seal(const SealMessage* batch, size_t count) {
  if (takes_single(batch, count)) {
    SingleScratch scratch;
    for (size_t i = 0; i < count; ++i) seal_single(scratch, batch[i]);
  } else {
    seal_pieces(batch, count);
  }
}

size_t open(OpenMessage* batch, size_t count) {
  if (takes_single(batch, count)) {
    SingleScratch scratch;
    for (size_t i = 0; i < count; ++i) open_single(scratch, batch[i]);
  } else {
    open_pieces(batch, count);
  }
  size_t authentic = 0;
  for (size_t i = 0; i < count; ++i) authentic += batch[i].authentic;
  return authentic;
}

// For tests: lanes of messages, lanes of blocks, scalar.
inline constexpr int kMacPaths = 3;

void poly1305(const Poly1305Message* batch, size_t count, int path) {
  PolyScratch scratch;
  for (size_t done = 0; done < count; done += kMacLanes) {
    const int now = static_cast<int>(count - done < kMacLanes ? count - done : kMacLanes);
    MacInput inputs[kMacLanes];
    uint8_t tags[kMacLanes][kAeadTagBytes] = {};
    for (int i = 0; i < now; ++i) {
      const Poly1305Message& message = batch[done + static_cast<size_t>(i)];
      inputs[i] = {message.key, message.source, message.length - 16, {}};
      std::memcpy(inputs[i].last, message.source + message.length - 16, 16);
      if (path == 1) mac_blocks(inputs[i], tags[i]);
      if (path == 2) mac_scalar(inputs[i], tags[i]);
    }
    if (path == 0) mac_messages(scratch, inputs, now, false, tags);
    for (int i = 0; i < now; ++i) std::memcpy(batch[done + static_cast<size_t>(i)].tag, tags[i], kAeadTagBytes);
  }
}

}  // namespace

const Engine kAvx512Engine{"avx512", supported, seal, open, poly1305, kMacPaths};

}  // namespace culvert::crypto
