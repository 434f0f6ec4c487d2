// Poly1305 of many messages in scalar registers, a few blocks at a time whenever there is room beside other work. Only
// the AVX2 engine includes this.
#pragma once

#include "crypto/aead_lanes.h"
#include "crypto/poly1305_scalar.h"

namespace culvert::crypto {
namespace {

// The message that is being worked on. Kept in registers while blocks go in.
struct MacWork {
  PolyState state;
  const uint8_t* at;
  uint64_t left;  // whole blocks of text to go
};

// The messages of a piece in order. [0, next) have tags; `next` is being worked on if `active`; those below `ready` may
// be. Keys and state are secret; the owner wipes the queue.
struct MacQueue {
  MacWork work;
  int next;
  int ready;
  bool active;
  MacInput inputs[kMaxPiece];
  uint8_t tags[kMaxPiece][16];
};

inline void begin_message(MacQueue& queue, MacWork& work) {
  const MacInput& input = queue.inputs[queue.next];
  poly_begin(work.state, input.key);
  work.at = input.source;
  work.left = input.length / 16;
  queue.active = true;
}

// The rest of a message: `left` blocks, an incomplete one, the last one, the tag.
inline void end_message(MacQueue& queue, MacWork& work) {
  const MacInput& input = queue.inputs[queue.next];
  for (; work.left != 0; --work.left, work.at += 16) poly_block(work.state, load64(work.at), load64(work.at + 8));
  const uint32_t rest = static_cast<uint32_t>(input.length % 16);
  if (rest != 0) {
    uint64_t block[2];
    load_rest(work.at, rest, block);
    poly_block(work.state, block[0], block[1]);
  }
  poly_block(work.state, input.last[0], input.last[1]);
  poly_tag(work.state.h0, work.state.h1, work.state.h2, input.key, queue.tags[queue.next]);
  ++queue.next;
  queue.active = false;
}

// Goes on to a message with two blocks or more to go; ends those before it. Leaves `left` below two if there is none.
[[gnu::noinline]] inline void go_on(MacQueue& queue) {
  while (queue.next < queue.ready) {
    if (!queue.active) begin_message(queue, queue.work);
    if (queue.work.left >= 2) return;
    end_message(queue, queue.work);
  }
  queue.work.left = 0;
}

// Two blocks of text, or what comes between messages.
[[gnu::always_inline]] inline void work_on(MacQueue& queue, MacWork& work) {
  if (work.left >= 2) [[likely]] {
    poly_block(work.state, load64(work.at), load64(work.at + 8));
    poly_block(work.state, load64(work.at + 16), load64(work.at + 24));
    work.at += 32;
    work.left -= 2;
  } else if (queue.next < queue.ready) {
    queue.work = work;
    go_on(queue);
    work = queue.work;
  }
}

// Ends all messages below `end`, which must be ready.
[[gnu::noinline]] inline void finish_messages(MacQueue& queue, int end) {
  MacWork work = queue.work;
  while (queue.next < end) {
    if (!queue.active) begin_message(queue, work);
    end_message(queue, work);
  }
  if (!queue.active) work.left = 0;
  queue.work = work;
}

}  // namespace
}  // namespace culvert::crypto
