#include "bench/traffic/stream_run.h"

#include <sys/prctl.h>

#include <algorithm>

#include "bench/traffic/clock.h"
#include "bench/traffic/pacer.h"

namespace culvert::traffic {
namespace {

io::Status send_unlimited(Sender& sender, int64_t end) {
  for (int64_t now = now_ns(); now < end; now = now_ns())
    if (io::Status sent = sender.send(UINT64_MAX, now); !sent) return sent;
  return io::Success{};
}

io::Status send_paced(Sender& sender, double rate, int64_t start, int64_t end) {
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  Pacer pacer(rate, start);
  const auto due_in_interval = static_cast<uint64_t>(rate * static_cast<double>(kPaceInterval) / 1e9);
  for (int64_t now = now_ns(); now < end; now = now_ns()) {
    const uint64_t due = pacer.due(now);
    if (due < sender.next_message_datagrams()) {
      const uint64_t awaited = std::max<uint64_t>(due_in_interval, sender.next_message_datagrams());
      sleep_until(std::min(end, pacer.time_when_due(awaited)));
      continue;
    }
    const uint64_t before = sender.counts().datagrams;
    if (io::Status sent = sender.send(due, now); !sent) return sent;
    pacer.sent(sender.counts().datagrams - before);
  }
  return io::Success{};
}

}  // namespace

io::Result<StreamResult> send_stream(Sender& sender, const StreamRun& run) {
  const double in_message_time = run.rate * static_cast<double>(kMaxMessageTime) / 1e9;
  sender.begin_run(run.run,
                   run.rate == 0 ? UINT32_MAX : static_cast<uint32_t>(std::clamp(in_message_time, 1.0, 65535.0)));
  const int64_t start = now_ns();
  const int64_t end = start + static_cast<int64_t>(run.seconds * static_cast<double>(kSecond));
  const io::Status sent = run.rate == 0 ? send_unlimited(sender, end) : send_paced(sender, run.rate, start, end);
  if (!sent) return sent.error();
  return StreamResult{sender.counts(), seconds_of(now_ns() - start)};
}

}  // namespace culvert::traffic
