#include "src/daemon/metrics_server.h"

#include <microhttpd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <list>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>

#include "io/fd.h"
#include "io/poller.h"
#include "io/timer_fd.h"
#include "io/udp_message.h"
#include "src/log.h"

namespace culvert::daemon {
namespace {

enum Tag : uint64_t { kTagListener, kTagHttp, kTagTimer };

constexpr int kBacklog = 128;
constexpr const char* kMetricsType = "text/plain; version=0.0.4; charset=utf-8";
constexpr const char* kPlainType = "text/plain; charset=utf-8";

io::Error refused_at(const MetricsAddress& at, int number) {
  return {number, at.text() + (at.path.empty() ? " (CULVERT_METRICS; choose a free address and port of this host)"
                                               : " (CULVERT_METRICS; choose a path that can be made)")};
}

// Nobody else may connect: the file is made for its owner alone.
io::Result<io::Fd> listen_at_path(const MetricsAddress& at) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (at.path.size() >= sizeof address.sun_path) return refused_at(at, ENAMETOOLONG);
  std::memcpy(address.sun_path, at.path.data(), at.path.size());
  const auto* const generic = reinterpret_cast<const sockaddr*>(&address);
  io::Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!listener) return refused_at(at, errno);
  // What is there and answers is somebody's; what is no socket is not ours to remove.
  struct stat found {};
  if (::lstat(at.path.c_str(), &found) == 0 && S_ISSOCK(found.st_mode) &&
      ::connect(listener.get(), generic, sizeof address) != 0 && errno == ECONNREFUSED)
    ::unlink(at.path.c_str());
  listener.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const mode_t mask = ::umask(077);
  const bool bound = listener && ::bind(listener.get(), generic, sizeof address) == 0;
  const int number = errno;
  ::umask(mask);
  if (!bound || ::listen(listener.get(), kBacklog) != 0) return refused_at(at, bound ? errno : number);
  return listener;
}

