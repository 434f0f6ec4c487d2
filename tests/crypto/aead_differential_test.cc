// The engines against libsodium: random batches, and messages whose memory ends where the next page must not be
// touched.
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "crypto/aead.h"
#include "tests/crypto/aead_engines.h"

namespace culvert::crypto {
namespace {

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kEffort = 1;
#else
constexpr int kEffort = 4;
#endif

constexpr uint8_t kUntouched = 0xa5;

// Where every message of a batch has its text, ciphertext and result, apart from each other or in place.
class Batch {
 public:
  Batch(std::mt19937_64& random, size_t count, uint32_t longest, size_t keys, bool in_place)
      : random_(random), in_place_(in_place), keys_(keys * kAeadKeyBytes) {
    randombytes_buf(keys_.data(), keys_.size());
    for (size_t i = 0; i < count; ++i) add(longest);
  }

  void make_equal_length(uint32_t length) {
    for (Entry& entry : entries_) resize(entry, length);
  }

  void seal_with(const Engine& engine) {
    std::vector<SealMessage> messages;
    for (Entry& entry : entries_) {
      entry.sealed.assign(entry.text.size() + kAeadTagBytes + kMargin, kUntouched);
      if (in_place_) std::copy(entry.text.begin(), entry.text.end(), entry.sealed.begin());
      messages.push_back({entry.key, entry.counter, in_place_ ? entry.sealed.data() : entry.text.data(),
                          entry.sealed.data(), static_cast<uint32_t>(entry.text.size())});
    }
    engine.seal(messages.data(), messages.size());
    for (const Entry& entry : entries_) {
      Bytes expected = reference_seal(entry.key, entry.counter, entry.text);
      expected.resize(entry.sealed.size(), kUntouched);
      ASSERT_TRUE(entry.sealed == expected) << "length " << entry.text.size() << " of a batch of " << entries_.size();
    }
  }

  // Breaks about one message in `odds`: a bit of its body or tag.
  void corrupt(uint64_t odds) {
    for (Entry& entry : entries_) {
      entry.broken = random_() % odds == 0;
      if (!entry.broken) continue;
      const size_t sealed_bytes = entry.text.size() + kAeadTagBytes;
      const bool tag = random_() % 2 == 0;
      const size_t at = tag ? entry.text.size() + random_() % kAeadTagBytes : random_() % sealed_bytes;
      entry.sealed[at] ^= static_cast<uint8_t>(1 << random_() % 8);
    }
  }

  void open_with(const Engine& engine) {
    std::vector<OpenMessage> messages;
    size_t intact = 0;
    for (Entry& entry : entries_) {
      if (in_place_)
        entry.opened = entry.sealed;
      else
        entry.opened.assign(entry.text.size() + kMargin, kUntouched);
      messages.push_back({entry.key, entry.counter, in_place_ ? entry.opened.data() : entry.sealed.data(),
                          entry.opened.data(), static_cast<uint32_t>(entry.text.size()), entry.broken});
      intact += !entry.broken;
    }
    ASSERT_EQ(engine.open(messages.data(), messages.size()), intact);
    for (size_t i = 0; i < entries_.size(); ++i) {
      const Entry& entry = entries_[i];
      ASSERT_EQ(messages[i].authentic, !entry.broken);
      Bytes expected = entry.broken ? Bytes(entry.text.size(), 0) : entry.text;
      if (in_place_) {
        expected.insert(expected.end(), entry.sealed.begin() + static_cast<ptrdiff_t>(entry.text.size()),
                        entry.sealed.end());
      } else {
        expected.resize(entry.opened.size(), kUntouched);
      }
      ASSERT_TRUE(entry.opened == expected) << "length " << entry.text.size() << " of a batch of " << entries_.size();
    }
  }

 private:
  static constexpr size_t kMargin = 96;

  struct Entry {
    const uint8_t* key;
    uint64_t counter;
    Bytes text;
    Bytes sealed;
    Bytes opened;
    bool broken = false;
  };

  void resize(Entry& entry, uint32_t length) {
    entry.text.resize(length);
    if (length != 0) randombytes_buf(entry.text.data(), entry.text.size());
  }

  void add(uint32_t longest) {
    // Counters around the places where their halves carry, and anywhere.
    const uint64_t counters[] = {0, random_() % 1000, (uint64_t{1} << 32) - 1 + random_() % 3,
                                 ~uint64_t{0} - random_() % 3, random_()};
    Entry entry{};
    entry.key = keys_.data() + random_() % (keys_.size() / kAeadKeyBytes) * kAeadKeyBytes;
    entry.counter = counters[random_() % std::size(counters)];
    resize(entry, static_cast<uint32_t>(random_() % (longest + 1)));
    entries_.push_back(std::move(entry));
  }

