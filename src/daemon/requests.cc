#include "src/daemon/requests.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <utility>

namespace culvert::daemon {
namespace {

constexpr size_t kMostRequestBytes = 64;
constexpr int kBacklog = 16;

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  return address;
}

const sockaddr* generic(const sockaddr_un& address) {
  return reinterpret_cast<const sockaddr*>(&address);
}

pid_t process_of(int client) {
  ucred peer{};
  socklen_t length = sizeof peer;
  return ::getsockopt(client, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 ? peer.pid : 0;
}

}  // namespace

std::string request_socket(const std::string& interface_name, const std::string& directory) {
  return directory + "/" + interface_name + ".sock";
}

io::Result<std::unique_ptr<RequestServer>> RequestServer::open(const std::string& directory) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  return std::unique_ptr<RequestServer>(new RequestServer(std::move(*poller), directory));
}

RequestServer::~RequestServer() {
  for (const auto& [tag, listener] : listeners_) ::unlink(request_socket(listener.first, directory_).c_str());
}

// Whoever calls this holds the interface's journal, so a socket that is there is a dead process's.
io::Status RequestServer::listen(const std::string& interface_name) {
  const std::string path = request_socket(interface_name, directory_);
  const std::string action = "listen on " + path;
  ::unlink(path.c_str());
  io::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return io::Error{errno, action};
  const sockaddr_un address = address_of(path);
  const mode_t before = ::umask(0177);
  const int bound = ::bind(fd.get(), generic(address), sizeof address);
  const int number = errno;
  ::umask(before);
  if (bound != 0) return io::Error{number, action};
  if (::listen(fd.get(), kBacklog) != 0) return io::Error{errno, action};
  const uint64_t tag = next_tag_++;
  if (io::Status added = poller_.add(fd.get(), tag); !added) return added;
  listeners_.emplace(tag, std::pair(interface_name, std::move(fd)));
  return io::Success{};
}

void RequestServer::stop_listening(const std::string& interface_name) {
  for (auto at = listeners_.begin(); at != listeners_.end(); ++at) {
    if (at->second.first != interface_name) continue;
    (void)poller_.remove(at->second.second.get());
    ::unlink(request_socket(interface_name, directory_).c_str());
    listeners_.erase(at);
    return;
  }
}

void RequestServer::handle_events() {
  std::array<io::PollEvent, 8> events;
  for (const io::PollEvent& event : poller_.wait(events, std::chrono::nanoseconds(0)))
    if (const auto listener = listeners_.find(event.tag); listener != listeners_.end())
      accept_all(listener->second.second.get(), listener->second.first);
    else if (const auto client = clients_.find(event.tag); client != clients_.end())
      client->second.replied ? write(event.tag) : read(event.tag);
}

void RequestServer::accept_all(int listener, const std::string& interface_name) {
  for (int i = 0; i < kBacklog; ++i) {
    io::Fd fd(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    if (clients_.size() >= kMaxClients) drop(clients_.begin()->first);
    const uint64_t tag = next_tag_++;
    if (!poller_.add(fd.get(), tag)) continue;
    clients_[tag] = Client{.fd = std::move(fd), .interface_name = interface_name, .in = {}, .out = {}};
  }
}

void RequestServer::read(uint64_t id) {
  Client& client = clients_.at(id);
  if (client.asked) return drop(id);  // nothing more is read: the poller tells of a client that hung up
  std::array<char, kMostRequestBytes> bytes{};
  const ssize_t count = ::recv(client.fd.get(), bytes.data(), bytes.size(), 0);
  if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (count <= 0) return drop(id);
  client.in.append(bytes.data(), static_cast<size_t>(count));
  const size_t end = client.in.find('\n');
  if (end == std::string::npos && client.in.size() < kMostRequestBytes) return;
  (void)poller_.modify(client.fd.get(), id, io::Poller::kNone);
  client.asked = true;
  waiting_.push_back({id, client.interface_name, client.in.substr(0, end), process_of(client.fd.get())});
}

Request RequestServer::next(const std::function<bool(const Request&)>& fits) {
  const auto at = std::find_if(waiting_.begin(), waiting_.end(), fits);
  if (at == waiting_.end()) return {};
  Request request = std::move(*at);
  waiting_.erase(at);
  return request;
}

void RequestServer::reply(uint64_t client, int exit_code, const std::string& text) {
  const auto at = clients_.find(client);
  if (at == clients_.end()) return;
  at->second.out = std::to_string(exit_code) + "\n" + text;
  at->second.replied = true;
  write(client);
}

void RequestServer::write(uint64_t id) {
  Client& client = clients_.at(id);
  const ssize_t count = ::send(client.fd.get(), client.out.data(), client.out.size(), MSG_NOSIGNAL);
  if (count < 0 && errno != EAGAIN && errno != EINTR) return drop(id);
  client.out.erase(0, static_cast<size_t>(std::max<ssize_t>(count, 0)));
  if (client.out.empty()) return drop(id);
  (void)poller_.modify(client.fd.get(), id, io::Poller::kWrite);
}

void RequestServer::drop(uint64_t id) {
  (void)poller_.remove(clients_.at(id).fd.get());
  clients_.erase(id);
  std::erase_if(waiting_, [id](const Request& request) { return request.client == id; });
}

io::Result<Reply> ask(const std::string& interface_name, const std::string& verb, const std::string& directory) {
  const std::string path = request_socket(interface_name, directory);
  const io::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const sockaddr_un address = address_of(path);
  const std::string line = verb + "\n";
  if (!fd || ::connect(fd.get(), generic(address), sizeof address) != 0 ||
      ::send(fd.get(), line.data(), line.size(), MSG_NOSIGNAL) < 0)
    return io::Error{errno, "connect to " + path};
  std::string text;
  std::array<char, 4096> bytes{};
  for (;;) {
    const ssize_t count = ::recv(fd.get(), bytes.data(), bytes.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    text.append(bytes.data(), static_cast<size_t>(count));
  }
  const size_t end = text.find('\n');
  if (end == std::string::npos) return io::Error{ECONNRESET, "no answer from " + path};
  return Reply{std::atoi(text.c_str()), text.substr(end + 1)};  // NOLINT(cert-err34-c): a number of our own
}

}  // namespace culvert::daemon
