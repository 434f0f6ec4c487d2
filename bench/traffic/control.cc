#include "bench/traffic/control.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "bench/traffic/sockets.h"

namespace culvert::traffic {
namespace {

constexpr size_t kMaxLineBytes = 4096;
constexpr int kBacklog = 16;
constexpr int kAnswerSeconds = 10;

uint64_t tag_of(const io::Fd& fd) {
  return ControlServer::kFirstTag + static_cast<uint64_t>(fd.get());
}

io::Result<sockaddr_un> address_of_path(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return io::Error{
        0, "control path '" + path + "' must have 1 to " + std::to_string(sizeof address.sun_path - 1) + " bytes"};
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

const sockaddr* any(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

bool refuses(const sockaddr_un& address) {
  const io::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  return ::connect(probe.get(), any(address), sizeof address) != 0 && errno == ECONNREFUSED;
}

bool send_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = ::send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    text.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

}  // namespace

io::Result<ControlServer> ControlServer::open(const std::string& path, io::Poller& poller) {
  const auto address = address_of_path(path);
  if (!address) return address.error();
  io::Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!listener) return io::Error{errno, "open the control socket"};
  if (refuses(*address)) ::unlink(path.c_str());
  if (::bind(listener.get(), any(*address), sizeof *address) != 0)
    return io::Error{errno, "bind control socket " + path};
  ControlServer server(std::move(listener), path);
  if (::listen(server.listener_.get(), kBacklog) != 0) return io::Error{errno, "listen on " + path};
  if (auto added = poller.add(server.listener_.get(), tag_of(server.listener_)); !added) return added.error();
  return server;
}

ControlServer::~ControlServer() {
  if (listener_) ::unlink(path_.c_str());
}

void ControlServer::serve(uint64_t tag, io::Poller& poller, const Answer& answer) {
  if (tag == tag_of(listener_)) return accept_caller(poller);
  const auto caller =
      std::find_if(callers_.begin(), callers_.end(), [tag](const Caller& each) { return tag_of(each.socket) == tag; });
  // Closing a descriptor removes it from the poller.
  if (caller != callers_.end() && !answer_lines(*caller, answer)) callers_.erase(caller);
}

void ControlServer::accept_caller(io::Poller& poller) {
  io::Fd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!socket || !poller.add(socket.get(), tag_of(socket))) return;
  callers_.push_back({std::move(socket), {}});
}

// False when the caller is gone or talks nonsense.
bool ControlServer::answer_lines(Caller& caller, const Answer& answer) {
  char buffer[kMaxLineBytes];
  const ssize_t count = ::recv(caller.socket.get(), buffer, sizeof buffer, MSG_DONTWAIT);
  if (count <= 0) return count < 0 && (errno == EAGAIN || errno == EINTR);
  caller.input.append(buffer, static_cast<size_t>(count));
  for (size_t end = 0; (end = caller.input.find('\n')) != std::string::npos;) {
    if (!send_all(caller.socket.get(), answer(std::string_view(caller.input).substr(0, end)) + '\n')) return false;
    caller.input.erase(0, end + 1);
  }
  return caller.input.size() < kMaxLineBytes;
}

io::Result<ControlClient> ControlClient::connect(const std::string& path) {
  const auto address = address_of_path(path);
  if (!address) return address.error();
  io::Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket) return io::Error{errno, "open the control socket"};
  if (::connect(socket.get(), any(*address), sizeof *address) != 0)
    return io::Error{errno, "connect to " + path + " (give `lab_traffic sink` the same --control)"};
  if (io::Status set = set_timeouts(socket.get(), kAnswerSeconds); !set) return set.error();
  return ControlClient(std::move(socket));
}

io::Result<std::string> ControlClient::ask(std::string_view line) {
  if (!send_all(socket_.get(), std::string(line) + '\n')) return io::Error{errno, "ask the sink"};
  std::string answer;
  while (answer.empty() || answer.back() != '\n') {
    char buffer[kMaxLineBytes];
    const ssize_t count = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return io::Error{errno, "wait for the sink's answer"};
    if (count == 0) return io::Error{0, "the sink has closed its control socket"};
    answer.append(buffer, static_cast<size_t>(count));
  }
  answer.pop_back();
  return answer;
}

}  // namespace culvert::traffic
