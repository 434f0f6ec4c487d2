#include "bench/traffic/message_plan.h"

#include <algorithm>
#include <charconv>

#include "bench/traffic/datagram.h"
#include "io/udp_sockets.h"

namespace culvert::traffic {
namespace {

constexpr uint32_t kUdpHeaderBytes = 8;
constexpr uint32_t kIpv4HeaderBytes = 20;
constexpr uint32_t kIpv6HeaderBytes = 40;

constexpr uint32_t kSmall = 64, kMedium = 576, kLarge = 1420;
constexpr uint32_t kSmallShare = 7, kMediumShare = 4, kLargeShare = 1;
constexpr uint32_t kMixed[] = {kSmall, kMedium, kSmall, kSmall,  kMedium, kSmall,
                               kSmall, kMedium, kSmall, kMedium, kSmall,  kLarge};
static_assert(std::ranges::count(kMixed, kSmall) == kSmallShare);
static_assert(std::ranges::count(kMixed, kMedium) == kMediumShare);
static_assert(std::ranges::count(kMixed, kLarge) == kLargeShare);

std::vector<MessageShape> plan_imix(io::Family family, uint32_t max_datagrams) {
  const uint32_t headers = kUdpHeaderBytes + (family == io::Family::v4 ? kIpv4HeaderBytes : kIpv6HeaderBytes);
  std::vector<MessageShape> plan;
  if (const uint32_t times = max_datagrams / kSmallShare; times > 0) {
    plan = {{kSmall - headers, times * kSmallShare},
            {kMedium - headers, times * kMediumShare},
            {kLarge - headers, times * kLargeShare}};
  } else {
    for (const uint32_t packet : kMixed) plan.push_back({packet - headers, 1});
  }
  return plan;
}

}  // namespace

std::optional<PayloadSize> parse_payload_size(std::string_view text) {
  if (text == "imix") return PayloadSize{0};
  uint32_t bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (bytes < kMinPayloadBytes || bytes > kMaxPayloadBytes) return std::nullopt;
  return PayloadSize{bytes};
}

std::vector<MessageShape> plan_messages(PayloadSize size, io::Family family, uint32_t max_datagrams) {
  if (size.imix()) return plan_imix(family, max_datagrams);
  const auto fitting = static_cast<uint32_t>(io::kMaxTrainBytes) / size.bytes;
  return {{size.bytes, std::clamp(fitting, uint32_t{1}, max_datagrams)}};
}

}  // namespace culvert::traffic
