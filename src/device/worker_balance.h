// How many of its workers a device has serve slots, by how they get on with the host's processors.
//
// More threads than processors have room for cost more than they bring: each has less to do whenever it has its turn,
// so batches shrink, and there are more turns, system calls and wake-ups for the same traffic. So while workers wait
// for processors, as few serve as can carry the load; and when one of these is never at rest, more are tried. A trial
// is taken back when throughput says so. The first change comes soon; each further one within a while wants a load that
// is steady for twice as long.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "src/protocol/time.h"

namespace culvert::device {

// Of the workers that serve, since the last look.
struct WorkerLoad {
  protocol::Duration elapsed{};
  protocol::Duration ran{}, waited{};              // on a processor, and for one; of all together
  protocol::Duration most_ran{}, least_at_rest{};  // the longest that one ran; the shortest that one had nothing to do
  uint64_t messages = 0;                           // sealed and opened
};

// Thread safety: none. Knows nothing but what it is told, and reads no clock.
class WorkerBalance {
 public:
  // Between two looks, while there is traffic.
  static constexpr protocol::Duration kPeriod = std::chrono::milliseconds(250);
  // The looks in a row that have to agree before the first change, and at most.
  static constexpr size_t kLeastPatience = 2, kMostPatience = 256;
  // How much longer a load has to be steady for a change that may well be for the worse.
  static constexpr size_t kDoubt = 4;
  // The looks after which one change is forgotten: a minute of traffic.
  static constexpr size_t kMemory = 240;
  // A trial is judged by so many looks, after one that is not looked at.
  static constexpr size_t kTrialLooks = 4;

  // How many shall serve from now on, of `all`; `serving` do, and did in all of the load's time.
  size_t advise(size_t serving, size_t all, const WorkerLoad& load);

 private:
  struct Trial {
    size_t before;     // how many served
    double rate;       // messages per second, then
    size_t looks = 0;  // since
    double sum = 0;    // of their rates
    bool rested = false;
  };

  struct Wish {
    size_t workers;
    bool doubtful = false;  // they may find no processor
  };

  static Wish wish_for(size_t serving, size_t all, const WorkerLoad& load);
  size_t judge(size_t serving, const WorkerLoad& load);
  size_t patience() const;
  void count_change();
  void forget_load();

  std::optional<Trial> trial_;
  // Looks in a row that wished for more (positive) or fewer, and the recent rate.
  int agreed_ = 0;
  double rate_ = 0;
  size_t changes_ = 0;  // that are remembered
  size_t looks_ = 0;    // since one was made or forgotten
};

}  // namespace culvert::device
