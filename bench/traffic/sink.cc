#include "bench/traffic/sink.h"

#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <poll.h>
#include <sys/prctl.h>

#include <array>
#include <chrono>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "bench/traffic/clock.h"
#include "bench/traffic/control.h"
#include "bench/traffic/end_signal.h"
#include "bench/traffic/sockets.h"
#include "io/poller.h"

namespace culvert::traffic {
namespace {

// Room for some hundredths of a second at any rate: the sink shares its core with what is measured, and the machine may
// pause it.
constexpr int kReceiveBufferBytes = 128 << 20;

constexpr size_t kSlots = 64;
constexpr size_t kSlotBytes = 65536;
// Slots that all started at the same place of a page would fight for few sets of the cache.
constexpr size_t kSlotStride = kSlotBytes + 3 * size_t{64};

// Where datagrams come, more come soon. A sink that waited for each would be woken by each, on the sender's time: with
// an idle core of a virtual machine that takes longer than all the rest.
constexpr int64_t kNap = 100'000;

constexpr uint64_t kSignalTag = 0;

}  // namespace

io::Result<std::unique_ptr<Sink>> Sink::open(const io::Endpoint& bind) {
  auto socket = open_bound(bind, SOCK_DGRAM | SOCK_NONBLOCK);
  if (!socket) return socket.error();
  set_receive_buffer(socket->get(), kReceiveBufferBytes);
  // Without it (Linux before 5.0) datagrams come one by one.
  (void)set_option(socket->get(), SOL_UDP, UDP_GRO, 1, "UDP_GRO");
  return std::unique_ptr<Sink>(new Sink(std::move(*socket)));
}

Sink::Sink(io::Fd socket)
    : socket_(std::move(socket)), memory_(kSlots * kSlotStride), slots_(kSlots), headers_(kSlots) {
  for (size_t i = 0; i < kSlots; ++i) {
    slots_[i].bytes = memory_.data() + i * kSlotStride;
    slots_[i].part = {slots_[i].bytes, kSlotBytes};
  }
}

size_t Sink::drain() {
  size_t total = 0;
  for (int batch = 0; batch < kMaxBatches; ++batch) {
    for (size_t i = 0; i < kSlots; ++i) {
      msghdr& message = headers_[i].msg_hdr;
      message = {};
      message.msg_iov = &slots_[i].part;
      message.msg_iovlen = 1;
      message.msg_control = slots_[i].control.bytes;
      message.msg_controllen = sizeof slots_[i].control.bytes;
    }
    const int count = ::recvmmsg(socket_.get(), headers_.data(), kSlots, MSG_DONTWAIT, nullptr);
    if (count <= 0) break;
    const int64_t now = now_ns();
    for (int i = 0; i < count; ++i) {
      const io::ReceivedControl control = io::read_control(headers_[i].msg_hdr);
      counts_.record({slots_[i].bytes, headers_[i].msg_len}, control.segment_size, now);
    }
    total += static_cast<size_t>(count);
    if (count < static_cast<int>(kSlots)) break;
  }
  return total;
}

void Sink::reset() {
  counts_.reset();
  drops_before_ = kernel_drops();
}

uint64_t Sink::kernel_drops() const {
  std::array<uint32_t, SK_MEMINFO_VARS> info{};
  socklen_t length = sizeof info;
  return ::getsockopt(socket_.get(), SOL_SOCKET, SO_MEMINFO, info.data(), &length) == 0 ? info[SK_MEMINFO_DROPS] : 0;
}

std::string Sink::report() const {
  nlohmann::ordered_json json;
  json["datagrams"] = counts_.datagrams();
  json["bytes"] = counts_.bytes();
  json["messages"] = counts_.messages();
  json["lost"] = counts_.lost();
  json["reordered"] = counts_.reordered();
  json["duplicates"] = counts_.duplicates();
  json["seconds"] = seconds_of(counts_.duration_ns());
  json["overflows"] = kernel_drops() - drops_before_;
  json["delay_mean_us"] = counts_.mean_delay_us();
  json["delay_max_us"] = counts_.max_delay_us();
  return json.dump();
}

io::Result<std::string> run_sink(const io::Endpoint& bind, const std::string& control_path) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto end = EndSignal::open(*poller, kSignalTag);
  if (!end) return end.error();
  auto sink = Sink::open(bind);
  if (!sink) return sink.error();
  auto control = ControlServer::open(control_path, *poller);
  if (!control) return control.error();
  std::puts("ready");
  std::fflush(stdout);

  const auto answer = [&sink](std::string_view line) -> std::string {
    // What has arrived counts, also if its turn would come later.
    (*sink)->drain();
    if (line == "reset")
      (*sink)->reset();
    else if (line != "report")
      return R"({"error": "say reset or report"})";
    return (*sink)->report();
  };
  ::prctl(PR_SET_TIMERSLACK, 1UL);
  std::array<io::PollEvent, 16> events;
  for (;;) {
    for (const io::PollEvent& event : poller->wait(events, std::chrono::nanoseconds(0))) {
      if (event.tag == kSignalTag) {
        (*sink)->drain();
        return (*sink)->report();
      }
      control->serve(event.tag, *poller, answer);
    }
    if ((*sink)->drain() > 0) {
      sleep_until(now_ns() + kNap);
    } else {
      pollfd waiting[2] = {{(*sink)->fd(), POLLIN, 0}, {poller->fd(), POLLIN, 0}};
      ::poll(waiting, 2, -1);
    }
  }
}

}  // namespace culvert::traffic
