#include "bench/traffic/sequence_tracker.h"

namespace culvert::traffic {

void SequenceTracker::restart() {
  expected_ = arrived_ = reordered_ = duplicates_ = 0;
}

void SequenceTracker::record_out_of_turn(uint32_t sequence) {
  const uint32_t ahead = sequence - next_;
  if (ahead < UINT32_MAX / 2) {
    skip_to(sequence);
    record(sequence);
    return;
  }
  const uint32_t behind = next_ - sequence;
  if (behind <= kWindow && (word(sequence) & bit(sequence)) != 0) {
    ++duplicates_;
    return;
  }
  if (behind <= kWindow) mark(sequence);
  ++reordered_;
  // One from before the restart was never expected.
  if (behind <= expected_) ++arrived_;
}

// Makes `sequence` the next one; those in between have not been seen.
void SequenceTracker::skip_to(uint32_t sequence) {
  expected_ += sequence - next_;
  if (sequence - next_ >= kWindow) {
    seen_.fill(0);
    next_ = sequence;
  }
  for (; next_ != sequence; ++next_) word(next_) &= ~bit(next_);
}

}  // namespace culvert::traffic
