// What became of the datagrams of one stream, by their sequence numbers.
#pragma once

#include <array>
#include <cstdint>

namespace culvert::traffic {

// Datagrams are expected from 0 on. One that comes after a later one is reordered (RFC 4737, Type-P-Reordered); one
// that comes again is a duplicate, if it comes within kWindow of the highest; one that has not come though a later one
// has is lost, until it comes. Losses after the last one that came cannot be seen here.
//
// Thread safety: none.
class SequenceTracker {
 public:
  static constexpr uint32_t kWindow = 1 << 16;

  void record(uint32_t sequence) {
    if (sequence == next_) [[likely]] {
      mark(sequence);
      ++next_;
      ++expected_;
      ++arrived_;
    } else {
      record_out_of_turn(sequence);
    }
  }

  // Forgets all counts; goes on after the highest datagram so far.
  void restart();

  // Datagrams that came since the start or restart(), without duplicates.
  uint64_t arrived() const { return arrived_; }
  uint64_t lost() const { return expected_ - arrived_; }
  uint64_t reordered() const { return reordered_; }
  uint64_t duplicates() const { return duplicates_; }

 private:
  static constexpr uint32_t kWordBits = 64;

  void record_out_of_turn(uint32_t sequence);
  void skip_to(uint32_t sequence);
  uint64_t& word(uint32_t sequence) { return seen_[sequence % kWindow / kWordBits]; }
  static uint64_t bit(uint32_t sequence) { return uint64_t{1} << (sequence % kWordBits); }
  void mark(uint32_t sequence) { word(sequence) |= bit(sequence); }

  uint32_t next_ = 0;
  uint64_t expected_ = 0;  // sequence numbers from the start to next_
  uint64_t arrived_ = 0;
  uint64_t reordered_ = 0;
  uint64_t duplicates_ = 0;
  std::array<uint64_t, kWindow / kWordBits> seen_{};  // of the kWindow numbers before next_
};

}  // namespace culvert::traffic
