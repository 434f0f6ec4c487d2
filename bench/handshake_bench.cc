// Handshakes per second and core, stage by stage, and what they are made of.
#include <benchmark/benchmark.h>

#include <array>
#include <chrono>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "bench/cpu_clock.h"
#include "bench/main.h"
#include "crypto/blake2s.h"
#include "crypto/x25519.h"
#include "src/protocol/cookie.h"
#include "src/protocol/noise.h"

namespace culvert::bench {
namespace {

struct Side {
  protocol::StaticIdentity identity{crypto::generate_x25519_private_key()};
  protocol::CookieChecker checker{identity.public_key()};
};

// The stages of a handshake, macs included. A responder's work for one initiation is kRespond, an initiator's
// is kInitiate and kFinish.
enum class Stage : uint8_t { kInitiate, kRespond, kFinish, kAll };

struct StageName {
  Stage stage;
  const char* name;
};

constexpr StageName kStages[] = {
    {Stage::kInitiate, "initiator/create_initiation"},
    {Stage::kRespond, "responder/consume_initiation_create_response"},
    {Stage::kFinish, "initiator/consume_response"},
    {Stage::kAll, "both_sides"},
};

// Two sides that shake hands again and again, 100 ms apart by the clock that they are given.
class Pair {
 public:
  Pair() {
    ready_ = to_responder_.precompute_static_static(initiator_.identity) &&
             to_initiator_.precompute_static_static(responder_.identity);
  }

  // One handshake from the first message to the keys of both sides. False if anything was refused.
  bool shake_hands() {
    now_ += std::chrono::milliseconds(100);
    begin_[0] = CpuClock::now();
    protocol::HandshakeInitiation initiation;
    bool ok = ready_ && initiate(initiation);
    begin_[1] = CpuClock::now();
    protocol::HandshakeResponse response;
    ok = ok && respond(initiation, response);
    begin_[2] = CpuClock::now();
    ok = ok && finish(response);
    begin_[3] = CpuClock::now();
    return ok;
  }

  // When a stage of the last handshake began and ended.
  [[nodiscard]] std::pair<CpuClock::time_point, CpuClock::time_point> times_of(Stage stage) const {
    if (stage == Stage::kAll) return {begin_.front(), begin_.back()};
    const auto i = static_cast<size_t>(stage);
    return {begin_[i], begin_[i + 1]};
  }

 private:
  bool initiate(protocol::HandshakeInitiation& out) {
    const protocol::Tai64n timestamp = protocol::tai64n(protocol::WallTime(now_));
    if (!to_responder_.create_initiation(initiator_.identity, 1, timestamp, out)) return false;
    to_responder_macs_.add_macs(protocol::wire_bytes(out), protocol::Instant(now_));
    return true;
  }

  bool respond(const protocol::HandshakeInitiation& message, protocol::HandshakeResponse& out) {
    if (!responder_.checker.mac1_key().verify(protocol::wire_bytes(message))) return false;
    std::optional<protocol::OpenedInitiation> opened = open_initiation(responder_.identity, message);
    if (!opened ||
        to_initiator_.consume_initiation(*opened, protocol::Instant(now_)) != protocol::InitiationVerdict::ok)
      return false;
    if (!to_initiator_.create_response(2, out)) return false;
    to_initiator_macs_.add_macs(protocol::wire_bytes(out), protocol::Instant(now_));
    return to_initiator_.begin_session().has_value();
  }

  bool finish(const protocol::HandshakeResponse& message) {
    return initiator_.checker.mac1_key().verify(protocol::wire_bytes(message)) &&
           to_responder_.consume_response(initiator_.identity, message) && to_responder_.begin_session().has_value();
  }

