// Flat arrays of ChaCha20 blocks ("lanes") from all messages of a batch, so that a vector of blocks is always full
// whatever the lengths are. Only engine files include this; everything is in an unnamed namespace because each of them
// is compiled for other instruction sets.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "crypto/aead.h"

namespace culvert::crypto {
namespace {

// What one call works on at a time; longer batches go piece by piece. Indices of messages fit a byte.
inline constexpr int kMaxPiece = 128;

// Lanes are queued up to this many, and worked off in groups from the front.
inline constexpr int kLaneCapacity = 256;
// A group, and what is left in the queue after the last whole group but one, which stays to be looked at ahead.
inline constexpr int kGroupLanes = 32;
inline constexpr int kMaxLeft = 2 * kGroupLanes;
// Writing and moving go in whole vectors, beyond the end.
inline constexpr int kLaneSlack = kMaxLeft;

inline constexpr uint32_t kBlockBytes = 64;

// The queue. Nothing in it is secret. Lanes without text have the queue's own address, so that
// fetching it is harmless.
struct Lanes {
  int count;
  alignas(64) uint32_t counter[kLaneCapacity + kLaneSlack];  // of the block; 0 makes the Poly1305 key
  uint32_t nonce_low[kLaneCapacity + kLaneSlack];
  uint32_t nonce_high[kLaneCapacity + kLaneSlack];
  uint64_t source[kLaneCapacity + kLaneSlack];
  uint64_t destination[kLaneCapacity + kLaneSlack];
  uint8_t bytes[kLaneCapacity + kLaneSlack];    // of the block that are part of the message, 0..64
  uint8_t message[kLaneCapacity + kLaneSlack];  // its place in the order of the piece
};

// Cache lines that will be read soon, and as many that will be written: the rounds leave the memory idle. Fetching them
// a few per round hides what cold data costs (a burst of all would fill the miss buffers and stall).
struct Ahead {
  const uint64_t* read;
  const uint64_t* write;
};

// Where the filling of the queue stands.
struct LaneCursor {
  int message = 0;     // how many messages are filled in
  uint32_t block = 0;  // of the message's data, from 0; its ChaCha20 counter is one higher
};

inline uint32_t data_blocks(uint32_t length) {
  return (length + kBlockBytes - 1) / kBlockBytes;
}

// Writes one lane.
[[gnu::always_inline]] inline void set_lane(Lanes& lanes, int lane, int message, uint32_t block, uint64_t counter,
                                            uint64_t source, uint64_t destination, uint32_t bytes) {
  lanes.counter[lane] = block;
  lanes.nonce_low[lane] = static_cast<uint32_t>(counter);
  lanes.nonce_high[lane] = static_cast<uint32_t>(counter >> 32);
  lanes.source[lane] = source;
  lanes.destination[lane] = destination;
  lanes.bytes[lane] = static_cast<uint8_t>(bytes);
  lanes.message[lane] = static_cast<uint8_t>(message);
}

// Vectors in the compilers' own notation, which they turn into one register of AVX-512 or two of AVX2.
using Lane32 [[gnu::vector_size(64)]] = uint32_t;
using SignedLane32 [[gnu::vector_size(64)]] = int32_t;
using Lane64 [[gnu::vector_size(64)]] = uint64_t;
inline constexpr int kLanesPerStore = 16;

template <class Vector>
[[gnu::always_inline]] inline void store_lanes(void* to, const Vector& lanes) {
  __builtin_memcpy(to, &lanes, sizeof lanes);
}

// The addresses of `lines` lines in a row. Writes up to a vector beyond.
[[gnu::always_inline]] inline void store_addresses(uint64_t* to, uint64_t first, uint32_t lines) {
  const Lane64 iota64 = {0, 64, 128, 192, 256, 320, 384, 448};
  Lane64 addresses = iota64 + first;
  for (uint32_t done = 0; done < lines; done += 8, addresses += 8 * uint64_t{kBlockBytes})
    store_lanes(to + done, addresses);
}

// 0, 1, 2, ...: what orders begin as.
struct Ascending {
  uint8_t at[2 * kMaxPiece];
  constexpr Ascending() : at{} {
    for (int i = 0; i < 2 * kMaxPiece; ++i) at[i] = static_cast<uint8_t>(i);
  }
};
inline constexpr Ascending kAscending;

// Begins the queue with block 0 of every message; `message_at(index)` gives them in order. Writes whole vectors, too:
// what is beyond the last is overwritten by data lanes or padding.
template <class MessageAt>
[[gnu::always_inline]] inline void begin_with_key_lanes(Lanes& lanes, int count, MessageAt message_at) {
  const Lane64 nowhere = Lane64{} + reinterpret_cast<uint64_t>(&lanes);
  for (int lane = 0; lane < count; lane += kLanesPerStore) {
    store_lanes(lanes.counter + lane, Lane32{});
    store_lanes(lanes.source + lane, nowhere);
    store_lanes(lanes.source + lane + 8, nowhere);
    store_lanes(lanes.destination + lane, nowhere);
    store_lanes(lanes.destination + lane + 8, nowhere);
    __builtin_memset(lanes.bytes + lane, 0, kLanesPerStore);
  }
  __builtin_memcpy(lanes.message, kAscending.at, kMaxPiece);
  for (int i = 0; i < count; ++i) {
    const uint64_t counter = message_at(i).counter;
    lanes.nonce_low[i] = static_cast<uint32_t>(counter);
    lanes.nonce_high[i] = static_cast<uint32_t>(counter >> 32);
  }
  lanes.count = count;
}

// Writes the lanes of `blocks` data blocks of a message from `first` on, all of them whole, behind the queue. Writes
// whole vectors; what is beyond the last block is overwritten by the next message.
template <class Message>
[[gnu::noinline]] inline void set_data_lanes(Lanes& lanes, const Message& message, int index, uint32_t first,
                                             uint32_t blocks) {
  const uint64_t offset = uint64_t{first} * kBlockBytes;
  const Lane32 iota32 = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Lane64 iota64 = {0, 64, 128, 192, 256, 320, 384, 448};
  Lane32 counter = iota32 + (first + 1);
  const Lane32 nonce_low = Lane32{} + static_cast<uint32_t>(message.counter);
  const Lane32 nonce_high = Lane32{} + static_cast<uint32_t>(message.counter >> 32);
  Lane64 source = iota64 + (reinterpret_cast<uint64_t>(message.source) + offset);
  Lane64 destination = iota64 + (reinterpret_cast<uint64_t>(message.destination) + offset);
  for (uint32_t done = 0; done < blocks; done += kLanesPerStore) {
    const size_t lane = static_cast<size_t>(lanes.count) + done;
    store_lanes(lanes.counter + lane, counter);
    store_lanes(lanes.nonce_low + lane, nonce_low);
    store_lanes(lanes.nonce_high + lane, nonce_high);
    store_lanes(lanes.source + lane, source);
    store_lanes(lanes.source + lane + 8, source + 512);
    store_lanes(lanes.destination + lane, destination);
    store_lanes(lanes.destination + lane + 8, destination + 512);
    __builtin_memset(lanes.bytes + lane, kBlockBytes, kLanesPerStore);
    __builtin_memset(lanes.message + lane, index, kLanesPerStore);
    counter += kLanesPerStore;
    source += kLanesPerStore * uint64_t{kBlockBytes};
    destination += kLanesPerStore * uint64_t{kBlockBytes};
  }
}

// Queues data blocks of the message under the cursor, whose place in the order is `index`, as many as fit below `limit`
// lanes, and moves the cursor. There is room for one at least.
template <class Message>
[[gnu::always_inline]] inline void append_data_lanes(Lanes& lanes, const Message& message, int index,
                                                     LaneCursor& cursor, int limit) {
  if (message.length <= kBlockBytes) {
    if (message.length != 0) {
      set_lane(lanes, lanes.count++, index, 1, message.counter, reinterpret_cast<uint64_t>(message.source),
               reinterpret_cast<uint64_t>(message.destination), message.length);
    }
    ++cursor.message;
    return;
  }
  const uint32_t total = data_blocks(message.length);
  const uint32_t first = cursor.block;
  const uint32_t room = static_cast<uint32_t>(limit - lanes.count);
  const uint32_t blocks = total - first < room ? total - first : room;
  set_data_lanes(lanes, message, index, first, blocks);
  lanes.count += static_cast<int>(blocks);
  cursor.block += blocks;
  if (cursor.block == total) {
    const uint32_t rest = message.length % kBlockBytes;
    if (rest != 0) lanes.bytes[lanes.count - 1] = static_cast<uint8_t>(rest);
    ++cursor.message;
    cursor.block = 0;
  }
}

// Makes the end of the queue a whole group: lanes without text that read and write nothing.
inline void pad_lanes(Lanes& lanes) {
  for (int lane = lanes.count; lane % kGroupLanes != 0; ++lane) {
    lanes.bytes[lane] = 0;
    lanes.source[lane] = lanes.destination[lane] = reinterpret_cast<uint64_t>(&lanes);
    lanes.message[lane] = 0;
  }
}

// Moves the lanes from `first` on, fewer than kMaxLeft, to the front of the queue.
inline void drop_front(Lanes& lanes, int first) {
  const int left = lanes.count - first;
  lanes.count = left;
  if (first == 0) return;
  // Through a copy, because the ranges may overlap.
  const auto move = [&](auto* lane_values) __attribute__((always_inline)) {
    std::remove_reference_t<decltype(*lane_values)> kept[kMaxLeft];
    __builtin_memcpy(kept, lane_values + first, sizeof kept);
    __builtin_memcpy(lane_values, kept, sizeof kept);
  };
  move(lanes.counter);
  move(lanes.nonce_low);
  move(lanes.nonce_high);
  move(lanes.source);
  move(lanes.destination);
  move(lanes.bytes);
  move(lanes.message);
}

// Puts the messages of a piece in order of falling length, so that neighbours fill the lanes of Poly1305 evenly. Equal
// lengths (in Poly1305 blocks) keep their order. `order` gets the indices. Without branches on lengths, which nothing
// could predict: a message's place is the number of messages before it, counted for thirty-two at a time.
template <class Message>
inline void order_by_length(const Message* messages, int count, uint8_t* order) {
  constexpr int kAtATime = 2 * kLanesPerStore;
  static_assert(kMaxPiece % kAtATime == 0);
  // Ascending: longest first, then the first first.
  alignas(64) int32_t keys[kMaxPiece];
  alignas(64) int32_t places[kMaxPiece];
  for (int i = 0; i < count; ++i) {
    const uint32_t blocks_short = (kMaxAeadMessageBytes - messages[i].length) / 16;
    keys[i] = static_cast<int32_t>(blocks_short << 8 | static_cast<uint32_t>(i));
  }
  for (int i = count; i % kAtATime != 0; ++i) keys[i] = 0;
  for (int first = 0; first < count; first += kAtATime) {
    SignedLane32 key[2];
    __builtin_memcpy(key, keys + first, sizeof key);
    SignedLane32 place[2] = {};
    for (int other = 0; other < count; ++other) {
      // A comparison gives -1 where it holds.
      place[0] -= key[0] > keys[other];
      place[1] -= key[1] > keys[other];
    }
    __builtin_memcpy(places + first, place, sizeof place);
  }
  for (int i = 0; i < count; ++i) order[places[i]] = static_cast<uint8_t>(i);
}

}  // namespace
}  // namespace culvert::crypto
