// Lays the datagrams of a batch back to back, so that each train leaves in one UDP_SEGMENT send.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "io/outer_side.h"
#include "io/udp_sockets.h"

namespace culvert::io {

struct OutgoingTrain {
  uint8_t* bytes = nullptr;
  uint32_t length = 0;
  uint16_t segment_size = 0;  // bytes of every datagram but the last
  uint16_t datagrams = 0;
  uint16_t destination = 0;                // index into the batch's destinations
  std::bitset<kMaxTrainDatagrams> lost{};  // set by whoever sends: the datagrams that were not sent
};

// Thread safety: none; one worker owns it. All memory is allocated by the constructor.
//
// Invariants: 1. a train is for one destination, and each destination has one open train at most, whatever the order of
// peers; 2. the datagrams of a destination are in its trains in their order, and its trains in theirs; 3. every
// datagram of a train but the last has the train's segment size.
class TrainLayout {
 public:
  TrainLayout();

  // Makes the trains of the batch and sets each datagram's `bytes`. What was laid out before is forgotten.
  void lay_out(Sending& batch);

  std::span<OutgoingTrain> trains() { return {trains_.data(), train_count_}; }

  // Tells the batch, whose lay_out() was the last, what the trains have lost.
  void report_lost(Sending& batch) const;

 private:
  struct Place {
    uint32_t offset;
    uint16_t train;
  };

  void begin(const Outgoing& datagram);
  void lay_out_for_one(Sending& batch);

  std::unique_ptr<uint8_t[]> arena_;
  uint8_t* base_;  // the arena's first cache line
  std::array<OutgoingTrain, Sending::kMaxDatagrams> trains_;
  uint32_t train_count_ = 0;
  std::array<Place, Sending::kMaxDatagrams> places_;
  std::array<uint16_t, Sending::kMaxDestinations> open_;  // each destination's open train
};

}  // namespace culvert::io