io::Result<io::Fd> listen_at(const MetricsAddress& where) {
  if (!where.path.empty()) return listen_at_path(where);
  const io::Endpoint& at = where.endpoint;
  const auto refused = [&where] { return refused_at(where, errno); };
  io::SocketAddress address{};
  const socklen_t length = io::to_socket_address(at.remote, at.port, at.scope_id, address);
  io::Fd listener(::socket(address.any.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  const int on = 1;
  if (!listener || ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
      ::bind(listener.get(), &address.any, length) != 0 || ::listen(listener.get(), kBacklog) != 0)
    return refused();
  return listener;
}

// A response to one request.
class Response {
 public:
  Response(std::string_view text, const char* content_type)
      : response_(MHD_create_response_from_buffer(text.size(), const_cast<char*>(text.data()), MHD_RESPMEM_MUST_COPY)) {
    add_header(MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
  }
  // Made while it is sent, as a client takes it.
  Response(Pieces pieces, const char* content_type) {
    auto reader = std::make_unique<PageReader>(PageReader{std::move(pieces), "", 0});
    response_ = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, MetricsServer::kMemoryPerConnection, &read_page,
                                                  reader.get(), &free_page);
    if (response_ == nullptr) return;
    (void)reader.release();  // free_page()'s
    add_header(MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
  }
  Response(const Response&) = delete;
  Response& operator=(const Response&) = delete;
  ~Response() {
    if (response_ != nullptr) MHD_destroy_response(response_);
  }

  void add_header(const char* name, const char* value) {
    if (response_ != nullptr) MHD_add_response_header(response_, name, value);
  }
  // MHD_NO, for want of memory too, has the connection closed.
  MHD_Result queue(MHD_Connection* connection, unsigned status) const {
    return response_ == nullptr ? MHD_NO : MHD_queue_response(connection, status, response_);
  }

 private:
  struct PageReader {
    Pieces next;
    std::string piece;
    size_t sent = 0;  // of the piece
  };

  // Callbacks of libmicrohttpd.
  static ssize_t read_page(void* context, uint64_t /*position*/, char* room, size_t room_bytes) {
    PageReader& reader = *static_cast<PageReader*>(context);
    if (reader.sent == reader.piece.size()) {
      reader.piece = reader.next();
      reader.sent = 0;
      if (reader.piece.empty()) return MHD_CONTENT_READER_END_OF_STREAM;
    }
    const size_t copied = reader.piece.copy(room, room_bytes, reader.sent);
    reader.sent += copied;
    return static_cast<ssize_t>(copied);
  }
  static void free_page(void* context) { delete static_cast<PageReader*>(context); }

  MHD_Response* response_ = nullptr;
};

// The body is never read, so that nothing can follow on this connection.
MHD_Result refuse(MHD_Connection* connection, unsigned status, std::string_view text) {
  Response response(text, kPlainType);
  response.add_header(MHD_HTTP_HEADER_CONNECTION, "close");
  if (status == MHD_HTTP_METHOD_NOT_ALLOWED) response.add_header(MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
  return response.queue(connection, status);
}

bool has_body(MHD_Connection* connection) {
  const auto header = [connection](const char* name) {
    const char* const value = MHD_lookup_connection_value(connection, MHD_HEADER_KIND, name);
    return std::string_view(value == nullptr ? "" : value);
  };
  const std::string_view length = header(MHD_HTTP_HEADER_CONTENT_LENGTH);
  return length.find_first_not_of('0') != std::string_view::npos || !header(MHD_HTTP_HEADER_TRANSFER_ENCODING).empty();
}

}  // namespace

bool MetricsAddress::is_exposed() const {
  const auto& bytes = endpoint.remote.bytes;
  if (!path.empty()) return false;
  if (endpoint.remote.family == io::Family::v4) return bytes[0] != 127;
  return !std::equal(bytes.begin(), bytes.begin() + 15, std::array<uint8_t, 15>{}.begin()) || bytes[15] != 1;
}

std::string MetricsAddress::text() const {
  return path.empty() ? io::to_string(endpoint) : "unix:" + path;
}

class MetricsServer::Impl {
 public:
  Impl(Pages pages, io::Poller poller, io::TimerFd timer, io::Fd listener, std::string path)
      : pages_(std::move(pages)),
        path_(std::move(path)),
        poller_(std::move(poller)),
        timer_(std::move(timer)),
        listener_(std::move(listener)) {}
  ~Impl() {
    if (http_ != nullptr) MHD_stop_daemon(http_);
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;

  io::Status start();
  void handle_events(protocol::Instant now);
  int listener() const { return listener_.get(); }
  bool is_unix() const { return !path_.empty(); }
  int fd() const { return poller_.fd(); }
  size_t connections() const { return clients_.size(); }

 private:
  struct Client {
    int fd = -1;
    protocol::Instant since{};  // when it came, or when it was last served
  };
  using Clients = std::list<Client>;

  void accept_clients();
  void pause();
  void resume();
  void close_overdue();
  void arm_timer();
  void touch(MHD_Connection* connection);
  MHD_Result answer(MHD_Connection* connection, std::string_view path, std::string_view method, bool header_only);

  // Callbacks of libmicrohttpd. `self` is the server, `context` the Client of a connection.
  static void connection_changed(void* self, MHD_Connection* connection, void** context,
                                 MHD_ConnectionNotificationCode code);
  static MHD_Result request_came(void* self, MHD_Connection* connection, const char* path, const char* method,
                                 const char* version, const char* body, size_t* body_bytes, void** request);
  static void request_ended(void* self, MHD_Connection* connection, void** request, MHD_RequestTerminationCode code);

  // Constant after start().
  const Pages pages_;
  const std::string path_;  // "": not a socket of the file system
  io::Poller poller_;
  const io::TimerFd timer_;
  const io::Fd listener_;
  MHD_Daemon* http_ = nullptr;

  Clients clients_;  // longest unserved first
  protocol::Instant now_{};
  std::optional<protocol::Instant> paused_until_;
  bool accepting_failed_ = false;  // and it was logged
};

io::Status MetricsServer::Impl::start() {
  http_ = MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET, 0, nullptr, nullptr, &request_came, this,  //
                           MHD_OPTION_NOTIFY_CONNECTION, &connection_changed, this,                             //
                           MHD_OPTION_NOTIFY_COMPLETED, &request_ended, this,                                   //
                           MHD_OPTION_CONNECTION_LIMIT, static_cast<unsigned>(kMaxConnections),                 //
                           MHD_OPTION_PER_IP_CONNECTION_LIMIT, kMaxConnectionsPerAddress,                       //
                           MHD_OPTION_CONNECTION_MEMORY_LIMIT, kMemoryPerConnection, MHD_OPTION_END);
  if (http_ == nullptr) return io::Error{errno, "start libmicrohttpd"};
  const MHD_DaemonInfo* const info = MHD_get_daemon_info(http_, MHD_DAEMON_INFO_EPOLL_FD);
  if (info == nullptr) return io::Error{ENOTSUP, "libmicrohttpd without epoll"};
  const std::array<std::pair<int, Tag>, 3> sources = {
      {{listener_.get(), kTagListener}, {info->epoll_fd, kTagHttp}, {timer_.fd(), kTagTimer}}};
  for (const auto& [fd, tag] : sources)
    if (io::Status added = poller_.add(fd, tag); !added) return added;
  return io::Success{};
}

void MetricsServer::Impl::handle_events(protocol::Instant now) {
  now_ = now;
  (void)timer_.drain();
  if (paused_until_ && now >= *paused_until_) resume();
  close_overdue();
  if (!paused_until_) accept_clients();
  MHD_run(http_);
  arm_timer();
}

void MetricsServer::Impl::accept_clients() {
  for (int i = 0; i < kAcceptsAtOnce; ++i) {
    sockaddr_storage from{};  // of any family
    socklen_t length = sizeof from;
    auto* const generic = reinterpret_cast<sockaddr*>(&from);
    io::Fd fd(::accept4(listener_.get(), generic, &length, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) return pause();
    if (!fd && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (!fd) return;
    accepting_failed_ = false;
    if (clients_.size() == kMaxConnections) {
      // It is gone once libmicrohttpd has seen the end of its input.
      ::shutdown(clients_.front().fd, SHUT_RDWR);
      MHD_run(http_);
    }
    // Closes what it refuses.
    (void)MHD_add_connection(http_, fd.release(), generic, length);
  }
}

// A listener that nobody can accept from would wake us up for ever.
void MetricsServer::Impl::pause() {
  if (!accepting_failed_) log_error("Metrics: unable to accept a connection: {}", std::strerror(errno));
  accepting_failed_ = true;
  if (poller_.remove(listener_.get())) paused_until_ = now_ + kPause;
}

void MetricsServer::Impl::resume() {
  paused_until_ = now_ + kPause;
  if (poller_.add(listener_.get(), kTagListener)) paused_until_.reset();
}

void MetricsServer::Impl::close_overdue() {
  for (const Client& client : clients_) {
    if (now_ - client.since < kMaxRequestTime) return;
    ::shutdown(client.fd, SHUT_RDWR);
  }
}

void MetricsServer::Impl::arm_timer() {
  std::optional<protocol::Instant> deadline = paused_until_;
  const auto earlier = [&deadline](protocol::Instant other) {
    deadline = deadline ? std::min(*deadline, other) : other;
  };
  // Who was shut down and is still there has been dealt with: asked again for it, we would never sleep.
  const auto due = std::find_if(clients_.begin(), clients_.end(),
                                [this](const Client& client) { return now_ - client.since < kMaxRequestTime; });
  if (due != clients_.end()) earlier(due->since + kMaxRequestTime);
  MHD_UNSIGNED_LONG_LONG milliseconds = 0;
  // 0: there is more to send, at once.
  if (MHD_get_timeout(http_, &milliseconds) == MHD_YES)
    earlier(milliseconds == 0 ? protocol::Instant()
                              : now_ + std::chrono::milliseconds(static_cast<int64_t>(milliseconds)));
  if (deadline)
    timer_.arm(deadline->time_since_epoch());
  else
    timer_.disarm();
}

void MetricsServer::Impl::touch(MHD_Connection* connection) {
  const void* const client = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT)->socket_context;
  const auto at = std::find_if(clients_.begin(), clients_.end(), [&](const Client& other) { return &other == client; });
  at->since = now_;
  clients_.splice(clients_.end(), clients_, at);
}

MHD_Result MetricsServer::Impl::answer(MHD_Connection* connection, std::string_view path, std::string_view method,
                                       bool header_only) {
  if (method != MHD_HTTP_METHOD_GET && method != MHD_HTTP_METHOD_HEAD)
    return refuse(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "GET and HEAD only\n");
  if (has_body(connection)) return refuse(connection, MHD_HTTP_CONTENT_TOO_LARGE, "no body, please\n");
  if (header_only) return MHD_YES;  // what is not refused is answered at its end
  if (path == "/metrics") return Response(pages_.metrics(), kMetricsType).queue(connection, MHD_HTTP_OK);
  if (path == "/healthz") return Response(pages_.health(), kPlainType).queue(connection, MHD_HTTP_OK);
  return Response("/metrics and /healthz are here\n", kPlainType).queue(connection, MHD_HTTP_NOT_FOUND);
}

void MetricsServer::Impl::connection_changed(void* self, MHD_Connection* connection, void** context,
                                             MHD_ConnectionNotificationCode code) {
  Impl& server = *static_cast<Impl*>(self);
  if (code == MHD_CONNECTION_NOTIFY_STARTED) {
    const MHD_ConnectionInfo* const info = MHD_get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    *context = &server.clients_.emplace_back(Client{info->connect_fd, server.now_});
    return;
  }
  const auto* const client = static_cast<const Client*>(*context);
  server.clients_.remove_if([client](const Client& other) { return &other == client; });
}

MHD_Result MetricsServer::Impl::request_came(void* self, MHD_Connection* connection, const char* path,
                                             const char* method, const char* /*version*/, const char* /*body*/,
                                             size_t* /*body_bytes*/, void** request) {
  Impl& server = *static_cast<Impl*>(self);
  const bool header_only = *request == nullptr;
  *request = self;
  if (header_only) server.touch(connection);
  return server.answer(connection, path, method, header_only);
}

void MetricsServer::Impl::request_ended(void* self, MHD_Connection* connection, void** /*request*/,
                                        MHD_RequestTerminationCode code) {
  if (code != MHD_REQUEST_TERMINATED_COMPLETED_OK) return;  // its connection ends too
  static_cast<Impl*>(self)->touch(connection);
}

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
MetricsServer::~MetricsServer() = default;

io::Result<std::unique_ptr<MetricsServer>> MetricsServer::open(const MetricsAddress& at, Pages pages) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto timer = io::TimerFd::open();
  if (!timer) return timer.error();
  auto listener = listen_at(at);
  if (!listener) return listener.error();
  auto impl =
      std::make_unique<Impl>(std::move(pages), std::move(*poller), std::move(*timer), std::move(*listener), at.path);
  if (const io::Status started = impl->start(); !started) return started.error();
  if (at.is_exposed())
    log_error("Metrics at {} are for whoever reaches that address{}: use 127.0.0.1, [::1] or unix:PATH", at.text(),
              at.each_peer ? ", with the peers' public keys and endpoints (CULVERT_METRICS_PEERS=off)" : "");
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl)));
}

uint16_t MetricsServer::port() const {
  io::SocketAddress address{};
  socklen_t length = sizeof address;
  if (impl_->is_unix()) return 0;
  if (::getsockname(impl_->listener(), &address.any, &length) != 0) return 0;
  return io::remote_of(address).port;
}

int MetricsServer::fd() const {
  return impl_->fd();
}

void MetricsServer::handle_events(protocol::Instant now) {
  impl_->handle_events(now);
}

size_t MetricsServer::connections() const {
  return impl_->connections();
}

}  // namespace culvert::daemon
