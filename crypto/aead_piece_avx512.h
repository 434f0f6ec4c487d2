// One piece of a batch for the AVX-512 engine: what happens in which order is told in aead_avx512.cc. Only that
// includes this.
#pragma once

#include <immintrin.h>

#include <cstring>

#include "crypto/aead_lanes.h"
#include "crypto/aead_single_avx512.h"
#include "crypto/chacha20_avx512.h"
#include "crypto/declassify.h"
#include "crypto/poly1305_ifma_blocks.h"
#include "crypto/poly1305_ifma_messages.h"
#include "crypto/poly1305_pair.h"

namespace culvert::crypto {
namespace {

static_assert(kGroupLanes == 2 * kVectorLanes);
inline constexpr int kMacLanes = 8;
// How far opening fetches ciphertext ahead of its verification, in cache lines: eight messages of the usual length.
inline constexpr uint64_t kAheadLines = 192;
// Poly1305 beside the rounds of ChaCha20: blocks that fit beside a group, how long a message and how large a piece must
// be for it to pay (measured on Zen 5), and how many messages may wait or be in work.
inline constexpr int kPairBlocksPerGroup = 2 * kPairBlocks * kChaChaDoubleRounds;
inline constexpr int kFewestPairBlocks = 64;
#if defined(__clang__) || defined(__SANITIZE_ADDRESS__) || defined(CULVERT_CONSTANT_TIME_CHECK)
inline constexpr int kFewestPairLanes = 1024;
#else
inline constexpr int kFewestPairLanes = 1 << 30;  // never: g++ 12 spills too much for it to pay
#endif
inline constexpr int kMostJobs = 4;
static_assert(kMostJobs <= static_cast<int>(MacPair::kJobs));
// Opening: with fewer messages than this that have tags but no lanes, the next are verified in lanes of messages.
inline constexpr int kFewReady = 4;

struct alignas(64) Scratch {
  ChaChaScratch chacha;
  PolyScratch poly;
  __m512i head[kMaxPiece + kGroupLanes];  // the key stream of the first lanes: the Poly1305 keys, then some data
  Lanes lanes;
  uint64_t ahead[kGroupLanes + kLanesPerStore];
  MacPair pair;
  MacInput macs[kMacLanes];
  uint8_t tags[kMacLanes][kAeadTagBytes];
  uint8_t order[kMaxPiece];
  uint8_t sequence[kMaxPiece];  // in which order of `order` messages get lanes
  uint8_t untagged[kMaxPiece];  // sealing: messages that wait for lanes of messages
};

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

  Piece(Scratch& scratch, Message* messages, int count) : scratch_(scratch), messages_(messages), count_(count) {}

  void run() {
    prepare();
    make_head();
    if constexpr (kOpens)
      open();
    else
      seal();
    // What was used: a small batch leaves the second half and most of the head alone.
    wipe(&scratch_.chacha, (second_half_ ? 2 : 1) * sizeof scratch_.chacha.half[0]);
    wipe(&scratch_.poly, sizeof scratch_.poly);
    if (pairs_) wipe(&scratch_.pair, sizeof scratch_.pair);
    wipe(scratch_.head, static_cast<size_t>(second_half_ ? head_lanes_ : kVectorLanes) * sizeof scratch_.head[0]);
  }

 private:
  Message& message(int index) { return messages_[scratch_.order[index]]; }

