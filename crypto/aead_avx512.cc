// The AVX-512 IFMA engine. It works across messages, because one message cannot fill a vector and WireGuard has many.
//
// A batch goes in pieces of up to 128 messages:
// 1. Order: longest first if lengths differ, so that neighbours fill the lanes of Poly1305.
// 2. Head: block 0 of every message (the Poly1305 keys), and the first blocks of text up to a whole group of 32 lanes.
// 3. Sealing: lanes of text, 32 blocks at a time whatever message they are from; eight messages at a time get their
//    tags when the last of their blocks is sealed, while they are in the first cache.
//    Opening: eight messages at a time are verified, then their lanes are worked on. Nothing is written before it is
//    authenticated, so that works in place too, and messages that fail cost no ChaCha20.
// A message alone, or a few that nearly fill vectors of their own, take aead_single_avx512.h.
//
// Where the time goes: 1420 bytes, batches of 128 in the first cache, Zen 5 at 4.1 GHz, 197 ns a message. The rounds of
// ChaCha20 112 (ports allow 89), turning words into blocks and applying them 25, Poly1305 43 (ports allow 25), lanes,
// order, verdicts and wiping 17. Cold data costs 5 more, because the rounds fetch it.
//
// Constant time: branches and addresses follow from lengths, counters, pointers and verdicts only; tests/crypto checks
// it. Scratch lies on the stack and is wiped once per piece; what the compiler spills is not.
//
// Compiler: clang 19 by preference, see CMakeLists.txt. -mtune only chooses instructions; icelake-server allows whole
// 512-bit vectors and is known to every compiler in question.
#include <immintrin.h>

#include <cstring>

#include "crypto/aead_engine.h"
#include "crypto/aead_lanes.h"
#include "crypto/aead_single_avx512.h"
#include "crypto/chacha20_avx512.h"
#include "crypto/declassify.h"
#include "crypto/poly1305_ifma_blocks.h"
#include "crypto/poly1305_ifma_messages.h"

namespace culvert::crypto {
namespace {

static_assert(kGroupLanes == 2 * kVectorLanes);
inline constexpr int kMacLanes = 8;
// How far opening fetches ciphertext ahead of its verification, in cache lines: eight messages of the usual length.
inline constexpr uint64_t kAheadLines = 192;

struct alignas(64) Scratch {
  ChaChaScratch chacha;
  PolyScratch poly;
  __m512i
      head[kMaxPiece + kGroupLanes];  // the key stream of the first lanes: the Poly1305 keys, then some data
  Lanes lanes;
  uint64_t ahead[kGroupLanes + kLanesPerStore];
  MacInput macs[kMacLanes];
  uint8_t tags[kMacLanes][kAeadTagBytes];
  uint8_t order[kMaxPiece];
};

bool supported(const CpuFeatures& features) {
  return features.bmi2 && features.avx512f && features.avx512dq && features.avx512bw && features.avx512vl &&
         features.avx512ifma;
}

// Zeroes in a way that the compiler keeps.
inline void wipe(void* memory, size_t bytes) {
  std::memset(memory, 0, bytes);
  asm volatile("" : : "r"(memory) : "memory");
}

// Seals or opens one piece: up to kMaxPiece messages.
template <class Message>
class Piece {
 public:
  static constexpr bool kOpens = requires(Message & message) { message.authentic = true; };

  Piece(Scratch& scratch, Message* messages, int count)
      : scratch_(scratch), messages_(messages), count_(count) {}

  void run() {
    prepare();
    make_head();
    if constexpr (kOpens) {
      open();
    } else {
      seal();
    }
    // What was used: a small batch leaves the second half and most of the head alone.
    wipe(&scratch_.chacha, (second_half_ ? 2 : 1) * sizeof scratch_.chacha.half[0]);
    wipe(&scratch_.poly, sizeof scratch_.poly);
    wipe(scratch_.head,
         static_cast<size_t>(second_half_ ? head_lanes_ : kVectorLanes) * sizeof scratch_.head[0]);
  }

