#include "bench/traffic/sender.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "bench/traffic/datagram.h"
#include "bench/traffic/sockets.h"
#include "io/udp_sockets.h"

namespace culvert::traffic {
namespace {

// Messages of one system call. The payloads of a batch stay in the cache.
constexpr size_t kMaxBatch = 64;
constexpr size_t kBatchMemoryBytes = size_t{1} << 20;

// Linux before 6.9 takes 64 datagrams in a superpacket (UDP_MAX_SEGMENTS).
constexpr uint32_t kOldMaxTrainDatagrams = 64;

constexpr int kStallMs = 100;

std::string advice_for(int error, bool gso) {
  switch (error) {
    case ECONNREFUSED:
      return " (nothing listens there: start `lab_traffic sink` first)";
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENOKEY:
    case EDESTADDRREQ:
      return " (no way there: is the tunnel up, with a peer for this address?)";
    case EINVAL:
    case EMSGSIZE:
      return gso ? " (with --gso a datagram must fit the MTU: use a smaller --size)" : " (use a smaller --size)";
    case EIO:
      return " (--gso needs checksum offload on the interface before Linux 6.11: see `ethtool -k`)";
    default:
      return "";
  }
}

}  // namespace

io::Result<std::unique_ptr<Sender>> Sender::open(const SenderOptions& options) {
  std::unique_ptr<Sender> sender(new Sender(options));
  if (io::Status status = sender->open_flows(); !status) return status.error();
  sender->kernel_limit_ = options.gso ? static_cast<uint32_t>(io::kMaxTrainDatagrams) : 1;
  sender->begin_run(0);
  sender->allocate();
  return sender;
}

io::Status Sender::open_flows() {
  for (uint16_t i = 0; i < options_.flows; ++i) {
    auto socket = open_socket(options_.to, SOCK_DGRAM | SOCK_NONBLOCK);
    if (!socket) return socket.error();
    if (io::Status connected = connect_to(socket->get(), options_.to); !connected) return connected;
    flows_.push_back({std::move(*socket)});
  }
  return io::Success{};
}

// Slots for the largest message of the plan, which never grows. Their distance is odd in cache lines: headers at the
// same place of every page would fight for few sets of the cache.
void Sender::allocate() {
  constexpr size_t kCacheLine = 64;
  size_t largest = 0;
  for (const MessageShape& shape : plan_) largest = std::max<size_t>(largest, shape.bytes());
  const size_t stride = (largest / (2 * kCacheLine) + 1) * 2 * kCacheLine + kCacheLine;
  const size_t count = std::clamp<size_t>(kBatchMemoryBytes / stride, 1, kMaxBatch);
  memory_.resize(stride * count);
  for (size_t i = 0; i < memory_.size(); ++i) memory_[i] = static_cast<uint8_t>(i * 31);
  slots_.resize(count);
  headers_.resize(count);
  for (size_t i = 0; i < count; ++i) slots_[i].payload = memory_.data() + i * stride;
}

void Sender::begin_run(uint16_t run, uint32_t max_message_datagrams) {
  run_limit_ = max_message_datagrams;
  counts_ = {};
  turn_ = 0;
  for (size_t i = 0; i < flows_.size(); ++i) {
    flows_[i].stream = stream_of(run, static_cast<uint16_t>(i));
    flows_[i].next_sequence = 0;
  }
  make_plan();
}

void Sender::make_plan() {
  plan_ = plan_messages(options_.size, options_.to.remote.family, std::min(kernel_limit_, run_limit_));
  place_ = 0;
}

io::Status Sender::send(uint64_t budget, int64_t now) {
  Flow& flow = flows_[turn_];
  turn_ = (turn_ + 1) % flows_.size();
  return hand_over(flow, fill(flow, budget, now));
}

// Writes as many messages as the budget and the slots allow.
uint32_t Sender::fill(Flow& flow, uint64_t budget, int64_t now) {
  uint32_t count = 0;
  while (count < slots_.size() && plan_[place_].datagrams <= budget) {
    budget -= plan_[place_].datagrams;
    write_message(count++, flow, now);
    place_ = (place_ + 1) % plan_.size();
  }
  return count;
}

void Sender::write_message(uint32_t index, Flow& flow, int64_t now) {
  Slot& slot = slots_[index];
  slot.shape = plan_[place_];
  slot.part = {slot.payload, slot.shape.bytes()};
  for (uint32_t i = 0; i < slot.shape.datagrams; ++i) {
    write_header(slot.payload + size_t{i} * slot.shape.payload_bytes,
                 {flow.stream, flow.next_sequence++, static_cast<uint64_t>(now)});
  }
  msghdr& message = headers_[index].msg_hdr;
  message = {};
  message.msg_iov = &slot.part;
  message.msg_iovlen = 1;
  if (slot.shape.datagrams > 1)
    io::write_control(message, slot.control, options_.to, false, 0, static_cast<uint16_t>(slot.shape.payload_bytes));
}

io::Status Sender::hand_over(Flow& flow, uint32_t count) {
  uint32_t done = 0;
  while (done < count) {
    const int sent = ::sendmmsg(flow.socket.get(), headers_.data() + done, count - done, MSG_NOSIGNAL);
    ++counts_.system_calls;
    if (sent < 0) {
      const int error = errno;
      if (error == EINTR) continue;
      if (error == EAGAIN || error == ENOBUFS) {
        ++counts_.stalls;
        pollfd waiting{flow.socket.get(), POLLOUT, 0};
        ::poll(&waiting, 1, kStallMs);
        continue;
      }
      return recover(flow, done, error);
    }
    for (const uint32_t end = done + static_cast<uint32_t>(sent); done < end; ++done) {
      counts_.datagrams += slots_[done].shape.datagrams;
      counts_.bytes += slots_[done].shape.bytes();
    }
  }
  return io::Success{};
}

// An old kernel refuses long superpackets: then they get shorter, once, and go on where they stopped.
io::Status Sender::recover(Flow& flow, uint32_t unsent, int error) {
  if (error == EINVAL && slots_[unsent].shape.datagrams > kOldMaxTrainDatagrams) {
    kernel_limit_ = kOldMaxTrainDatagrams;
    flow.next_sequence = read_header(slots_[unsent].payload).sequence;
    make_plan();
    return io::Success{};
  }
  return io::Error{error, "send to " + io::to_string(options_.to) + advice_for(error, options_.gso)};
}

}  // namespace culvert::traffic
