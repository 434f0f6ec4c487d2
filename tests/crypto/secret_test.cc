#include "crypto/secret.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace culvert::crypto {
namespace {

using Key = Secret<32>;

constexpr std::array<uint8_t, 32> kBytes = {1, 2, 3};

static_assert(!std::is_copy_constructible_v<Key> && !std::is_copy_assignable_v<Key>);

TEST(Secret, IsZeroUntilWritten) {
  Key key;
  EXPECT_TRUE(key.is_zero());
  key.assign(kBytes);
  EXPECT_FALSE(key.is_zero());
  EXPECT_TRUE(key == Key(kBytes));
}

TEST(Secret, IsWipedWhenMovedFrom) {
  Key key(kBytes);
  Key constructed(std::move(key));
  EXPECT_TRUE(key.is_zero());  // NOLINT(bugprone-use-after-move): that is the point
  Key assigned;
  assigned = std::move(constructed);
  EXPECT_TRUE(constructed.is_zero());  // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(assigned == Key(kBytes));
}

TEST(Secret, IsWipedWhenDestroyed) {
  alignas(Key) std::array<uint8_t, sizeof(Key)> storage;
  storage.fill(0xff);
  std::destroy_at(new (storage.data()) Key(kBytes));
  EXPECT_TRUE(is_zero_constant_time(storage));
}

TEST(Secret, SurvivesBeingMovedToItself) {
  Key key(kBytes);
  Key& same = key;
  key = std::move(same);
  EXPECT_TRUE(key == Key(kBytes));
}

TEST(Secret, ClonesAreIndependent) {
  Key key(kBytes);
  const Key clone = key.clone();
  key.wipe();
  EXPECT_TRUE(clone == Key(kBytes));
  EXPECT_FALSE(clone == key);
}

// Looks at what it is given back.
template <typename T>
struct WatchingAllocator : std::allocator<T> {
  template <typename Other>
  struct rebind {
    using other = WatchingAllocator<Other>;
  };
  void deallocate(T* memory, size_t count) {
    ++given_back;
    all_zero = all_zero && std::all_of(memory, memory + count, [](T value) { return value == T{}; });
    std::allocator<T>::deallocate(memory, count);
  }
  static inline int given_back = 0;
  static inline bool all_zero = true;
};

TEST(WipingAllocator, LeavesNoCopyBehindWhereAStringGrows) {
  using Watched = WatchingAllocator<char>;
  {
    std::basic_string<char, std::char_traits<char>, WipingAllocator<char, Watched>> text;
    for (int i = 0; i < 1000; ++i) text += "secret";
    auto moved = std::move(text);
    text = moved;
  }
  EXPECT_GT(Watched::given_back, 2);
  EXPECT_TRUE(Watched::all_zero);
}

TEST(SecretString, DropsItsFrontAndWhatTheMoveLeavesBehind) {
  SecretString text(100, 'a');
  text.replace(60, 40, 40, 'b');
  const size_t capacity = text.capacity();
  const char* const memory = text.data();
  drop_front(text, 60);
  EXPECT_EQ(text, SecretString(40, 'b'));
  ASSERT_EQ(text.data(), memory);
  text.resize(capacity, 'c');  // all of it may be looked at now
  EXPECT_EQ(text.find('a'), SecretString::npos);
  drop_front(text, capacity);
  EXPECT_TRUE(text.empty());
}

TEST(EqualConstantTime, SeesADifferenceInEveryByte) {
  EXPECT_TRUE(equal_constant_time(kBytes, kBytes));
  for (size_t i = 0; i < kBytes.size(); ++i) {
    auto other = kBytes;
    other[i] ^= 0x10;
    EXPECT_FALSE(equal_constant_time(kBytes, other)) << i;
  }
  EXPECT_FALSE(equal_constant_time(kBytes, std::span(kBytes).first(31)));
  EXPECT_TRUE(equal_constant_time({}, {}));
}

}  // namespace
}  // namespace culvert::crypto
