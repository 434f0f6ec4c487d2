#include "bench/aead_ring.h"

#include <benchmark/benchmark.h>
#include <sodium.h>
#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstdlib>
#include <numeric>

namespace culvert::bench {
namespace {

constexpr size_t kHeaderBytes = 16;  // of a transport data message, in front of what is sealed
constexpr size_t kCacheLine = 64;
constexpr size_t kHugePage = size_t{2} << 20;
constexpr size_t kAreas = 3;

// Source and destination of a message shall not agree in their low 12 bits, or every load would wait for an
// unrelated store (4 KiB aliasing), which no implementation is to be blamed for.
constexpr size_t kAreaSkew = 1088;

constexpr uint32_t kImix[] = {64, 576, 64, 576, 64, 1420, 64, 576, 64, 64, 576, 64};

uint32_t length_of(PacketSize size, size_t i) {
  return size.value_or(kImix[i % std::size(kImix)]);
}

size_t round_up(size_t value, size_t to) {
  return (value + to - 1) / to * to;
}

}  // namespace

double mean_bytes(PacketSize size) {
  const double imix_sum = std::accumulate(std::begin(kImix), std::end(kImix), 0.0);
  return size ? *size : imix_sum / std::size(kImix);
}

size_t l2_bytes() {
  for (const auto& cache : benchmark::CPUInfo::Get().caches)
    if (cache.level == 2 && cache.size > 0) return static_cast<size_t>(cache.size);
  return size_t{1} << 20;
}

Ring::Ring(PacketSize size, size_t key_count) {
  const size_t largest = size.value_or(*std::max_element(std::begin(kImix), std::end(kImix)));
  slot_bytes_ = round_up(kHeaderBytes + largest + crypto::kAeadTagBytes, kCacheLine) + kCacheLine;
  count_ = std::max(kMaxBatch, round_up(2 * l2_bytes() / slot_bytes_, kMaxBatch));
  hot_count_ = std::clamp(std::bit_floor(l2_bytes() / 2 / (2 * slot_bytes_)), size_t{1}, kMaxBatch);

  const size_t area_bytes = round_up(count_ * slot_bytes_, kHugePage) + kAreaSkew;
  memory_bytes_ = round_up(kAreas * area_bytes, kHugePage);
  void* mapped = mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapped == MAP_FAILED) {
    std::perror("aead_bench: mmap");
    std::exit(1);
  }
  madvise(mapped, memory_bytes_, MADV_HUGEPAGE);
  memory_ = static_cast<uint8_t*>(mapped);
  randombytes_buf(memory_, memory_bytes_);

  for (size_t i = 0; i < count_; ++i) {
    uint8_t* plain = memory_ + i * slot_bytes_ + kHeaderBytes;
    uint8_t* sealed = plain + area_bytes;
    const uint8_t* key = keys()[i % key_count].data();
    to_seal_.push_back({key, i, plain, sealed, length_of(size, i)});
    to_open_.push_back({key, i, sealed, sealed + area_bytes, length_of(size, i), false});
  }
  Contenders sealer;
  add_libsodium(sealer);
  sealer.front()->seal(to_seal_);
}

Ring::~Ring() {
  munmap(memory_, memory_bytes_);
}

std::span<const crypto::SealMessage> Ring::next_to_seal(Temperature temperature, size_t batch) {
  return std::span(to_seal_).subspan(advance(temperature, batch), batch);
}

std::span<crypto::OpenMessage> Ring::next_to_open(Temperature temperature, size_t batch) {
  return std::span(to_open_).subspan(advance(temperature, batch), batch);
}

size_t Ring::advance(Temperature temperature, size_t batch) {
  const size_t limit = temperature == Temperature::kCold ? count_ : std::max(hot_count_, batch);
  const size_t start = position_ + batch <= limit ? position_ : 0;
  position_ = start + batch;
  return start;
}

}  // namespace culvert::bench