 private:
  Message& message(int index) { return messages_[scratch_.order[index]]; }

  void prepare() {
    bool mixed = false;
    for (int i = 1; i < count_; ++i) {
      shared_key_ &= messages_[i].key == messages_[0].key;
      mixed |= data_blocks(messages_[i].length) != data_blocks(messages_[0].length);
    }
    if (mixed && count_ > kMacLanes) {
      order_by_length(messages_, count_, scratch_.order);
    } else {
      for (int i = 0; i < count_; ++i) scratch_.order[i] = static_cast<uint8_t>(i);
    }
    if (shared_key_) broadcast_key(scratch_.chacha.half[0].key, messages_[0].key);
  }

  void gather(int lane) {
    if (shared_key_) return;
    second_half_ = true;
    for (int half = 0; half < 2; ++half) {
      const uint8_t* keys[kVectorLanes];
      for (int i = 0; i < kVectorLanes; ++i) {
        const int at = lane + half * kVectorLanes + i;
        keys[i] = message(scratch_.lanes.message[at < scratch_.lanes.count ? at : 0]).key;
      }
      gather_keys(scratch_.chacha.half[half].key, keys);
    }
  }

  void generate(int lane, int lanes, bool head) {
    gather(lane);
    if (lanes > kVectorLanes) {
      second_half_ = true;
      const Ahead ahead = head ? look_ahead_of_head(lane) : look_ahead(lane);
      generate_stream<2>(scratch_.chacha, scratch_.lanes, lane, shared_key_, ahead);
    } else {
      generate_stream<1>(scratch_.chacha, scratch_.lanes, lane, shared_key_, {});
    }
  }

  // What to fetch during the rounds of the group at `lane`: sealing, the next group's texts; opening, the next group's
  // destinations and the ciphertexts to verify next.
  Ahead look_ahead(int lane) {
    const Lanes& lanes = scratch_.lanes;
    const int next = lane + 2 * kGroupLanes <= lanes.count ? lane + kGroupLanes : lane;
    if constexpr (!kOpens) return {lanes.source + next, lanes.destination + next};
    int filled = 0;
    while (filled < kGroupLanes && ahead_.message < count_ && ahead_lines_ < kAheadLines) {
      const Message& next_message = message(ahead_.message);
      const uint32_t left = lines_of(next_message) - ahead_.block;
      const uint32_t room = static_cast<uint32_t>(kGroupLanes - filled);
      const uint32_t lines = left < room ? left : room;
      store_addresses(scratch_.ahead + filled,
                      reinterpret_cast<uint64_t>(next_message.source) + ahead_.block * uint64_t{kBlockBytes},
                      lines);
      filled += static_cast<int>(lines);
      ahead_lines_ += lines;
      ahead_.block += lines;
      if (lines == left) ahead_ = {ahead_.message + 1, 0};
    }
    for (; filled < kGroupLanes; ++filled) scratch_.ahead[filled] = lanes.source[lane];
    return {scratch_.ahead, lanes.destination + next};
  }

  // The same during the head: sealing, the texts of its own data lanes and those behind them; opening, the beginnings
  // of the messages to verify first.
  Ahead look_ahead_of_head(int lane) {
    const Lanes& lanes = scratch_.lanes;
    if constexpr (!kOpens) return {lanes.source + count_, lanes.destination + count_};
    constexpr uint32_t kLines = kGroupLanes / kMacLanes;
    const uint32_t first_line = static_cast<uint32_t>(lane) / kGroupLanes * kLines;
    for (int i = 0; i < kMacLanes; ++i) {
      const Message& next_message = message(i < count_ ? i : 0);
      const uint32_t last_line = lines_of(next_message) - 1;
      const uint32_t line = first_line < last_line ? first_line : last_line;
      store_addresses(scratch_.ahead + kLines * static_cast<uint32_t>(i),
                      reinterpret_cast<uint64_t>(next_message.source) + line * uint64_t{kBlockBytes}, kLines);
    }
    return {scratch_.ahead, lanes.destination + count_};
  }

