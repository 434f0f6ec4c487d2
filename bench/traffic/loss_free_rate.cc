#include "bench/traffic/loss_free_rate.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/traffic/clock.h"
#include "bench/traffic/control.h"
#include "bench/traffic/stream_run.h"
#include "crypto/random.h"

namespace culvert::traffic {
namespace {

// A trial is over when the sink's count has stood still for this long, or everything has arrived.
constexpr int64_t kStillTime = 100'000'000;
constexpr int64_t kLookInterval = 10'000'000;
constexpr int64_t kMaxSettleTime = 5 * kSecond;

// Before the trials: until the path carries something, a handshake for one.
constexpr double kFirstSeconds = 0.05;
constexpr double kFirstRate = 100;
constexpr int kFirstAttempts = 100;

class Trials {
 public:
  Trials(Sender& sender, ControlClient& sink, double seconds)
      : sender_(sender), sink_(sink), seconds_(seconds), run_(static_cast<uint16_t>(crypto::random_uint32())) {}

  io::Result<Trial> run(double rate, double seconds) {
    if (auto answer = sink_.ask("reset"); !answer) return answer.error();
    auto result = send_stream(sender_, {.run = run_++, .rate = rate, .seconds = seconds});
    if (!result) return result.error();
    const auto received = settled(result->sent.datagrams);
    if (!received) return received.error();
    sent_datagrams_ += result->sent.datagrams;
    sent_bytes_ += result->sent.bytes;
    return Trial{result->rate(), result->sent.datagrams, *received};
  }
  io::Result<Trial> run(double rate) { return run(rate, seconds_); }

  io::Status open_path() {
    for (int attempt = 0; attempt < kFirstAttempts; ++attempt) {
      const auto first = run(kFirstRate, kFirstSeconds);
      if (!first) return first.error();
      if (first->received > 0) return io::Success{};
    }
    return io::Error{0, "nothing arrives at the sink (is --control that of the sink at --to and --port?)"};
  }

  double mean_bytes() const {
    return sent_datagrams_ == 0 ? 0 : static_cast<double>(sent_bytes_) / static_cast<double>(sent_datagrams_);
  }

 private:
  // What the sink has, once nothing more comes; duplicates do not count.
  io::Result<uint64_t> settled(uint64_t sent) {
    uint64_t received = 0;
    const int64_t start = now_ns();
    for (int64_t now = start, changed = start; now < start + kMaxSettleTime; now = now_ns()) {
      const auto answer = sink_.ask("report");
      if (!answer) return answer.error();
      const auto report = nlohmann::json::parse(*answer, nullptr, false);
      if (!report.contains("datagrams") || !report.contains("duplicates"))
        return io::Error{0, "no report of a sink: " + *answer};
      const uint64_t count = report["datagrams"].get<uint64_t>() - report["duplicates"].get<uint64_t>();
      if (count != received) changed = now;
      received = count;
      if (received >= sent || now - changed > kStillTime) break;
      sleep_until(now + kLookInterval);
    }
    return received;
  }

  Sender& sender_;
  ControlClient& sink_;
  const double seconds_;
  uint16_t run_;
  uint64_t sent_datagrams_ = 0;
  uint64_t sent_bytes_ = 0;
};

}  // namespace

io::Result<LossFreeRate> find_loss_free_rate(const LossFreeRateOptions& options) {
  auto sink = ControlClient::connect(options.control_path);
  if (!sink) return sink.error();
  auto sender = Sender::open(options.sender);
  if (!sender) return sender.error();
  Trials trials(**sender, *sink, options.trial_seconds);
  if (io::Status open = trials.open_path(); !open) return open.error();
  auto found = search_rate(options.search, [&trials](double rate) { return trials.run(rate); });
  if (!found) return found.error();
  LossFreeRate result{std::move(*found), 0};
  result.gbps = result.search.pps * trials.mean_bytes() * 8 / 1e9;
  return result;
}

}  // namespace culvert::traffic
