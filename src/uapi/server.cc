#include "src/uapi/server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <iterator>
#include <list>
#include <string>
#include <utility>

#include "crypto/secret.h"
#include "io/poller.h"
#include "src/uapi/socket.h"

namespace culvert::uapi {
namespace {

constexpr size_t kReadBytes = 32768;  // of one connection at a time
static_assert(kReadBytes > kMaxUapiLineBytes);
constexpr int kAcceptsAtOnce = 16;    // per handle_events()
constexpr size_t kEventsAtOnce = 16;  // per handle_events()
constexpr uint64_t kListenerTag = 0;
constexpr uint64_t kWatchTag = 1;
constexpr uint64_t kFirstConnectionTag = 2;

// One client. Invariant: while `output` waits, nothing is read from it.
struct Connection {
  Connection(int number, uint64_t tag_in, Handler& handler, std::chrono::nanoseconds now)
      : fd(number), tag(tag_in), conversation(handler), heard(now) {}

  size_t pending_bytes() const { return output.size() - output_sent; }
  bool has_line() const { return input.find('\n') != std::string::npos; }
  // Whether we wait for the client to end what it has begun.
  bool is_awaited() const {
    return output.empty() && !conversation.has_reply() && (conversation.is_inside() || !input.empty());
  }

  io::Fd fd;
  uint64_t tag;
  Conversation conversation;
  crypto::SecretString input;  // at most kReadBytes: what the conversation did not take yet
  crypto::SecretString output;
  size_t output_sent = 0;
  bool input_ended = false;
  uint32_t interest = io::Poller::kRead;
  std::chrono::nanoseconds heard;  // when it last did something
};

}  // namespace

struct Server::Impl {
  Impl(io::Poller poller_in, io::Fd listener_in, Handler& handler_in)
      : poller(std::move(poller_in)), listener(std::move(listener_in)), handler(handler_in) {}

  // Longest silent first.
  std::list<Connection> connections;
  io::Poller poller;
  io::Fd listener;
  io::Fd watch;  // inotify; empty when there is no socket file to watch
  io::Fd spare;  // given up to accept and close a client when descriptors run out
  Handler& handler;
  std::string path;
  struct stat file {};  // the socket file as we found it
  uint64_t next_tag = kFirstConnectionTag;
  std::chrono::nanoseconds now{0};

  using Iterator = std::list<Connection>::iterator;