  // Cache lines that a sealed message takes, or one more.
  static uint32_t lines_of(const Message& message) {
    return (message.length + kAeadTagBytes) / kBlockBytes + 1;
  }

  void fill(int messages) {
    Lanes& lanes = scratch_.lanes;
    while (cursor_.message < messages && lanes.count < kLaneCapacity) {
      Message& next = message(cursor_.message);
      if constexpr (kOpens) {
        if (cursor_.message < verified_ && !next.authentic) {
          cursor_ = {cursor_.message + 1, 0};
          continue;
        }
      }
      append_data_lanes(lanes, next, cursor_, kLaneCapacity);
    }
  }

  // Block 0 of every message, and data blocks for the rest of the last vector. One more group is queued behind them.
  void make_head() {
    Lanes& lanes = scratch_.lanes;
    lanes.count = 0;
    for (int i = 0; i < count_; ++i) append_key_lane(lanes, message(i), i);
    head_lanes_ = (count_ + kGroupLanes - 1) / kGroupLanes * kGroupLanes;
    const int limit = head_lanes_ + kGroupLanes;
    while (cursor_.message < count_ && lanes.count < limit) {
      append_data_lanes(lanes, message(cursor_.message), cursor_, limit);
    }
    pad_lanes(lanes);
    for (int lane = 0; lane < head_lanes_; lane += kGroupLanes) {
      const int lanes_here = lanes.count - lane;
      generate(lane, lanes_here, true);
      keep_stream(scratch_.chacha.half[0].stream, scratch_.head + lane);
      if (lanes_here > kVectorLanes)
        keep_stream(scratch_.chacha.half[1].stream, scratch_.head + lane + kVectorLanes);
    }
    if constexpr (kOpens) ahead_ = {kMacLanes, 0};
  }

  // The data blocks of the head.
  void apply_head() {
    Lanes& lanes = scratch_.lanes;
    const int end = lanes.count < head_lanes_ ? lanes.count : head_lanes_;
    for (int lane = count_; lane < end; ++lane) apply_block(lanes, lane, scratch_.head[lane]);
    drained_ = end;
  }

  // Works off the queue: whole groups, and with `all` what is left.
  void drain(bool all) {
    Lanes& lanes = scratch_.lanes;
    int lane = drained_;
    if (all) pad_lanes(lanes);
    const int keep = all ? 0 : kGroupLanes;
    for (; lane + kGroupLanes + keep <= lanes.count; lane += kGroupLanes) {
      generate(lane, kGroupLanes, false);
      apply_stream(scratch_.chacha.half[0].stream, lanes, lane);
      apply_stream(scratch_.chacha.half[1].stream, lanes, lane + kVectorLanes);
    }
    if (all && lane < lanes.count) {
      generate(lane, lanes.count - lane, false);
      apply_stream(scratch_.chacha.half[0].stream, lanes, lane);
      if (lanes.count - lane > kVectorLanes)
        apply_stream(scratch_.chacha.half[1].stream, lanes, lane + kVectorLanes);
      lane = lanes.count;
    }
    if (!all) drop_front(lanes, lane);
    drained_ = 0;
  }

  // Whether eight lanes, as long as the longest message, take less than one message after another. In cycles on Zen 5.
  bool lanes_of_messages_pay(int first, int count) {
    if (count == kMacLanes) return true;
    uint32_t longest = 0;
    uint32_t one_by_one = 0;
    for (int i = 0; i < count; ++i) {
      const uint32_t length = message(first + i).length;
      longest = longest < length ? length : longest;
      one_by_one += length < kScalarMacBytes ? 35 + 13 * (length / 16) : 150 + 30 * (length / 128);
    }
    return 200 + 58 * (longest / 64) < one_by_one;
  }