  std::mt19937_64& random_;
  bool in_place_;
  Bytes keys_;
  std::vector<Entry> entries_;
};

class AeadDifferential : public testing::TestWithParam<const Engine*> {
 protected:
  std::mt19937_64 random_{20240607};
};

TEST_P(AeadDifferential, EveryBatchSizeSealsAndOpensLikeLibsodium) {
  for (size_t count = 1; count <= 256; count += count < 40 ? 1 : 9) {
    Batch batch(random_, count, count % 3 == 0 ? 1500 : 200, count % 2 == 0 ? 64 : 1, count % 5 == 0);
    batch.seal_with(*GetParam());
    batch.corrupt(10);
    batch.open_with(*GetParam());
    if (HasFatalFailure()) return;
  }
}

TEST_P(AeadDifferential, EveryLengthUpToTwoKilobytesSealsAndOpensLikeLibsodium) {
  for (uint32_t length = 0; length <= 2100; length += kEffort > 1 ? 1 : 3) {
    for (const size_t count : {size_t{1}, size_t{2}, size_t{5}}) {
      Batch batch(random_, count, 0, count, length % 2 == 0);
      batch.make_equal_length(length);
      batch.seal_with(*GetParam());
      batch.corrupt(4);
      batch.open_with(*GetParam());
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AeadDifferential, BatchesOfEqualLengthsSealAndOpenLikeLibsodium) {
  for (const size_t count : {size_t{3}, size_t{8}, size_t{11}, size_t{16}, size_t{33}, size_t{128}, size_t{130}}) {
    for (const uint32_t length :
         {0u, 1u, 15u, 16u, 17u, 48u, 63u, 64u, 65u, 112u, 128u, 256u, 576u, 1420u, 1536u, 1537u}) {
      Batch batch(random_, count, 0, count % 3 == 0 ? 3 : 1, length % 2 == 0);
      batch.make_equal_length(length);
      batch.seal_with(*GetParam());
      batch.corrupt(length % 16 + 1);
      batch.open_with(*GetParam());
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AeadDifferential, RandomBatchesSealAndOpenLikeLibsodium) {
  for (int trial = 0; trial < 60 * kEffort; ++trial) {
    const uint32_t longest[] = {40, 200, 1500, 9000, 3000};
    const size_t count = 1 + random_() % 140;
    Batch batch(random_, count, longest[trial % 5], 1 + random_() % 64, random_() % 2 == 0);
    batch.seal_with(*GetParam());
    batch.corrupt(trial % 7 == 0 ? 1 : 20);
    batch.open_with(*GetParam());
    if (HasFatalFailure()) return;
  }
}

TEST_P(AeadDifferential, TheLongestMessagesSealAndOpenLikeLibsodium) {
  for (const uint32_t length : {65535u, 65534u, 65520u, 65473u}) {
    for (const size_t count : {size_t{1}, size_t{2}, size_t{9}}) {
      Batch batch(random_, count, length, 2, count == 2);
      if (count != 9) batch.make_equal_length(length);
      batch.seal_with(*GetParam());
      batch.corrupt(3);
      batch.open_with(*GetParam());
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AeadDifferential, AnEmptyBatchDoesNothing) {
  GetParam()->seal(nullptr, 0);
  EXPECT_EQ(GetParam()->open(nullptr, 0), 0u);
}

TEST_P(AeadDifferential, MessagesWithoutTextMayHaveANullSourceAndOnlyTheirTagIsWritten) {
  const Bytes key(kAeadKeyBytes, 9);
  Bytes tags(3 * kAeadTagBytes);
  SealMessage messages[3];
  for (int i = 0; i < 3; ++i)
    messages[i] = {key.data(), static_cast<uint64_t>(i), nullptr, tags.data() + i * kAeadTagBytes, 0};
  for (const size_t count : {size_t{1}, size_t{3}}) {
    GetParam()->seal(messages, count);
    for (size_t i = 0; i < count; ++i) {
      const Bytes expected = reference_seal(key.data(), i, {});
      EXPECT_EQ(std::memcmp(tags.data() + i * kAeadTagBytes, expected.data(), kAeadTagBytes), 0);
    }
  }
}

// Pages that may be used, between two that may not.
class GuardedPages {
 public:
  explicit GuardedPages(size_t pages) : page_(static_cast<size_t>(sysconf(_SC_PAGESIZE))), bytes_(pages * page_) {
    void* map = mmap(nullptr, bytes_ + 2 * page_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<uint8_t*>(map);
    if (mprotect(begin(), bytes_, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
  }
  ~GuardedPages() { munmap(map_, bytes_ + 2 * page_); }
  GuardedPages(const GuardedPages&) = delete;
  GuardedPages& operator=(const GuardedPages&) = delete;

  uint8_t* begin() { return map_ + page_; }
  // Where `length` bytes have to begin to end at the guard.
  uint8_t* before_end(size_t length) { return begin() + bytes_ - length; }

 private:
  size_t page_;
  size_t bytes_;
  uint8_t* map_;
};

// Seals and opens `count` messages of one length, of which the one at `guarded` lies against the guards and the others
// lie anywhere, so that it takes each place of a vector.
void run_against_guards(const Engine& engine, uint32_t length, size_t count, size_t guarded, bool at_end) {
  constexpr size_t kPages = 3;
  static GuardedPages source_pages(kPages);
  static GuardedPages destination_pages(kPages);
  const auto place = [&](GuardedPages& pages, size_t bytes) {
    return at_end ? pages.before_end(bytes) : pages.begin();
  };
  Bytes key(kAeadKeyBytes);
  randombytes_buf(key.data(), key.size());
  const size_t slot = length + kAeadTagBytes;
  Bytes texts(count * slot), sealed(count * slot);
  randombytes_buf(texts.data(), texts.size());
  std::vector<SealMessage> sealing;
  sealing.reserve(count);
  for (size_t i = 0; i < count; ++i)
    sealing.push_back({key.data(), i, texts.data() + i * slot, sealed.data() + i * slot, length});
  uint8_t* text = place(source_pages, length);
  std::copy_n(texts.data() + guarded * slot, length, text);
  sealing[guarded].source = text;
  sealing[guarded].destination = place(destination_pages, slot);
  engine.seal(sealing.data(), count);
  const Bytes expected = reference_seal(key.data(), guarded, {text, length});
  ASSERT_EQ(std::memcmp(sealing[guarded].destination, expected.data(), slot), 0) << "length " << length;

  // Opens back, from the guarded ciphertext to the guarded text's place.
  std::vector<OpenMessage> opening;
  for (const SealMessage& message : sealing) {
    opening.push_back(
        {key.data(), message.counter, message.destination, const_cast<uint8_t*>(message.source), length, false});
  }
  std::memcpy(place(destination_pages, slot), expected.data(), slot);
  ASSERT_EQ(engine.open(opening.data(), count), count) << "length " << length;
  ASSERT_EQ(std::memcmp(text, texts.data() + guarded * slot, length), 0) << "length " << length;
}

TEST_P(AeadDifferential, NothingBesideSourceAndDestinationIsTouched) {
  for (const bool at_end : {false, true}) {
    for (uint32_t length = 0; length <= 330; ++length) {
      for (const size_t count : {size_t{1}, size_t{2}, size_t{9}}) {
        run_against_guards(*GetParam(), length, count, random_() % count, at_end);
        if (HasFatalFailure()) return;
      }
    }
    for (int trial = 0; trial < 200 * kEffort; ++trial) {
      const size_t count = 1 + random_() % 40;
      run_against_guards(*GetParam(), static_cast<uint32_t>(random_() % 9000), count, random_() % count, at_end);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(AeadDifferential, MessagesOfOtherLengthsBesideOneAtTheGuardsDoNotReachOverIt) {
  GuardedPages pages(3);
  for (int trial = 0; trial < 200 * kEffort; ++trial) {
    const bool at_end = trial % 2 == 0;
    const size_t count = 2 + random_() % 20;
    const Bytes key(kAeadKeyBytes, static_cast<uint8_t>(trial));
    std::vector<Bytes> buffers;
    std::vector<SealMessage> messages;
    for (size_t i = 0; i < count; ++i) {
      const auto length = static_cast<uint32_t>(random_() % 2000);
      buffers.emplace_back(length + kAeadTagBytes, static_cast<uint8_t>(i));
      messages.push_back({key.data(), i, buffers.back().data(), buffers.back().data(), length});
    }
    const size_t guarded = random_() % count;
    const size_t slot = buffers[guarded].size();
    uint8_t* place = at_end ? pages.before_end(slot) : pages.begin();
    std::memcpy(place, buffers[guarded].data(), slot);
    messages[guarded].source = messages[guarded].destination = place;
    const Bytes expected = reference_seal(key.data(), guarded, {place, messages[guarded].length});
    GetParam()->seal(messages.data(), count);
    ASSERT_EQ(std::memcmp(place, expected.data(), slot), 0);
  }
}

CULVERT_ON_EVERY_ENGINE(AeadDifferential);

}  // namespace
}  // namespace culvert::crypto
