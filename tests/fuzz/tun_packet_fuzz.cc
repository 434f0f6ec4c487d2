// One read of a TUN device, virtio header and all: through the queue, cut, joined again and written to a device
// that takes superpackets or, if the first byte says so, refuses them.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <span>
#include <vector>

#include "src/packet/coalesce.h"
#include "src/packet/segment.h"
#include "tun/tun_queue.h"

namespace {

using culvert::io::InnerOffloads;
using culvert::packet::Coalescer;
using culvert::packet::SegmentError;
using culvert::packet::SegmentPlan;
using culvert::tun::TunQueue;

std::span<const uint8_t> waiting;
bool refuses = false;

ssize_t read_waiting(int, void* bytes, size_t length) {
  if (waiting.empty()) {
    errno = EAGAIN;
    return -1;
  }
  const size_t got = std::min(length, waiting.size());
  std::copy_n(waiting.begin(), got, static_cast<uint8_t*>(bytes));
  waiting = {};
  return static_cast<ssize_t>(got);
}

ssize_t take_write(int, const iovec* parts, int count) {
  if (refuses && static_cast<const uint8_t*>(parts[0].iov_base)[1] != 0) {
    errno = EINVAL;
    return -1;
  }
  ssize_t bytes = 0;
  for (int i = 0; i < count; ++i) bytes += static_cast<ssize_t>(parts[i].iov_len);
  return bytes;
}

int never_ready(pollfd*, nfds_t, int) {
  return 0;
}

constexpr culvert::io::Syscalls kFakes = {.read = read_waiting, .writev = take_write, .poll = never_ready};
constexpr InnerOffloads kAll = {true, true, true, true, true};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  if (length < 1) return 0;
  static Coalescer coalescer;
  static TunQueue taking(culvert::io::Fd(), true, kAll, kFakes);
  TunQueue refusing(culvert::io::Fd(), true, kAll, kFakes);
  refuses = (bytes[0] & 1) != 0;
  TunQueue& queue = refuses ? refusing : taking;
  waiting = {bytes + 1, length - 1};
  static culvert::io::PlainBatch batch;
  if (queue.read(batch) != culvert::io::ReadOutcome::ok) std::abort();
  SegmentPlan plan;
  if (batch.count == 0 || plan.plan(batch.packets[0]) != SegmentError::none) return 0;
  std::vector<std::vector<uint8_t>> segments;
  for (uint32_t i = 0; i < plan.count() && i < Coalescer::kMaxPackets; ++i) {
    plan.write(i, segments.emplace_back(plan.length(i)).data());
    culvert::packet::IpHeader ip;
    if (culvert::packet::parse_ip(segments.back(), ip) != culvert::packet::IpError::none) std::abort();
    coalescer.add(segments.back().data(), ip, kAll);
  }
  const auto joined = coalescer.finish();
  if (queue.write(joined) != joined.size()) std::abort();
  coalescer.clear();
  return 0;
}