  void mac(int first, int count) {
    for (int i = 0; i < count; ++i) {
      const Message& next = message(first + i);
      scratch_.macs[i] = {reinterpret_cast<const uint8_t*>(scratch_.head + first + i),
                          kOpens ? next.source : next.destination,
                          next.length,
                          {0, next.length}};
    }
    if (lanes_of_messages_pay(first, count)) {
      mac_messages(scratch_.poly, scratch_.macs, count, kOpens && first == 0, scratch_.tags);
    } else {
      for (int i = 0; i < count; ++i) mac_single(scratch_.macs[i], scratch_.tags[i]);
    }
  }

  void seal() {
    apply_head();
    int done = 0;
    for (;;) {
      fill(count_);
      const bool all = cursor_.message == count_;
      drain(all);
      const int complete = all                        ? count_
                           : scratch_.lanes.count > 0 ? scratch_.lanes.message[0]
                                                      : cursor_.message;
      while (complete - done >= kMacLanes || (all && done < count_)) {
        const int now = count_ - done < kMacLanes ? count_ - done : kMacLanes;
        mac(done, now);
        for (int i = 0; i < now; ++i) {
          Message& next = message(done + i);
          std::memcpy(next.destination + next.length, scratch_.tags[i], kAeadTagBytes);
        }
        done += now;
      }
      if (all) break;
    }
  }

  void verify() {
    const int now = count_ - verified_ < kMacLanes ? count_ - verified_ : kMacLanes;
    mac(verified_, now);
    for (int i = 0; i < now; ++i) {
      Message& next = message(verified_ + i);
      const __m128i tag = _mm_loadu_si128(reinterpret_cast<const __m128i*>(next.source + next.length));
      const __m128i wrong =
          _mm_xor_si128(tag, _mm_loadu_si128(reinterpret_cast<const __m128i*>(scratch_.tags[i])));
      next.authentic = declassify(_mm_testz_si128(wrong, wrong) != 0);
      if (!next.authentic) {
        failed_ = true;
        if (next.length != 0) std::memset(next.destination, 0, next.length);
      }
    }
    for (int i = 0; i < now; ++i) {
      const uint64_t lines = lines_of(message(verified_ + i));
      ahead_lines_ -= lines < ahead_lines_ ? lines : ahead_lines_;
    }
    verified_ += now;
    if (ahead_.message < verified_) ahead_ = {verified_, 0};
  }

  // Empties the lanes of messages that failed: they were queued before they were verified.
  void leave_out_failed() {
    Lanes& lanes = scratch_.lanes;
    for (int lane = count_; lane < lanes.count; ++lane) {
      if (!message(lanes.message[lane]).authentic) lanes.bytes[lane] = 0;
    }
  }

  void open() {
    const int in_head = cursor_.block == 0 ? cursor_.message : cursor_.message + 1;
    while (verified_ < in_head) verify();
    if (failed_) leave_out_failed();
    apply_head();
    for (;;) {
      fill(verified_);
      const bool all = verified_ == count_ && cursor_.message == count_;
      drain(all);
      if (all) break;
      if (cursor_.message == verified_) verify();
    }
  }

  Scratch& scratch_;
  Message* messages_;
  int count_;
  bool shared_key_ = true;
  bool second_half_ = false;  // of the vectors' scratch is in use
  int head_lanes_ = 0;
  int drained_ = 0;  // lanes at the front of the queue that are done
  int verified_ = 0;
  bool failed_ = false;  // some message was not authentic
  LaneCursor cursor_;
  LaneCursor ahead_;  // opening: the next line to fetch
  uint64_t ahead_lines_ = 0;
};

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
    Piece<const SealMessage>(scratch, batch + done, static_cast<int>(left < kMaxPiece ? left : kMaxPiece))
        .run();
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
    for (int i = 0; i < now; ++i)
      std::memcpy(batch[done + static_cast<size_t>(i)].tag, tags[i], kAeadTagBytes);
  }
}

}  // namespace

const Engine kAvx512Engine{"avx512", supported, seal, open, poly1305, kMacPaths};

}  // namespace culvert::crypto
