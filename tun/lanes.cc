#include "tun/lanes.h"

#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <type_traits>

namespace culvert::tun {
namespace {

// A packet is put into the queue after the program has written about it.
template <class Word>
Word load(Word& word) {
  return std::atomic_ref(word).load(std::memory_order_acquire);
}

template <class Word>
void store(Word& word, std::type_identity_t<Word> value) {
  std::atomic_ref(word).store(value, std::memory_order_release);
}

}  // namespace

void LaneReader::look() {
  queued_ = load(shared_.queued);
}

uint64_t LaneReader::take(uint64_t now) {
  if (taken_ == queued_ && taken_ == (queued_ = load(shared_.queued))) return 0;
  // Written anew before it counts again; two that came at once may have shared one.
  __u64& stamp = shared_.stamps[taken_++ % LANE_STAMPS];
  const uint64_t came = load(stamp);
  store(stamp, 0);
  if (came == 0) return 0;
  last_ = came;
  return now > came ? now - came : 1;
}

void LaneReader::found_empty() {
  taken_ = queued_;
}

void LaneReader::hand_on() {
  store(shared_.taken, taken_);
  store(shared_.done, last_);
}

bool LaneReader::has_moved() {
  const uint32_t before = moves_;
  return before != (moves_ = load(shared_.moves));
}

io::Result<std::unique_ptr<Lanes>> Lanes::map(const io::Fd& lanes, size_t count) {
  void* const memory = ::mmap(nullptr, count * sizeof(lane), PROT_READ | PROT_WRITE, MAP_SHARED, lanes.get(), 0);
  if (memory == MAP_FAILED) return io::Error{errno, "map the lanes of a TUN device"};
  return std::unique_ptr<Lanes>(new Lanes(static_cast<lane*>(memory), count));
}

Lanes::~Lanes() {
  ::munmap(lanes_, count_ * sizeof(lane));
}

}  // namespace culvert::tun
