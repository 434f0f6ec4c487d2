// A bounded ring from one thread to another, such as handshake messages from a worker to the control thread.
#pragma once

#include <boost/lockfree/spsc_queue.hpp>
#include <cstddef>

namespace culvert::io {

// Thread safety: one producer, one consumer, wait-free. A full ring refuses; whoever pushes counts the drop.
// Allocates `capacity` items at construction and never again. T is default-constructible and copied in and
// out.
template <typename T>
class SpscRing {
 public:
  explicit SpscRing(size_t capacity) : queue_(capacity) {}

  // Producer only. False when the ring is full.
  [[nodiscard]] bool try_push(const T& item) { return queue_.push(item); }

  // Consumer only. False when the ring is empty, `item` untouched.
  [[nodiscard]] bool try_pop(T& item) { return queue_.pop(item); }

  // Consumer only. How many items can be popped now.
  size_t size() const { return queue_.read_available(); }

  // Producer only. How many items can be pushed now.
  size_t room() const { return queue_.write_available(); }

 private:
  boost::lockfree::spsc_queue<T> queue_;
};

}  // namespace culvert::io
