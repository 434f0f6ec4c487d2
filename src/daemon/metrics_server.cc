#include "src/daemon/metrics_server.h"

#include <httplib.h>

#include <cerrno>
#include <chrono>
#include <thread>
#include <utility>

namespace culvert::daemon {
namespace {

constexpr size_t kWorkers = 2;
constexpr size_t kMaxRequestBytes = 4096;
constexpr time_t kTimeoutSeconds = 5;

// The numeric address without brackets and port, as getaddrinfo(3) takes it.
std::string host_of(const io::Endpoint& endpoint) {
  const std::string text = io::to_string(endpoint);
  const std::string host = text.substr(0, text.rfind(':'));
  return host.front() == '[' ? host.substr(1, host.size() - 2) : host;
}

}  // namespace

struct MetricsServer::Impl {
  httplib::Server server;
  std::thread listener;
  uint16_t port = 0;
};

MetricsServer::MetricsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

io::Result<std::unique_ptr<MetricsServer>> MetricsServer::start(const io::Endpoint& at,
                                                                std::function<std::string()> render) {
  const std::string action = "serve metrics at " + io::to_string(at);
  auto impl = std::make_unique<Impl>();
  httplib::Server& server = impl->server;
  server.new_task_queue = [] { return new httplib::ThreadPool(kWorkers); };
  server.set_payload_max_length(kMaxRequestBytes);
  server.set_read_timeout(kTimeoutSeconds);
  server.set_write_timeout(kTimeoutSeconds);
  server.set_keep_alive_timeout(kTimeoutSeconds);
  // The default adds SO_REUSEPORT, and a second daemon would share the port unnoticed.
  server.set_socket_options([](socket_t fd) {
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  });
  server.Get("/metrics", [render = std::move(render)](const httplib::Request&, httplib::Response& response) {
    response.set_content(render(), "text/plain; version=0.0.4; charset=utf-8");
  });
  errno = 0;
  const std::string host = host_of(at);
  const int port = at.port == 0 ? server.bind_to_any_port(host) : at.port;
  if (port < 0 || (at.port != 0 && !server.bind_to_port(host, port))) {
    const int number = errno != 0 ? errno : EADDRNOTAVAIL;
    return io::Error{number, action + " (CULVERT_METRICS; choose a free address and port of this host)"};
  }
  impl->port = static_cast<uint16_t>(port);
  impl->listener = std::thread([&server] { server.listen_after_bind(); });
  // stop() before it runs would be lost.
  while (!server.is_running()) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  return std::unique_ptr<MetricsServer>(new MetricsServer(std::move(impl)));
}

MetricsServer::~MetricsServer() {
  impl_->server.stop();
  impl_->listener.join();
}

uint16_t MetricsServer::port() const {
  return impl_->port;
}

}  // namespace culvert::daemon