  io::Status start();
  bool file_is_ours() const;
  bool socket_file_gone();
  void accept_clients();
  void add_client(int fd);
  void serve(uint64_t tag);
  bool send_output(Connection& connection);
  bool receive_input(Connection& connection);
  void touch(Connection& connection);
  void converse(Connection& connection);
  void update_interest(Connection& connection);
  void close(Iterator connection);
  void bound_pending_bytes(const Connection& newest);
  void bound_waiting_lines(const Connection& newest);
  std::optional<std::chrono::nanoseconds> close_stalled();
};

io::Status Server::Impl::start() {
  if (::fcntl(listener.get(), F_SETFL, ::fcntl(listener.get(), F_GETFL) | O_NONBLOCK) < 0 ||
      ::fcntl(listener.get(), F_SETFD, FD_CLOEXEC) < 0)
    return io::Error{errno, "UAPI socket: descriptor " + std::to_string(listener.get())};
  int listening = 0;
  socklen_t length = sizeof listening;
  if (::getsockopt(listener.get(), SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) != 0 || listening == 0) {
    return io::Error{errno == ENOTSOCK ? ENOTSOCK : EINVAL,
                     "UAPI socket: descriptor " + std::to_string(listener.get()) + " is no listening socket"};
  }
  spare.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  if (io::Status status = poller.add(listener.get(), kListenerTag); !status) return status;
  if (path.empty()) path = uapi_socket_path(listener.get());
  if (path.empty() || ::lstat(path.c_str(), &file) != 0) {
    path.clear();
    return io::Success{};
  }
  watch.reset(::inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  // The bound socket keeps the inode alive, so that a deletion shows as a change of the link count:
  // IN_ATTRIB.
  if (!watch || ::inotify_add_watch(watch.get(), path.c_str(), IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF) < 0)
    return io::Error{errno, "watch the UAPI socket " + path};
  return poller.add(watch.get(), kWatchTag);
}

bool Server::Impl::file_is_ours() const {
  struct stat found {};
  return !path.empty() && ::lstat(path.c_str(), &found) == 0 && found.st_ino == file.st_ino &&
         found.st_dev == file.st_dev;
}

bool Server::Impl::socket_file_gone() {
  alignas(inotify_event) char events[4096];
  while (::read(watch.get(), events, sizeof events) > 0) {
  }
  return !file_is_ours();
}

void Server::Impl::accept_clients() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    const int fd = ::accept4(listener.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      add_client(fd);
    } else if (errno == EMFILE || errno == ENFILE) {
      // Left in the backlog the client would wake us up for ever.
      spare.reset();
      const io::Fd refused(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
      handler.on_error("UAPI: out of file descriptors, a client was turned away; raise `ulimit -n`");
    } else if (errno != EINTR && errno != ECONNABORTED) {
      break;
    }
    if (!spare) {
      spare.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      break;
    }
  }
}

void Server::Impl::add_client(int fd) {
  if (connections.size() >= kMaxConnections) {
    handler.on_error(
        fmt::format("UAPI: more than {} connections; the one silent longest was closed. Close "
                    "connections after use",
                    kMaxConnections));
    close(connections.begin());
  }
  const Connection& connection = connections.emplace_back(fd, next_tag++, handler, now);
  if (!poller.add(fd, connection.tag)) connections.pop_back();
}

void Server::Impl::serve(uint64_t tag) {
  const auto at = std::find_if(connections.begin(), connections.end(),
                               [tag](const Connection& connection) { return connection.tag == tag; });
  if (at == connections.end()) return;  // evicted by an event of the same round
  Connection& connection = *at;
  bool alive = send_output(connection);
  // Whoever still has output has had its turn: one reply for each connection at a time.
  if (alive && connection.output.empty() && !connection.conversation.is_over()) {
    // A reply in pieces comes first: one piece for each connection at a time.
    alive = connection.conversation.has_reply() || connection.has_line() || connection.input_ended ||
            receive_input(connection);
    converse(connection);
    alive = alive && send_output(connection);
  }
  if (!alive || (connection.conversation.is_over() && connection.output.empty())) {
    close(at);
    return;
  }
  update_interest(connection);
  bound_pending_bytes(connection);
  bound_waiting_lines(connection);
}

void Server::Impl::converse(Connection& connection) {
  Conversation& conversation = connection.conversation;
  const size_t taken = conversation.take(connection.input);
  crypto::drop_front(connection.input, taken);
  if (connection.input_ended && !conversation.has_reply() && !connection.has_line()) {
    conversation.take_end(connection.input);
    crypto::drop_front(connection.input, connection.input.size());
  }
  connection.output = conversation.take_reply();
  connection.output_sent = 0;
}

// Whoever does something is not silent.
void Server::Impl::touch(Connection& connection) {
  const auto at = std::find_if(connections.begin(), connections.end(),
                               [&](const Connection& other) { return &other == &connection; });
  connection.heard = now;
  connections.splice(connections.end(), connections, at);
}

// False when the connection is broken.
bool Server::Impl::send_output(Connection& connection) {
  while (connection.pending_bytes() > 0) {
    const ssize_t sent = ::send(connection.fd.get(), connection.output.data() + connection.output_sent,
                                connection.pending_bytes(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) return errno == EAGAIN || errno == EINTR;
    connection.output_sent += static_cast<size_t>(sent);
    touch(connection);
  }
  crypto::SecretString().swap(connection.output);  // gives the megabytes back, which an assignment keeps
  connection.output_sent = 0;
  return true;
}

// False when the connection is broken. Precondition: `input` holds no complete line.
bool Server::Impl::receive_input(Connection& connection) {
  const size_t kept = connection.input.size();
  connection.input.resize(kReadBytes);
  const ssize_t count = ::recv(connection.fd.get(), connection.input.data() + kept, kReadBytes - kept, MSG_DONTWAIT);
  const int number = errno;
  connection.input.resize(kept + static_cast<size_t>(std::max<ssize_t>(count, 0)));
  if (count > 0) touch(connection);
  connection.input_ended = count == 0;
  return count >= 0 || number == EAGAIN || number == EINTR;
}

void Server::Impl::update_interest(Connection& connection) {
  const bool has_work = !connection.output.empty() || connection.conversation.has_reply() || connection.has_line() ||
                        connection.input_ended;
  const uint32_t interest = has_work ? io::Poller::kWrite : io::Poller::kRead;
  if (interest != connection.interest && poller.modify(connection.fd.get(), connection.tag, interest))
    connection.interest = interest;
}

// A `set` that was under way ends here. Closing the descriptor takes it out of the poller.
void Server::Impl::close(Iterator connection) {
  connection->conversation.take_end("");
  connections.erase(connection);
}

void Server::Impl::bound_pending_bytes(const Connection& newest) {
  size_t total = 0;
  for (const Connection& connection : connections) total += connection.pending_bytes();
  for (auto at = connections.begin(); at != connections.end() && total > kMaxPendingReplyBytes;) {
    const auto next = std::next(at);
    if (at->pending_bytes() > 0 && &*at != &newest) {
      total -= at->pending_bytes();
      handler.on_error("UAPI: a client does not read its reply and was disconnected");
      close(at);
    }
    at = next;
  }
}

void Server::Impl::bound_waiting_lines(const Connection& newest) {
  size_t total = 0;
  for (const Connection& connection : connections) total += connection.conversation.waiting_lines();
  for (auto at = connections.begin(); at != connections.end() && total > kMaxUapiLines;) {
    const auto next = std::next(at);
    if (at->conversation.waiting_lines() > 0 && &*at != &newest) {
      total -= at->conversation.waiting_lines();
      handler.on_error(
          "UAPI: too many lines wait for the end of their operations; the client silent longest was closed");
      close(at);
    }
    at = next;
  }
}

std::optional<std::chrono::nanoseconds> Server::Impl::close_stalled() {
  for (auto at = connections.begin(); at != connections.end();) {
    const auto stalled = at++;  // longest silent first
    if (!stalled->is_awaited()) continue;
    if (now < stalled->heard + kStallTimeout) return stalled->heard + kStallTimeout;
    stalled->conversation.take_timeout();
    stalled->output = stalled->conversation.take_reply();
    (void)send_output(*stalled);
    close(stalled);
  }
  return std::nullopt;
}

Server::Server(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

Server::~Server() {
  while (!impl_->connections.empty()) impl_->close(impl_->connections.begin());
  if (impl_->file_is_ours()) ::unlink(impl_->path.c_str());
}

io::Result<std::unique_ptr<Server>> Server::open(io::Fd listener, Handler& handler, const std::string& path) {
  io::Result<io::Poller> poller = io::Poller::open();
  if (!poller) return poller.error();
  auto impl = std::make_unique<Impl>(std::move(*poller), std::move(listener), handler);
  impl->path = path;
  if (const io::Status status = impl->start(); !status) return status.error();
  return std::unique_ptr<Server>(new Server(std::move(impl)));
}

int Server::fd() const {
  return impl_->poller.fd();
}

void Server::handle_events(std::chrono::nanoseconds now) {
  impl_->now = now;
  std::array<io::PollEvent, kEventsAtOnce> events;
  for (const io::PollEvent& event : impl_->poller.wait(events, std::chrono::nanoseconds(0)))
    if (event.tag == kListenerTag)
      impl_->accept_clients();
    else if (event.tag == kWatchTag)
      socket_deleted_ = socket_deleted_ || impl_->socket_file_gone();
    else
      impl_->serve(event.tag);
}

std::optional<std::chrono::nanoseconds> Server::close_stalled(std::chrono::nanoseconds now) {
  impl_->now = now;
  return impl_->close_stalled();
}

size_t Server::connections() const {
  return impl_->connections.size();
}

}  // namespace culvert::uapi
