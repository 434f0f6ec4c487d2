#include "src/protocol/tai64n.h"

#include <bit>

#include "src/protocol/messages.h"

namespace culvert::protocol {
namespace {

// TAI64 counts from 2^62, and TAI was 10 s ahead of UTC in 1970; leap seconds since then are left out, as all
// implementations of WireGuard do.
constexpr uint64_t kTai64Epoch = (uint64_t{1} << 62) + 10;
constexpr uint64_t kGranularityNs = std::bit_floor(static_cast<uint64_t>(kInitiationInterval.count()));
static_assert(kGranularityNs == uint64_t{1} << 24);

}  // namespace

Tai64n tai64n(WallTime now) {
  const auto whole = std::chrono::floor<std::chrono::seconds>(now);
  const uint64_t seconds = kTai64Epoch + static_cast<uint64_t>(whole.time_since_epoch().count());
  const auto nanoseconds = static_cast<uint64_t>((now - whole).count()) / kGranularityNs * kGranularityNs;
  Tai64n stamp;
  for (int i = 0; i < 8; ++i) stamp.bytes[i] = static_cast<uint8_t>(seconds >> (56 - 8 * i));
  for (int i = 0; i < 4; ++i) stamp.bytes[8 + i] = static_cast<uint8_t>(nanoseconds >> (24 - 8 * i));
  return stamp;
}

}  // namespace culvert::protocol
