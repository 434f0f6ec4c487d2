// The AVX2 engine. Sixteen blocks of ChaCha20 from all messages of a batch go at a time, and between their steps goes
// scalar Poly1305 of other messages: it needs other ports, so most of it costs nothing. Sealing, Poly1305 follows
// behind ChaCha20; opening, it runs ahead, and a block is written only when its message is authenticated.
//
// A batch goes in pieces of up to 128 messages: block 0 of every message with the first blocks of text (the head), then
// the text sixteen lanes at a time, then what is left of Poly1305. A message of up to one block alone is done by scalar
// registers before eight lanes would be.
//
// Constant time and scratch: as in aead_avx512.cc.
#include <immintrin.h>

#include <cstring>

#include "crypto/aead_engine.h"
#include "crypto/aead_lanes.h"
#include "crypto/chacha20_avx2.h"
#include "crypto/declassify.h"
#include "crypto/poly1305_queue.h"
#include "crypto/poly1305_scalar.h"

namespace culvert::crypto {
namespace {

struct alignas(64) Scratch {
  ChaChaScratch chacha;
  MacQueue queue;
  alignas(32) uint8_t stream[kStepLanes][kChaChaBlockBytes];
  alignas(32) uint8_t head[kMaxPiece + kStepLanes][kChaChaBlockBytes];  // Poly1305 keys, then some data's stream
  Lanes lanes;
};

bool supported(const CpuFeatures& features) {
  return features.avx2 && features.bmi2;
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

  Piece(Scratch& scratch, Message* messages, int count) : scratch_(scratch), messages_(messages), count_(count) {}

  void run() {
    for (int i = 1; i < count_; ++i) shared_key_ &= messages_[i].key == messages_[0].key;
    if (shared_key_) broadcast_key(scratch_.chacha.key[0], messages_[0].key);
    make_head();
    begin_macs();
    apply_head();
    for (;;) {
      fill();
      const bool all = cursor_.message == count_;
      drain(all);
      if (all) break;
    }
    finish_macs();
    wipe(&scratch_.chacha, sizeof scratch_.chacha);
    wipe(scratch_.stream, sizeof scratch_.stream);
    wipe(&scratch_.queue.work, sizeof scratch_.queue.work);
    wipe(scratch_.head, static_cast<size_t>(head_lanes_) * sizeof scratch_.head[0]);
  }

 private:
  // The keys of the second half of the step at `lane`; those of the first are set.
  const __m256i (&set_keys(int lane))[8] {
    if (shared_key_) return scratch_.chacha.key[0];
    for (int half = 0; half < 2; ++half) {
      const uint8_t* keys[kVectorLanes];
      for (int i = 0; i < kVectorLanes; ++i)
        keys[i] = messages_[scratch_.lanes.message[lane + half * kVectorLanes + i]].key;
      gather_keys(scratch_.chacha.key[half], keys);
    }
    return scratch_.chacha.key[1];
  }

  // What to fetch during the rounds of the step at `lane`: the texts of the steps after it. When opening, Poly1305 is
  // ahead of ChaCha20 by up to a message.
  Ahead look_ahead(int lane) {
    constexpr int kReadAhead = kOpens ? 2 * kStepLanes : kStepLanes;
    const Lanes& lanes = scratch_.lanes;
    const auto within = [&](int at) { return at + kStepLanes <= lanes.count ? at : lane; };
    return {lanes.source + within(lane + kReadAhead), lanes.destination + within(lane + kStepLanes)};
  }

  void generate(int lane, uint8_t (*stream)[kChaChaBlockBytes]) {
    const __m256i(&other_key)[8] = set_keys(lane);
    if (scratch_.lanes.count - lane > kVectorLanes)
      generate_stream(scratch_.chacha, stream, scratch_.lanes, lane, other_key, look_ahead(lane), scratch_.queue);
    else
      generate_half_stream(scratch_.chacha, stream, scratch_.lanes, lane);
  }

  void fill() {
    while (cursor_.message < count_ && scratch_.lanes.count < kLaneCapacity)
      append_data_lanes(scratch_.lanes, messages_[cursor_.message], cursor_.message, cursor_, kLaneCapacity);
  }

  // Block 0 of every message, and data blocks for the rest of the last step.
  void make_head() {
    Lanes& lanes = scratch_.lanes;
    begin_with_key_lanes(lanes, count_, [&](int i) -> const Message& { return messages_[i]; });
    head_lanes_ = (count_ + kStepLanes - 1) / kStepLanes * kStepLanes;
    while (cursor_.message < count_ && lanes.count < head_lanes_)
      append_data_lanes(lanes, messages_[cursor_.message], cursor_.message, cursor_, head_lanes_);
    pad_lanes(lanes);
    scratch_.queue.next = scratch_.queue.ready = 0;
    scratch_.queue.active = false;
    scratch_.queue.work.left = 0;
    for (int lane = 0; lane < head_lanes_; lane += kStepLanes) generate(lane, scratch_.head + lane);
  }

  void begin_macs() {
    for (int i = 0; i < count_; ++i) {
      const Message& message = messages_[i];
      scratch_.queue.inputs[i] = {
          scratch_.head[i], kOpens ? message.source : message.destination, message.length, {0, message.length}};
    }
    // A ciphertext may be read at once; a text must be sealed first.
    if constexpr (kOpens) scratch_.queue.ready = count_;
  }

  // Before lanes up to `lane` may be written: what was there must have been authenticated.
  void verify_up_to(int lane) {
    if constexpr (kOpens) {
      finish_messages(scratch_.queue, scratch_.lanes.message[lane] + 1);
      for (; verified_ < scratch_.queue.next; ++verified_) {
        OpenMessage& message = messages_[verified_];
        const __m128i sent = _mm_loadu_si128(reinterpret_cast<const __m128i*>(message.source + message.length));
        const __m128i made = _mm_loadu_si128(reinterpret_cast<const __m128i*>(scratch_.queue.tags[verified_]));
        const __m128i wrong = _mm_xor_si128(sent, made);
        message.authentic = declassify(_mm_testz_si128(wrong, wrong) != 0);
        if (!message.authentic && message.length != 0) std::memset(message.destination, 0, message.length);
      }
    }
  }

  void apply(int first, int end, const uint8_t (*stream)[kChaChaBlockBytes]) {
    Lanes& lanes = scratch_.lanes;
    if (first == end) return;
    verify_up_to(end - 1);
    for (int lane = first; lane < end; ++lane) {
      if constexpr (kOpens) {
        if (!messages_[lanes.message[lane]].authentic) continue;
      }
      apply_block(lanes, lane, stream[lane - first]);
    }
    // Messages before that of the next lane are sealed.
    if constexpr (!kOpens) scratch_.queue.ready = end < lanes.count ? lanes.message[end] : lanes.message[end - 1];
  }

  void apply_head() {
    apply(count_, scratch_.lanes.count, scratch_.head + count_);
    scratch_.lanes.count = 0;
  }

  // Works off the queue: whole steps, and with `all` what is left.
  void drain(bool all) {
    Lanes& lanes = scratch_.lanes;
    int lane = 0;
    if (all) pad_lanes(lanes);
    const int keep = all ? 0 : 2 * kStepLanes;
    for (; lane + kStepLanes + keep <= lanes.count; lane += kStepLanes) {
      generate(lane, scratch_.stream);
      apply(lane, lane + kStepLanes, scratch_.stream);
    }
    if (all && lane < lanes.count) {
      generate(lane, scratch_.stream);
      apply(lane, lanes.count, scratch_.stream);
      lane = lanes.count;
    }
    drop_front(lanes, lane);
  }

  void finish_macs() {
    scratch_.queue.ready = count_;
    if constexpr (kOpens) {
      // Only messages without text can be left: they have no lanes.
      scratch_.lanes.message[0] = static_cast<uint8_t>(count_ - 1);
      verify_up_to(0);
    } else {
      finish_messages(scratch_.queue, count_);
      for (int i = 0; i < count_; ++i)
        std::memcpy(messages_[i].destination + messages_[i].length, scratch_.queue.tags[i], kAeadTagBytes);
    }
  }

  Scratch& scratch_;
  Message* messages_;
  int count_;
  bool shared_key_ = true;
  int head_lanes_ = 0;
  int verified_ = 0;
  LaneCursor cursor_;
};

template <class Message>
[[gnu::noinline]] void run_pieces(Message* batch, size_t count) {
  Scratch scratch;
  for (size_t done = 0; done < count; done += kMaxPiece) {
    const size_t left = count - done;
    Piece<Message>(scratch, batch + done, static_cast<int>(left < kMaxPiece ? left : kMaxPiece)).run();
  }
}

// One message of up to a block alone: two blocks in scalar registers are done before eight in a vector.
struct ShortScratch {
  uint8_t mac_key[kChaChaBlockBytes];
  alignas(32) uint8_t stream[kChaChaBlockBytes];
};

template <class Message>
void begin_short(ShortScratch& scratch, const Message& message) {
  make_block(message.key, message.counter, 0, scratch.mac_key);
  if (message.length != 0) make_block(message.key, message.counter, 1, scratch.stream);
}

template <class Message>
void apply_short(const ShortScratch& scratch, const Message& message) {
  for (uint32_t i = 0; i < message.length; ++i)
    message.destination[i] = static_cast<uint8_t>(message.source[i] ^ scratch.stream[i]);
}

void seal_short(const SealMessage& message) {
  ShortScratch scratch;
  begin_short(scratch, message);
  apply_short(scratch, message);
  mac_scalar({scratch.mac_key, message.destination, message.length, {0, message.length}},
             message.destination + message.length);
  wipe(&scratch, sizeof scratch);
}

void open_short(OpenMessage& message) {
  ShortScratch scratch;
  begin_short(scratch, message);
  uint8_t tag[kAeadTagBytes];
  mac_scalar({scratch.mac_key, message.source, message.length, {0, message.length}}, tag);
  const uint8_t* sent = message.source + message.length;
  const uint64_t wrong = (load64(tag) ^ load64(sent)) | (load64(tag + 8) ^ load64(sent + 8));
  message.authentic = declassify(wrong == 0);
  if (message.authentic)
    apply_short(scratch, message);
  else if (message.length != 0)
    std::memset(message.destination, 0, message.length);
  wipe(&scratch, sizeof scratch);
}

void seal(const SealMessage* batch, size_t count) {
  if (count == 1 && batch->length <= kBlockBytes)
    seal_short(*batch);
  else
    run_pieces(batch, count);
}

size_t open(OpenMessage* batch, size_t count) {
  if (count == 1 && batch->length <= kBlockBytes)
    open_short(*batch);
  else
    run_pieces(batch, count);
  size_t authentic = 0;
  for (size_t i = 0; i < count; ++i) authentic += batch[i].authentic;
  return authentic;
}

void poly1305(const Poly1305Message* batch, size_t count, int /*path*/) {
  for (size_t i = 0; i < count; ++i) {
    const Poly1305Message& message = batch[i];
    MacInput input{message.key, message.source, message.length - 16, {}};
    std::memcpy(input.last, message.source + message.length - 16, 16);
    mac_scalar(input, message.tag);
  }
}

}  // namespace

const Engine kAvx2Engine{"avx2", supported, seal, open, poly1305, 1};

}  // namespace culvert::crypto
