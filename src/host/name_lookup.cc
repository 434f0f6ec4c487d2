#include "src/host/name_lookup.h"

#include <ares.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <map>
#include <sstream>
#include <utility>

#include "io/poller.h"

namespace culvert::host {
namespace {

constexpr int kTryMilliseconds = 2000;
constexpr int kTries = 2;  // of each server; whoever asks tries again later

io::Address address_of(const ares_addrinfo_node& node) {
  io::Address address;
  if (node.ai_family == AF_INET) {
    address.family = io::Family::v4;
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in*>(node.ai_addr)->sin_addr, 4);
  } else if (node.ai_family == AF_INET6) {
    address.family = io::Family::v6;
    std::memcpy(address.bytes.data(), &reinterpret_cast<const sockaddr_in6*>(node.ai_addr)->sin6_addr, 16);
  }
  return address;
}

// One question on a channel of its own.
struct Conversation {
  NameQuestion question;
  io::Poller* poller = nullptr;
  ares_channel channel = nullptr;
  std::vector<int> sockets;
  NameAnswer answer;
  bool answered = false;

  Conversation() = default;
  Conversation(const Conversation&) = delete;
  Conversation& operator=(const Conversation&) = delete;
  ~Conversation() {
    if (channel != nullptr) ::ares_destroy(channel);
  }
};

void on_socket_state(void* context, ares_socket_t socket, int readable, int writable) {
  auto& self = *static_cast<Conversation*>(context);
  const auto at = std::find(self.sockets.begin(), self.sockets.end(), socket);
  const uint32_t interest = (readable != 0 ? io::Poller::kRead : 0U) | (writable != 0 ? io::Poller::kWrite : 0U);
  if (interest == 0) {
    (void)self.poller->remove(socket);
    if (at != self.sockets.end()) self.sockets.erase(at);
  } else if (at != self.sockets.end()) {
    (void)self.poller->modify(socket, static_cast<uint64_t>(socket), interest);
  } else if (self.poller->add(socket, static_cast<uint64_t>(socket), interest)) {
    self.sockets.push_back(socket);
  }
}

int mark_socket(ares_socket_t socket, int, void* context) {
  const uint32_t mark = static_cast<Conversation*>(context)->question.fwmark;
  if (mark != 0) ::setsockopt(socket, SOL_SOCKET, SO_MARK, &mark, sizeof mark);  // without it, the tunnel has to do
  return 0;
}

void on_answer(void* context, int status, int, ares_addrinfo* found) {
  auto& self = *static_cast<Conversation*>(context);
  self.answered = true;
  for (const ares_addrinfo_node* node = found != nullptr ? found->nodes : nullptr; node != nullptr;
       node = node->ai_next) {
    const io::Address address = address_of(*node);
    auto& all = self.answer.addresses;
    if (address.family != io::Family::none && std::find(all.begin(), all.end(), address) == all.end())
      all.push_back(address);
  }
  if (self.answer.addresses.empty())
    self.answer.error = status == ARES_SUCCESS ? "it has no address" : ::ares_strerror(status);
  if (found != nullptr) ::ares_freeaddrinfo(found);
}

}  // namespace

struct NameLookup::Impl {
  explicit Impl(io::Poller given) : poller(std::move(given)) {}

  void start(NameQuestion question);
  void start_waiting();

  io::Poller poller;
  std::deque<NameQuestion> waiting;
  std::map<uint64_t, std::unique_ptr<Conversation>> talking;  // by id
};

