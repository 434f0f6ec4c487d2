#include "io/spsc_ring.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>

namespace culvert::io {
namespace {

TEST(SpscRingTest, HoldsItsCapacityInOrderAndRefusesMore) {
  for (const size_t capacity : {1u, 2u, 3u, 64u, 1000u}) {
    SpscRing<size_t> ring(capacity);
    for (int round = 0; round < 3; ++round) {
      for (size_t i = 0; i < capacity; ++i) EXPECT_TRUE(ring.try_push(i));
      EXPECT_FALSE(ring.try_push(capacity));
      EXPECT_EQ(ring.size(), capacity);
      size_t item = 0;
      for (size_t i = 0; i < capacity; ++i) {
        ASSERT_TRUE(ring.try_pop(item));
        EXPECT_EQ(item, i);
      }
      EXPECT_FALSE(ring.try_pop(item));
      EXPECT_EQ(item, capacity - 1) << "an empty ring leaves the item alone";
      EXPECT_EQ(ring.size(), 0u);
    }
  }
}

TEST(SpscRingTest, LosesAndReordersNothingBetweenThreads) {
  struct Item {
    uint64_t number = 0, twice = 0;
  };
  constexpr uint64_t kItems = 100'000;
  SpscRing<Item> ring(16);
  std::thread producer([&] {
    for (uint64_t i = 0; i < kItems; ++i)
      while (!ring.try_push({i, 2 * i})) std::this_thread::yield();
  });
  for (uint64_t i = 0; i < kItems; ++i) {
    Item item;
    while (!ring.try_pop(item)) std::this_thread::yield();
    ASSERT_EQ(item.number, i);
    ASSERT_EQ(item.twice, 2 * i);
  }
  producer.join();
}

}  // namespace
}  // namespace culvert::io
