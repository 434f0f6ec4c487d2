// Who owns the memory of packets and datagrams while they pass through the pipeline.
//
// A side lends memory and the pipeline fills or empties it; nothing is copied to satisfy an interface. The rules:
//   1. Whoever received a batch releases it at its end, and then whatever lease nobody took is freed. A drop is not
//      taking, so no drop path frees anything.
//   2. A lease lies beside one packet or part only and is taken once. A borrowed one is never taken: the memory is the
//      side's own and is good until its batch is released.
//   3. lend() is always followed by send(). What lend() had no memory for has no bytes, and is lost.
//   4. A peer has one destination in a batch, unless its traffic class changes: then it gets another one and goes on
//      with that. So a side may make a route, a header or a train for each destination once, and keeps a peer's
//      datagrams in order by keeping those of each destination, and the destinations, in order.
//   5. Lengths are those of the IP packet or the UDP payload, never of a link-layer frame. The kTailroom bytes behind
//      may be written to; what they hold is garbage.
//   6. Packets that wait (for a handshake) are copied. No lease crosses a thread.
#pragma once

#include <cstddef>
#include <cstdint>

namespace culvert::io {

// Writable bytes behind every packet and datagram that is handed out: padding (15) and tag (16), rounded up.
inline constexpr size_t kTailroom = 32;

// Whose allocator a lease belongs to.
enum class Memory : uint8_t { borrowed, mbuf, test };

// A claim on memory. Thread safety: none; the worker whose batch it is.
struct Lease {
  void* handle = nullptr;  // null: nothing to take, or taken
  Memory memory = Memory::borrowed;

  // Moves the claim to the caller if it can free this kind of memory; else null.
  void* take(Memory mine) {
    if (memory != mine) return nullptr;
    void* const taken = handle;
    handle = nullptr;
    return taken;
  }
};

}  // namespace culvert::io