void NameLookup::Impl::start(NameQuestion question) {
  auto made = std::make_unique<Conversation>();
  Conversation& self = *made;
  self.question = std::move(question);
  self.answer.id = self.question.id;
  self.poller = &poller;
  ares_options options{};
  options.timeout = kTryMilliseconds;
  options.tries = kTries;
  options.sock_state_cb = on_socket_state;
  options.sock_state_cb_data = &self;
  const int status =
      ::ares_init_options(&self.channel, &options, ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB);
  if (status != ARES_SUCCESS) {
    self.channel = nullptr;
    self.answered = true;
    self.answer.error = ::ares_strerror(status);
  } else {
    ::ares_set_socket_configure_callback(self.channel, mark_socket, &self);
    if (!self.question.servers.empty()) ::ares_set_servers_ports_csv(self.channel, self.question.servers.c_str());
    ares_addrinfo_hints hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_DGRAM;
    ::ares_getaddrinfo(self.channel, self.question.host.c_str(), nullptr, &hints, on_answer, &self);
  }
  talking[self.answer.id] = std::move(made);
}

void NameLookup::Impl::start_waiting() {
  while (!waiting.empty() && talking.size() < kMostAtOnce) {
    start(std::move(waiting.front()));
    waiting.pop_front();
  }
}

NameLookup::NameLookup(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

NameLookup::~NameLookup() {
  impl_.reset();
  ::ares_library_cleanup();
}

io::Result<std::unique_ptr<NameLookup>> NameLookup::open() {
  if (const int status = ::ares_library_init(ARES_LIB_INIT_ALL); status != ARES_SUCCESS)
    return io::Error{0, std::string("start c-ares: ") + ::ares_strerror(status)};
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  return std::unique_ptr<NameLookup>(new NameLookup(std::make_unique<Impl>(std::move(*poller))));
}

void NameLookup::ask(NameQuestion question) {
  impl_->waiting.push_back(std::move(question));
}

int NameLookup::fd() const {
  return impl_->poller.fd();
}

std::optional<std::chrono::nanoseconds> NameLookup::timeout() const {
  std::optional<std::chrono::nanoseconds> soonest;
  if (!impl_->waiting.empty() && impl_->talking.size() < kMostAtOnce) soonest.emplace(0);
  for (const auto& [id, conversation] : impl_->talking) {
    timeval room{};
    const timeval* const left = conversation->answered ? &room : ::ares_timeout(conversation->channel, nullptr, &room);
    if (left == nullptr) continue;
    const std::chrono::nanoseconds time = std::chrono::seconds(left->tv_sec) + std::chrono::microseconds(left->tv_usec);
    soonest = std::min(soonest.value_or(time), time);
  }
  return soonest;
}

std::vector<NameAnswer> NameLookup::handle_events() {
  impl_->start_waiting();
  std::array<io::PollEvent, 64> events;
  const std::span<io::PollEvent> ready = impl_->poller.wait(events, std::chrono::nanoseconds(0));
  for (const auto& [id, conversation] : impl_->talking) {
    if (conversation->channel == nullptr) continue;
    const std::vector<int> sockets = conversation->sockets;  // they change on the way
    for (const io::PollEvent& event : ready) {
      const auto socket = static_cast<ares_socket_t>(event.tag);
      if (std::find(sockets.begin(), sockets.end(), socket) != sockets.end())
        ::ares_process_fd(conversation->channel, event.writable ? ARES_SOCKET_BAD : socket,
                          event.writable ? socket : ARES_SOCKET_BAD);
    }
    ::ares_process_fd(conversation->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);  // what timed out
  }
  std::vector<NameAnswer> answers;
  for (auto at = impl_->talking.begin(); at != impl_->talking.end();) {
    if (at->second->answered) {
      answers.push_back(std::move(at->second->answer));
      at = impl_->talking.erase(at);
    } else {
      ++at;
    }
  }
  impl_->start_waiting();
  return answers;
}

std::string servers_of(const std::string& resolv_conf) {
  std::istringstream lines(resolv_conf);
  std::string out;
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string key, server;
    std::array<unsigned char, 16> ignored{};
    if (!(words >> key >> server) || key != "nameserver") continue;
    if (::inet_pton(AF_INET, server.c_str(), ignored.data()) != 1 &&
        ::inet_pton(AF_INET6, server.c_str(), ignored.data()) != 1)
      continue;
    out += (out.empty() ? "" : ",") + server;
  }
  return out;
}

}  // namespace culvert::host
