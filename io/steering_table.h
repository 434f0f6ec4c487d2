// Which worker serves what: 128 slots, each of which belongs to one worker. Flows hash to slots, and peers live in
// slots, so that a change of the number of workers moves slots and leaves all else where it is.
//
// The table is the only thing that says so. io/steering_map.h hands it to the programs in the kernel.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>

namespace culvert::io {

inline constexpr size_t kSlots = 128;
inline constexpr size_t kMaxWorkers = kSlots;

// The top byte of a receiver index: the home slot of its peer, and whether datagrams spread over slots by their
// source port.
inline constexpr unsigned kHomeSlotShift = 24;
inline constexpr uint32_t kHomeSlotMask = 0x7fU << kHomeSlotShift;
inline constexpr uint32_t kSpreadBit = 1U << 31;

// The slot of transport data with this receiver index from this port. Consecutive ports have consecutive slots.
constexpr size_t slot_of(uint32_t receiver_index, uint16_t source_port) {
  const size_t home = (receiver_index & kHomeSlotMask) >> kHomeSlotShift;
  return (home + ((receiver_index & kSpreadBit) != 0 ? source_port : 0)) % kSlots;
}

// A value. Thread safety: that of an array.
// Invariants: each worker has floor or ceil(kSlots / workers()) slots. Neighbouring slots belong to different workers
// where there are several: always when the table was made anew, and as far as few moves allow after resize().
class SteeringTable {
 public:
  // Slot i belongs to worker i % workers, which is what the classic BPF program computes. 1 to kMaxWorkers; other
  // numbers are taken for the nearest of these.
  explicit SteeringTable(size_t workers = 1);

  size_t workers() const { return workers_; }
  uint8_t worker(size_t slot) const { return entries_[slot % kSlots]; }
  const std::array<uint8_t, kSlots>& entries() const { return entries_; }

  // Changes the number of workers: new ones are the last, and the last ones go. Moves as few slots as balance allows:
  // only to new workers, or only from those that go.
  void resize(size_t workers);

  bool operator==(const SteeringTable&) const = default;

 private:
  void add_worker();
  void remove_last_worker();
  std::array<size_t, kMaxWorkers> shares() const;

  size_t workers_;
  std::array<uint8_t, kSlots> entries_;
};

// Who has to stand still while one table takes the place of another.
struct SlotMoves {
  std::bitset<kMaxWorkers> gaining, losing;  // by worker
  size_t slots = 0;                          // how many change hands
};
SlotMoves moves_between(const SteeringTable& before, const SteeringTable& after);

}  // namespace culvert::io
