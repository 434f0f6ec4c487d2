// Sparse flows before bulk, as fq_codel has it (RFC 8290): each worker has two queues of the device, one for flows that
// send little and one for the others. The program of tun/tun_steering.h chooses, and says here when each packet of the
// bulk queue came. Nothing is read ahead or copied, and one flow alone is as if there were one queue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "io/fd.h"
#include "io/result.h"
#include "tun/lane_layout.h"

namespace culvert::tun {

// The worker's view of its bulk queue. Thread safety: its worker's; the program writes what is its own meanwhile.
class LaneReader {
 public:
  explicit LaneReader(lane& shared) : shared_(shared) {}

  // Before the bulk queue is read.
  void look();
  // For every packet that was read, in order: how long it waited, in nanoseconds. 0: not known.
  uint64_t take(uint64_t now);
  // Packets that had come before look() and are not taken.
  uint32_t left() const { return queued_ - taken_; }
  // The queue was found empty: all that came before look() is taken, dropped packets too.
  void found_empty();
  // What was taken is handed on before anything is read again.
  void hand_on();

  // Whether flows have moved from the sparse queue to the bulk queue since it was asked last: then packets of theirs
  // may be in the sparse queue, and go first.
  bool has_moved();

 private:
  lane& shared_;
  uint32_t queued_ = 0, taken_ = 0, moves_ = 0;
  uint64_t last_ = 0;  // when the packet that was taken last came
};

// What workers and the program share. Thread safety: the control thread's. Lifetime: outlives the queues that use it.
class Lanes {
 public:
  // Takes the map `lanes` of the program, which has `count` entries. Errors: those of mmap(2).
  static io::Result<std::unique_ptr<Lanes>> map(const io::Fd& lanes, size_t count);
  ~Lanes();
  Lanes(const Lanes&) = delete;
  Lanes& operator=(const Lanes&) = delete;

  size_t count() const { return count_; }
  lane& of(size_t worker) { return lanes_[worker]; }

 private:
  Lanes(lane* lanes, size_t count) : lanes_(lanes), count_(count) {}

  lane* const lanes_;
  const size_t count_;
};

}  // namespace culvert::tun