  Side initiator_;
  Side responder_;
  protocol::Handshake to_responder_{responder_.identity.public_key()};
  protocol::Handshake to_initiator_{initiator_.identity.public_key()};
  protocol::CookieGenerator to_responder_macs_{responder_.identity.public_key()};
  protocol::CookieGenerator to_initiator_macs_{initiator_.identity.public_key()};
  bool ready_ = false;
  std::chrono::nanoseconds now_{std::chrono::hours(24)};
  std::array<CpuClock::time_point, 4> begin_;
};

void report_rate(benchmark::State& state) {
  state.counters["per_second"] =
      benchmark::Counter(static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

// A handshake cannot be repeated without the stages before it, so that each iteration runs all of them and
// counts the time of one.
void handshake(benchmark::State& state, Stage stage) {
  Pair pair;
  for (auto _ : state) {
    if (!pair.shake_hands()) {
      state.SkipWithError("a message was refused");
      break;
    }
    const auto [start, end] = pair.times_of(stage);
    set_iteration_time(state, start, end);
  }
  report_rate(state);
}

void x25519_public_key(benchmark::State& state) {
  const auto key = crypto::generate_x25519_private_key();
  std::array<uint8_t, crypto::kX25519Bytes> public_key;
  for (auto _ : state) {
    crypto::x25519_public_key(public_key, key);
    benchmark::DoNotOptimize(public_key);
  }
  report_rate(state);
}

void x25519_shared(benchmark::State& state) {
  const auto key = crypto::generate_x25519_private_key();
  const auto remote = crypto::generate_x25519_private_key();
  std::array<uint8_t, crypto::kX25519Bytes> remote_public_key;
  crypto::x25519_public_key(remote_public_key, remote);
  crypto::Secret<crypto::kX25519Bytes> shared;
  for (auto _ : state) benchmark::DoNotOptimize(crypto::x25519(shared, key, remote_public_key));
  report_rate(state);
}

// Input of `bytes` bytes for the hashes, and the rates they reach with it.
std::vector<uint8_t> hash_input(const benchmark::State& state) {
  return std::vector<uint8_t>(static_cast<size_t>(state.range(0)), 0x5a);
}

void report_hashes(benchmark::State& state) {
  const auto bytes = static_cast<double>(state.iterations() * state.range(0));
  state.counters["bytes"] = benchmark::Counter(bytes, benchmark::Counter::kIsRate);
  report_rate(state);
}

void blake2s(benchmark::State& state) {
  const std::vector<uint8_t> input = hash_input(state);
  for (auto _ : state) benchmark::DoNotOptimize(crypto::blake2s({input}));
  report_hashes(state);
}

void blake2s_mac(benchmark::State& state) {
  const std::vector<uint8_t> input = hash_input(state);
  const std::array<uint8_t, 32> key{1, 2, 3};
  protocol::Mac mac;
  for (auto _ : state) {
    crypto::blake2s_keyed(mac, key, {input});
    benchmark::DoNotOptimize(mac);
  }
  report_hashes(state);
}

void kdf2(benchmark::State& state) {
  const std::vector<uint8_t> input = hash_input(state);
  crypto::Secret<crypto::kHashBytes> chaining_key;
  crypto::Secret<crypto::kHashBytes> key;
  for (auto _ : state) crypto::kdf2(chaining_key.bytes(), input, chaining_key, key);
  report_hashes(state);
}

}  // namespace

void register_benchmarks() {
  for (const StageName& row : kStages) {
    benchmark::RegisterBenchmark((std::string("handshake/") + row.name).c_str(),
                                 [&row](benchmark::State& state) { handshake(state, row.stage); })
        ->UseManualTime();
  }
  benchmark::RegisterBenchmark("x25519/public_key", x25519_public_key);
  benchmark::RegisterBenchmark("x25519/shared", x25519_shared);
  benchmark::RegisterBenchmark("blake2s/hash", blake2s)->ArgName("bytes")->Arg(32)->Arg(64)->Arg(148)->Arg(16384);
  benchmark::RegisterBenchmark("blake2s/mac", blake2s_mac)->ArgName("bytes")->Arg(32)->Arg(64)->Arg(116)->Arg(148);
  benchmark::RegisterBenchmark("blake2s/kdf2", kdf2)->ArgName("bytes")->Arg(32);
}

}  // namespace culvert::bench