  void prepare() {
    bool mixed = false;
    lanes_left_ = static_cast<int>(data_blocks(messages_[0].length));
    for (int i = 1; i < count_; ++i) {
      lanes_left_ += static_cast<int>(data_blocks(messages_[i].length));
      shared_key_ &= messages_[i].key == messages_[0].key;
      mixed |= data_blocks(messages_[i].length) != data_blocks(messages_[0].length);
    }
    pairs_ = count_ > kMacLanes && lanes_left_ >= kFewestPairLanes;
    if (mixed && count_ > kMacLanes)
      order_by_length(messages_, count_, scratch_.order);
    else
      std::memcpy(scratch_.order, kAscending.at, sizeof scratch_.order);
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
      if (!head && pairs_ && pending_jobs(scratch_.pair) != 0) {
        generate_stream<2, true>(scratch_.chacha, scratch_.lanes, lane, shared_key_, ahead, scratch_.pair);
        backlog_ = backlog_ > kPairBlocksPerGroup ? backlog_ - kPairBlocksPerGroup : 0;
      } else {
        generate_stream<2, false>(scratch_.chacha, scratch_.lanes, lane, shared_key_, ahead, scratch_.pair);
      }
    } else {
      generate_stream<1, false>(scratch_.chacha, scratch_.lanes, lane, shared_key_, {}, scratch_.pair);
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
                      reinterpret_cast<uint64_t>(next_message.source) + ahead_.block * uint64_t{kBlockBytes}, lines);
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
      const Message& next_message = message(first_ + i < count_ ? first_ + i : 0);
      const uint32_t last_line = lines_of(next_message) - 1;
      const uint32_t line = first_line < last_line ? first_line : last_line;
      store_addresses(scratch_.ahead + kLines * static_cast<uint32_t>(i),
                      reinterpret_cast<uint64_t>(next_message.source) + line * uint64_t{kBlockBytes}, kLines);
    }
    return {scratch_.ahead, lanes.destination + count_};
  }

  // Cache lines that a sealed message takes, or one more.
  static uint32_t lines_of(const Message& message) { return (message.length + kAeadTagBytes) / kBlockBytes + 1; }

  void fill() {
    Lanes& lanes = scratch_.lanes;
    while (cursor_.message < ready_ && lanes.count < kLaneCapacity) {
      const int index = scratch_.sequence[cursor_.message];
      Message& next = message(index);
      if constexpr (kOpens) {
        if (!next.authentic) {
          cursor_ = {cursor_.message + 1, 0};
          continue;
        }
      }
      append_data_lanes(lanes, next, index, cursor_, kLaneCapacity);
    }
  }

  // Block 0 of every message, and data blocks for the rest of the last vector. One more group is queued behind them.
  void make_head() {
    Lanes& lanes = scratch_.lanes;
    begin_with_key_lanes(lanes, count_, [&](int i) -> const Message& { return message(i); });
    head_lanes_ = (count_ + kGroupLanes - 1) / kGroupLanes * kGroupLanes;
    const int limit = head_lanes_ + kGroupLanes;
    if constexpr (kOpens)
      while (first_ + kMacLanes < count_ && pair_pays(first_)) plan_job(first_++);
    std::memcpy(scratch_.sequence, kAscending.at + first_, sizeof scratch_.sequence);
    while (cursor_.message < count_ - first_ && lanes.count < limit) {
      const int index = scratch_.sequence[cursor_.message];
      append_data_lanes(lanes, message(index), index, cursor_, limit);
    }
    pad_lanes(lanes);
    for (int lane = 0; lane < head_lanes_; lane += kGroupLanes) {
      const int lanes_here = lanes.count - lane;
      generate(lane, lanes_here, true);
      keep_stream(scratch_.chacha.half[0].stream, scratch_.head + lane);
      if (lanes_here > kVectorLanes) keep_stream(scratch_.chacha.half[1].stream, scratch_.head + lane + kVectorLanes);
    }
    if constexpr (kOpens) ahead_ = {first_ + kMacLanes, 0};
    if (pairs_) begin_pair(scratch_.pair);
  }

  // The data blocks of the head.
  void apply_head() {
    Lanes& lanes = scratch_.lanes;
    const int end = lanes.count < head_lanes_ ? lanes.count : head_lanes_;
    for (int lane = count_; lane < end; ++lane) apply_block(lanes, lane, scratch_.head[lane]);
    drained_ = end;
    lanes_left_ -= end > count_ ? end - count_ : 0;
  }

  // Works off the queue: whole groups, and with `all` what is left.
  void drain(bool all) {
    Lanes& lanes = scratch_.lanes;
    int lane = drained_;
    if (all) pad_lanes(lanes);
    const int keep = all || (kOpens && begun_ == count_) ? 0 : kGroupLanes;
    for (; lane + kGroupLanes + keep <= lanes.count; lane += kGroupLanes) {
      generate(lane, kGroupLanes, false);
      apply_stream(scratch_.chacha.half[0].stream, lanes, lane);
      apply_stream(scratch_.chacha.half[1].stream, lanes, lane + kVectorLanes);
      lanes_left_ -= kGroupLanes;
      if (pairs_) turn_to_macs(lane + kGroupLanes);
    }
    if (all && lane < lanes.count) {
      generate(lane, lanes.count - lane, false);
      apply_stream(scratch_.chacha.half[0].stream, lanes, lane);
      if (lanes.count - lane > kVectorLanes) apply_stream(scratch_.chacha.half[1].stream, lanes, lane + kVectorLanes);
      lane = lanes.count;
    }
    if (!all) drop_front(lanes, lane);
    drained_ = 0;
  }

  // Whether eight lanes, as long as the longest message, take less than one message after another. In cycles on Zen 5.
  bool lanes_of_messages_pay(int count) {
    if (count == kMacLanes) return true;
    uint32_t longest = 0;
    uint32_t one_by_one = 0;
    for (int i = 0; i < count; ++i) {
      const uint32_t length = static_cast<uint32_t>(scratch_.macs[i].length);
      longest = longest < length ? length : longest;
      one_by_one += length < kScalarMacBytes ? 35 + 13 * (length / 16) : 150 + 30 * (length / 128);
    }
    return 200 + 58 * (longest / 64) < one_by_one;
  }

  MacInput mac_input(int index) {
    const Message& next = message(index);
    return {reinterpret_cast<const uint8_t*>(scratch_.head + index),
            kOpens ? next.source : next.destination,
            next.length,
            {0, next.length}};
  }

  void mac(const uint8_t* indices, int count) {
    for (int i = 0; i < count; ++i) scratch_.macs[i] = mac_input(indices[i]);
    if (lanes_of_messages_pay(count))
      mac_messages(scratch_.poly, scratch_.macs, count, kOpens && verified_ == first_, scratch_.tags);
    else
      for (int i = 0; i < count; ++i) mac_single(scratch_.macs[i], scratch_.tags[i]);
  }

  // Whether the tag of a message will be made beside the rounds that are to come.
  bool pair_pays(int index) {
    if (!pairs_ || planned_ == kMostJobs) return false;
    const int blocks = static_cast<int>(message(index).length / 16);
    int lanes = lanes_left_;
    // Opened messages get no lanes before they have their tags.
    if (kOpens) lanes -= planned_lanes_ + blocks / 4;
    return blocks >= kFewestPairBlocks && (backlog_ + blocks) * kGroupLanes <= lanes * kPairBlocksPerGroup;
  }

  void plan_job(int index) {
    ++planned_;
    planned_lanes_ += static_cast<int>(data_blocks(message(index).length));
    backlog_ += static_cast<int>(message(index).length / 16);
  }

  // Between two groups: takes tags that were made beside the rounds, and gives messages to be worked on.
  void turn_to_macs(int lane) {
    collect_jobs();
    if constexpr (kOpens) {
      while (begun_ < count_ && pair_pays(begun_)) {
        plan_job(begun_);
        forget_ahead(begun_);
        add_job(scratch_.pair, mac_input(begun_), begun_);
        ++begun_;
      }
    } else {
      const Lanes& lanes = scratch_.lanes;
      tag_up_to(lane < lanes.count ? lanes.message[lane] : cursor_.message);
    }
  }

  void collect_jobs() {
    alignas(16) uint8_t tag[kAeadTagBytes];
    const auto key_of = [&](int index) { return reinterpret_cast<const uint8_t*>(scratch_.head + index); };
    for (int index; (index = take_job(scratch_.pair, key_of, tag)) >= 0;) {
      --planned_;
      planned_lanes_ -= static_cast<int>(data_blocks(message(index).length));
      finish(index, tag);
    }
  }

  // Sealing: the messages before `end` are sealed and want tags.
  void tag_up_to(int end) {
    if (!pairs_) {
      const int more = end - begun_;
      std::memcpy(scratch_.untagged + untagged_, kAscending.at + begun_, static_cast<size_t>(more));
      untagged_ += more;
      begun_ = end;
      return;
    }
    for (; begun_ < end; ++begun_) {
      if (pair_pays(begun_)) {
        plan_job(begun_);
        add_job(scratch_.pair, mac_input(begun_), begun_);
      } else {
        scratch_.untagged[untagged_++] = static_cast<uint8_t>(begun_);
      }
    }
  }

  // What becomes of a message whose tag is made.
  void finish(int index, const uint8_t* tag) {
    Message& done = message(index);
    if constexpr (kOpens) {
      const __m128i sent = _mm_loadu_si128(reinterpret_cast<const __m128i*>(done.source + done.length));
      const __m128i wrong = _mm_xor_si128(sent, _mm_loadu_si128(reinterpret_cast<const __m128i*>(tag)));
      done.authentic = declassify(_mm_testz_si128(wrong, wrong) != 0);
      if (!done.authentic) {
        failed_ = true;
        if (done.length != 0) std::memset(done.destination, 0, done.length);
      }
      if (index < first_ || index >= first_ + in_head_) scratch_.sequence[ready_++] = static_cast<uint8_t>(index);
    } else {
      std::memcpy(done.destination + done.length, tag, kAeadTagBytes);
    }
  }

  void seal() {
    ready_ = count_;
    apply_head();
    for (;;) {
      fill();
      const bool all = cursor_.message == count_;
      drain(all);
      tag_up_to(all ? count_ : scratch_.lanes.count > 0 ? scratch_.lanes.message[0] : cursor_.message);
      int done = 0;
      while (untagged_ - done >= kMacLanes || (all && done < untagged_)) {
        const int now = untagged_ - done < kMacLanes ? untagged_ - done : kMacLanes;
        mac(scratch_.untagged + done, now);
        for (int i = 0; i < now; ++i) finish(scratch_.untagged[done + i], scratch_.tags[i]);
        done += now;
      }
      untagged_ -= done;
      std::memmove(scratch_.untagged, scratch_.untagged + done, static_cast<size_t>(untagged_));
      if (all) break;
    }
    finish_jobs(true);
  }

  // With nothing beside: `all` jobs, or one at least.
  void finish_jobs(bool all) {
    if (planned_ == 0) return;
    collect_jobs();
    while (planned_ != 0) {
      finish_job(scratch_.pair);
      collect_jobs();
      if (!all) break;
    }
  }

  void forget_ahead(int index) {
    const uint64_t lines = lines_of(message(index));
    ahead_lines_ -= lines < ahead_lines_ ? lines : ahead_lines_;
    if (ahead_.message <= index) ahead_ = {index + 1, 0};
  }

  // Opening: the tags of the next messages, in lanes of messages.
  void verify() {
    const int now = count_ - begun_ < kMacLanes ? count_ - begun_ : kMacLanes;
    uint8_t indices[kMacLanes];
    for (int i = 0; i < now; ++i) indices[i] = static_cast<uint8_t>(begun_ + i);
    mac(indices, now);
    for (int i = 0; i < now; ++i) {
      finish(indices[i], scratch_.tags[i]);
      forget_ahead(indices[i]);
    }
    begun_ += now;
    verified_ = begun_;
  }

  // Empties the lanes of messages that failed: they were queued before they were verified.
  void leave_out_failed() {
    Lanes& lanes = scratch_.lanes;
    for (int lane = count_; lane < lanes.count; ++lane)
      if (!message(lanes.message[lane]).authentic) lanes.bytes[lane] = 0;
  }

  void open() {
    in_head_ = ready_ = cursor_.block == 0 ? cursor_.message : cursor_.message + 1;
    for (; begun_ < first_; ++begun_) add_job(scratch_.pair, mac_input(begun_), begun_);
    verified_ = begun_;
    while (begun_ < first_ + in_head_) verify();
    if (failed_) leave_out_failed();
    apply_head();
    for (;;) {
      fill();
      const bool all = cursor_.message == ready_ && begun_ == count_ && planned_ == 0;
      drain(all);
      if (all) break;
      if (begun_ < count_) {
        if (ready_ - cursor_.message < kFewReady) verify();
      } else if (cursor_.message == ready_) {
        finish_jobs(false);
      }
    }
  }

  Scratch& scratch_;
  Message* messages_;
  int count_;
  bool shared_key_ = true;
  bool second_half_ = false;  // of the vectors' scratch is in use
  int head_lanes_ = 0;
  int drained_ = 0;     // lanes at the front of the queue that are done
  int lanes_left_ = 0;  // of all text
  int ready_ = 0;       // messages in the sequence
  int begun_ = 0;       // messages that have their tags, or will get them without more ado
  int untagged_ = 0;
  int first_ = 0;    // opening: messages at the beginning whose tags are made beside rounds
  int in_head_ = 0;  // opening: messages behind those with lanes in the head
  int verified_ = 0;
  bool pairs_ = false;     // some tags may be made beside rounds:
  int planned_ = 0;        // messages
  int planned_lanes_ = 0;  // their lanes
  int backlog_ = 0;        // their blocks, without what is done
  bool failed_ = false;    // some message was not authentic
  LaneCursor cursor_;
  LaneCursor ahead_;  // opening: the next line to fetch
  uint64_t ahead_lines_ = 0;
};

}  // namespace
}  // namespace culvert::crypto
