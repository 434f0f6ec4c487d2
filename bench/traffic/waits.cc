#include "bench/traffic/waits.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

#include "bench/traffic/clock.h"
#include "bench/traffic/packet_tap.h"
#include "bench/traffic/sockets.h"
#include "src/protocol/messages.h"

namespace culvert::traffic {
namespace {

constexpr int kLingerMs = 200;  // for the last probes
constexpr size_t kLongestPayload = inner_length_of(kProbeLengths - 1);
constexpr int kEct1 = 1;
constexpr int64_t kClockStepNs = 20'000;  // that a clock which is only disciplined does not make within a probe's way

// The clock of the kernel's stamps.
int64_t real_now_ns() {
  timespec time{};
  clock_gettime(CLOCK_REALTIME, &time);
  return time.tv_sec * kSecond + time.tv_nsec;
}

// Puts the calling thread into a network namespace until the end of its life.
class InNamespace {
 public:
  static io::Result<InNamespace> enter(const std::string& path) {
    io::Fd before(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
    const io::Fd there(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!before || !there || ::setns(there.get(), CLONE_NEWNET) != 0)
      return io::Error{errno, "enter the network namespace " + path};
    return InNamespace(std::move(before));
  }
  InNamespace(InNamespace&&) = default;
  InNamespace& operator=(InNamespace&&) = delete;
  ~InNamespace() {
    if (before_) (void)::setns(before_.get(), CLONE_NEWNET);
  }

 private:
  explicit InNamespace(io::Fd before) : before_(std::move(before)) {}

  io::Fd before_;
};

struct Ends {
  io::Fd sender, receiver;
  std::vector<std::pair<PacketTap, Place>> taps;
};

io::Result<Ends> open_ends(const WaitsOptions& options) {
  const TapFilter inner = {options.to.remote.family, options.to.port}, outer = {options.outer_family, 0};
  Ends ends;
  std::optional<io::Error> problem;
  const auto tap = [&](const std::string& device, Place place) {
    const bool leaving = place == Place::near_inner || place == Place::near_outer;
    const bool inside = place == Place::near_inner || place == Place::far_inner;
    auto opened = PacketTap::open(device, leaving, inside ? inner : outer);
    if (opened)
      ends.taps.emplace_back(std::move(*opened), place);
    else
      problem = opened.error();
  };
  tap(options.near_inner, Place::near_inner);
  tap(options.near_outer, Place::near_outer);
  {
    auto there = InNamespace::enter(options.far_namespace);
    if (!there) return there.error();
    tap(options.far_outer, Place::far_outer);
    tap(options.far_inner, Place::far_inner);
    auto receiver = open_bound(options.to, SOCK_DGRAM);
    if (!receiver) return receiver.error();
    ends.receiver = std::move(*receiver);
  }
  if (problem) return *problem;
  auto sender = open_socket(options.to, SOCK_DGRAM);
  if (!sender) return sender.error();
  ends.sender = std::move(*sender);
  if (io::Status connected = connect_to(ends.sender.get(), options.to); !connected) return connected.error();
  const bool v6 = options.to.remote.family == io::Family::v6;
  const io::Status marked = v6 ? set_option(ends.sender.get(), IPPROTO_IPV6, IPV6_TCLASS, kEct1, "IPV6_TCLASS")
                               : set_option(ends.sender.get(), IPPROTO_IP, IP_TOS, kEct1, "IP_TOS");
  if (!marked) return marked.error();
  return ends;
}

std::optional<uint32_t> sequence_in(const uint8_t* payload, size_t bytes) {
  protocol::Le32 sequence;
  if (bytes < sizeof sequence) return std::nullopt;
  std::memcpy(&sequence, payload, sizeof sequence);
  return static_cast<uint32_t>(sequence);
}

// A moment by the clock of the kernel's stamps, and how far that is from the one that nobody sets.
struct Moment {
  int64_t real_ns = 0, offset_ns = 0;

  static Moment now() {
    const int64_t real = real_now_ns();
    return {real, real - now_ns()};
  }
};

struct Arrival {
  uint32_t sequence;
  Moment at;
};

// Until `over`, and then as long as anything comes.
void receive(int fd, const std::atomic<bool>& over, std::vector<Arrival>& arrivals) {
  std::array<uint8_t, kLongestPayload> bytes;
  pollfd readable = {fd, POLLIN, 0};
  while (::poll(&readable, 1, kLingerMs) > 0 || !over.load(std::memory_order_relaxed)) {
    const ssize_t got = ::recv(fd, bytes.data(), bytes.size(), MSG_DONTWAIT);
    const Moment at = Moment::now();
    if (got < 0) continue;
    if (const auto sequence = sequence_in(bytes.data(), static_cast<size_t>(got))) arrivals.push_back({*sequence, at});
  }
}

// Yields how far the clocks were apart when each probe left.
std::vector<int64_t> send_probes(const WaitsOptions& options, int fd, ProbeLog& log) {
  (void)::prctl(PR_SET_TIMERSLACK, 1);
  const uint32_t headers = options.to.remote.family == io::Family::v6 ? 48 : 28;
  const auto count = static_cast<uint32_t>(options.rate * options.seconds);
  const auto gap = static_cast<int64_t>(static_cast<double>(kSecond) / options.rate);
  std::array<uint8_t, kLongestPayload> bytes{};
  std::vector<int64_t> offsets(count);
  const int64_t start = now_ns();
  for (uint32_t sequence = 0; sequence < count; ++sequence) {
    sleep_until(start + sequence * gap);
    const protocol::Le32 number(sequence);
    std::memcpy(bytes.data(), &number, sizeof number);
    const Moment at = Moment::now();
    log.sent(at.real_ns);
    offsets[sequence] = at.offset_ns;
    (void)::send(fd, bytes.data(), inner_length_of(sequence) - headers, 0);  // what does not leave is not seen again
  }
  return offsets;
}

}  // namespace

io::Result<ProbeLog> measure_waits(const WaitsOptions& options) {
  auto ends = open_ends(options);
  if (!ends) return ends.error();
  const auto expected = static_cast<size_t>(options.rate * options.seconds) + 1;
  ProbeLog log(expected);
  std::vector<Arrival> arrivals;
  arrivals.reserve(expected);
  std::atomic<bool> over{false};  // relaxed: the thread is joined
  std::thread receiver([&] { receive(ends->receiver.get(), over, arrivals); });
  const std::vector<int64_t> offsets = send_probes(options, ends->sender.get(), log);
  over.store(true, std::memory_order_relaxed);
  receiver.join();
  for (const auto& [tap, place] : ends->taps) {
    tap.drain([&, where = place](const PacketTap::Sighting& seen) {
      if (where == Place::near_outer || where == Place::far_outer) {
        if (const auto turn = turn_of_message(seen.payload_bytes)) log.seen_by_turn(*turn, where, seen.at_ns);
      } else if (const auto sequence = sequence_in(seen.payload, seen.captured_bytes)) {
        log.seen(*sequence, where, seen.at_ns);
      }
    });
  }
  for (const Arrival& arrival : arrivals) {
    log.seen(arrival.sequence, Place::received, arrival.at.real_ns);
    const bool known = arrival.sequence < offsets.size();
    if (known && std::abs(arrival.at.offset_ns - offsets[arrival.sequence]) > kClockStepNs)
      log.forget(arrival.sequence);
  }
  return log;
}

}  // namespace culvert::traffic
