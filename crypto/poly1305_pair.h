// Poly1305 of two messages at a time in scalar registers, a few blocks whenever there is room beside vector work: the
// rounds of ChaCha20 leave the scalar ports idle, and half of what the processor can decode. One message waits for
// itself (14 cycles a block on Zen 5), two fill the room. Only the AVX-512 engine includes this.
#pragma once

#include "crypto/poly1305_scalar.h"

namespace culvert::crypto {
namespace {

// How many blocks of each message are done between two looks at whether there are more.
inline constexpr int kPairBlocks = 3;
inline constexpr uint64_t kPairBytes = 16 * kPairBlocks;

// One message to authenticate, and then what came of it.
struct PairJob {
  PolyState state;
  const uint8_t* source;
  const uint8_t* end;   // of the whole blocks of text
  uint64_t last[2][2];  // the last block, and before it an incomplete one if there is one
  int last_blocks;
  int message;  // the owner's number for it; below 0: nothing to do, and no result
};

// A message in work. What changes with every block stays in registers, and what does not in memory.
struct PairKey {
  uint64_t r0, r1, r1_5_4;
};
struct PairChain {
  uint64_t h0, h1, h2;
  const uint8_t* at;
  PairJob* job;
};

// Places for jobs; those that wait are begun in turn. Secret, apart from the numbers; the owner wipes it.
struct MacPair {
  static constexpr uint32_t kJobs = 8;
  PairChain chain[2];
  PairKey key[2];
  PairJob jobs[kJobs];
  PairJob idle;
  uint32_t free;          // a bit for each place
  uint32_t added, begun;  // jobs ever
  uint32_t done, taken;
  uint8_t waiting[kJobs];   // places, from `begun` to `added`
  uint8_t finished[kJobs];  // places, from `taken` to `done`
};

// What an idle chain works on, again and again.
alignas(64) inline constexpr uint8_t kIdleText[40 * kPairBytes] = {};

[[gnu::always_inline]] inline void begin_job(MacPair& pair, PairChain& chain, PairKey& key) {
  chain.job = pair.begun != pair.added ? &pair.jobs[pair.waiting[pair.begun++ % MacPair::kJobs]] : &pair.idle;
  const PolyState& state = chain.job->state;
  key = {state.r0, state.r1, state.r1_5_4};
  chain.h0 = state.h0;
  chain.h1 = state.h1;
  chain.h2 = state.h2;
  chain.at = chain.job->source;
}

[[gnu::always_inline]] inline void end_job(MacPair& pair, const PairChain& chain) {
  PairJob& job = *chain.job;
  if (job.message < 0) return;
  job.state.h0 = chain.h0;
  job.state.h1 = chain.h1;
  job.state.h2 = chain.h2;
  if (job.last_blocks > 1) poly_block(job.state, job.last[1][0], job.last[1][1]);
  poly_block(job.state, job.last[0][0], job.last[0][1]);
  pair.finished[pair.done++ % MacPair::kJobs] = static_cast<uint8_t>(&job - pair.jobs);
}

// Sees to it that a chain has blocks for the next kPairBlocks.
[[gnu::always_inline]] inline void refill_chain(MacPair& pair, PairChain& chain, PairKey& key) {
  if (chain.at == chain.job->end) [[unlikely]] {
    end_job(pair, chain);
    begin_job(pair, chain, key);
  }
}

// One block: poly_block() in the fewest instructions, which count here, and kept where it is written among vector
// instructions.
[[gnu::always_inline]] inline void work_on_chain(PairChain& chain, const PairKey& key, int block) {
  const uint8_t* at = chain.at + 16 * block;
  uint64_t d0, d1, d2, carry, upper;
  asm volatile(
      // h += block
      "add %[low], %[h0]\n\t"
      "adc %[high], %[h1]\n\t"
      "adc $1, %[h2]\n\t"
      // d2:d1:d0 = h * r, partly wrapped around
      "mov %[h0], %%rdx\n\t"
      "mulx %[r0], %[d0], %[carry]\n\t"
      "mulx %[r1], %[d1], %[d2]\n\t"
      "mov %[h1], %%rdx\n\t"
      "mulx %[r1_5_4], %[h0], %[upper]\n\t"
      "add %[h0], %[d0]\n\t"
      "adc %[upper], %[carry]\n\t"
      "mulx %[r0], %[h0], %[upper]\n\t"
      "add %[h0], %[d1]\n\t"
      "adc %[upper], %[d2]\n\t"
      "mov %[h2], %%rdx\n\t"
      "imul %[r1_5_4], %%rdx\n\t"
      "imul %[r0], %[h2]\n\t"
      "add %%rdx, %[d1]\n\t"
      "adc $0, %[d2]\n\t"
      "add %[carry], %[d1]\n\t"
      "adc %[h2], %[d2]\n\t"
      // what is above 2^130 counts five times at the bottom
      "mov %[d2], %%rdx\n\t"
      "and $3, %k[d2]\n\t"
      "shr $2, %%rdx\n\t"
      "lea (%%rdx, %%rdx, 4), %%rdx\n\t"
      "add %%rdx, %[d0]\n\t"
      "adc $0, %[d1]\n\t"
      "adc $0, %[d2]"
      : [h0] "+r"(chain.h0), [h1] "+r"(chain.h1), [h2] "+r"(chain.h2), [d0] "=&r"(d0), [d1] "=&r"(d1), [d2] "=&r"(d2),
        [carry] "=&r"(carry), [upper] "=&r"(upper)
      : [r0] "m"(key.r0), [r1] "m"(key.r1), [r1_5_4] "m"(key.r1_5_4), [low] "m"(*reinterpret_cast<const uint64_t*>(at)),
        [high] "m"(*reinterpret_cast<const uint64_t*>(at + 8))
      : "rdx", "cc");
  chain.h0 = d0;
  chain.h1 = d1;
  chain.h2 = d2;
}

inline void begin_pair(MacPair& pair) {
  pair.idle = {};
  pair.idle.source = kIdleText;
  pair.idle.end = kIdleText + sizeof kIdleText;
  pair.idle.message = -1;
  pair.free = (1u << MacPair::kJobs) - 1;
  pair.added = pair.begun = pair.done = pair.taken = 0;
  for (int i = 0; i < 2; ++i) begin_job(pair, pair.chain[i], pair.key[i]);
}

// How many messages are waiting or in work.
inline int pending_jobs(const MacPair& pair) {
  return static_cast<int>(pair.added - pair.done);
}

// Queues a message of kPairBytes or more. There must be a free place.
inline void add_job(MacPair& pair, const MacInput& input, int message) {
  const int place = __builtin_ctz(pair.free);
  pair.free &= pair.free - 1;
  pair.waiting[pair.added++ % MacPair::kJobs] = static_cast<uint8_t>(place);
  PairJob& job = pair.jobs[place];
  poly_begin(job.state, input.key);
  const uint64_t rest = input.length % 16;
  const uint64_t whole = input.length / 16;
  job.source = input.source;
  for (uint64_t i = whole % kPairBlocks; i != 0; --i, job.source += 16)
    poly_block(job.state, load64(job.source), load64(job.source + 8));
  job.end = input.source + 16 * whole;
  job.last[0][0] = input.last[0];
  job.last[0][1] = input.last[1];
  job.last_blocks = rest != 0 ? 2 : 1;
  if (rest != 0) load_rest(job.end, static_cast<uint32_t>(rest), job.last[1]);
  job.message = message;
  for (int i = 0; i < 2; ++i)
    if (pair.chain[i].job == &pair.idle) return begin_job(pair, pair.chain[i], pair.key[i]);
}

// Takes a job that is done, if there is one: writes its tag and returns its number, or -1. `key` finds a number's key.
template <class KeyOf>
inline int take_job(MacPair& pair, KeyOf key_of, uint8_t* tag) {
  if (pair.taken == pair.done) return -1;
  const int place = pair.finished[pair.taken++ % MacPair::kJobs];
  pair.free |= 1u << place;
  const PairJob& job = pair.jobs[place];
  poly_tag(job.state.h0, job.state.h1, job.state.h2, key_of(job.message), tag);
  return job.message;
}

// Works on until at least one message more is done, with nothing beside.
[[gnu::noinline]] inline void finish_job(MacPair& pair) {
  PairChain chain[2] = {pair.chain[0], pair.chain[1]};
  PairKey key[2] = {pair.key[0], pair.key[1]};
  for (const uint32_t done = pair.done; pair.done == done;) {
    for (int i = 0; i < 2; ++i) refill_chain(pair, chain[i], key[i]);
    for (int block = 0; block < kPairBlocks; ++block)
      for (int i = 0; i < 2; ++i) work_on_chain(chain[i], key[i], block);
    for (int i = 0; i < 2; ++i) chain[i].at += kPairBytes;
  }
  for (int i = 0; i < 2; ++i) {
    pair.chain[i] = chain[i];
    pair.key[i] = key[i];
  }
}

}  // namespace
}  // namespace culvert::crypto
