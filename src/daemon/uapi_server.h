// The UAPI socket: /var/run/wireguard/IFNAME.sock, its connections, and the watch for its deletion.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "io/result.h"
#include "src/daemon/uapi.h"

namespace culvert::daemon {

inline constexpr const char* kUapiDirectory = "/var/run/wireguard";

// What the server asks of the device. Called on the thread that calls handle_events().
class UapiHandler {
 public:
  virtual ~UapiHandler() = default;

  // The reply to `get`: print_get() of the device.
  virtual std::string get() = 0;
  // Receives `set`.
  virtual UapiTarget& target() = 0;
  // A client did something wrong; for the log. No secrets.
  virtual void on_error(const std::string& text) = 0;
};

// Creates `directory` (0755) where it is missing and binds IFNAME.sock in it under umask 077. When a socket
// is there already: alive is an error (EADDRINUSE), dead is unlinked and bound again. Yields a listening,
// non-blocking, close-on-exec descriptor that the caller owns. Changes the umask for a moment: call it before
// threads start.
io::Result<int> open_uapi_socket(const std::string& interface_name,
                                 const std::string& directory = kUapiDirectory);

// Serves the socket. One descriptor to poll stands for the listener, the connections and the watch.
//
// Many operations per connection. A line is applied as it arrives, so a `set` needs constant memory; `set`s
// on two connections may interleave line by line, which spares everybody from waiting for a stuck client.
// Each handle_events() does a bounded amount of work per connection. Bounds: kMaxConnections (a new one
// evicts the one that was silent longest) and kMaxPendingReplyBytes in replies that clients do not read
// (beyond it the one silent longest is evicted).
//
// Thread safety: none; owned by the control thread.
class UapiServer {
 public:
  static constexpr size_t kMaxConnections = 64;
  static constexpr size_t kMaxPendingReplyBytes = size_t{32} << 20;

  // Takes over `listen_fd` (from open_uapi_socket() or WG_UAPI_FD) and watches the socket file for deletion;
  // an adopted descriptor whose file is elsewhere is served all the same. `handler` must outlive the server.
  static io::Result<std::unique_ptr<UapiServer>> open(int listen_fd, const std::string& interface_name,
                                                      UapiHandler& handler,
                                                      const std::string& directory = kUapiDirectory);

  // Closes everything and unlinks the socket file, if it still is ours.
  ~UapiServer();
  UapiServer(const UapiServer&) = delete;
  UapiServer& operator=(const UapiServer&) = delete;

  // An epoll instance: readable (level-triggered) while there is something to do. Constant.
  int fd() const;

  // Does what can be done now; never waits.
  void handle_events();

  // The socket file was deleted: the daemon shall exit.
  bool socket_deleted() const { return socket_deleted_; }

  size_t connections() const;

 private:
  struct Connection;
  struct Impl;
  explicit UapiServer(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
  bool socket_deleted_ = false;
};

}  // namespace culvert::daemon
