// Serves the UAPI socket: its connections, and the watch for the deletion of its file.
#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <optional>

#include "io/fd.h"
#include "io/result.h"
#include "src/uapi/conversation.h"

namespace culvert::uapi {

// Serves the socket. One descriptor to poll stands for the listener, the connections and the watch.
//
// Many operations per connection. The lines of a `set` wait until its end and are applied in one go: no other
// connection sees half of it, and none waits for a client that is stuck. Each handle_events() reads a bounded amount
// from each connection. Bounds, beyond which the connection that was silent longest is closed: kMaxConnections,
// kMaxPendingReplyBytes in replies that clients do not read, kMaxUapiLines in `set`s that have not ended. Whoever is
// silent for kStallTimeout in the middle of an operation gets an error and is closed; between two operations a client
// may be silent for ever. Wherever a `set` is cut off, its lines so far count.
//
// `now` is the time since boot, for that timeout.
//
// Thread safety: none; owned by the control thread.
class Server {
 public:
  static constexpr size_t kMaxConnections = 64;
  static constexpr size_t kMaxPendingReplyBytes = size_t{32} << 20;
  static constexpr std::chrono::seconds kStallTimeout{30};

  // Takes over a listening socket (from open_uapi_socket() or WG_UAPI_FD) and watches its file for deletion: `path`,
  // or if that is empty the one that it was bound to. A socket without a file that we can see is served all the
  // same. `handler` must outlive the server.
  static io::Result<std::unique_ptr<Server>> open(io::Fd listener, Handler& handler, const std::string& path = "");

  // Closes everything and unlinks the socket file, if it still is ours.
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // An epoll instance: readable (level-triggered) while there is something to do. Constant.
  int fd() const;

  // Does what can be done now; never waits.
  void handle_events(std::chrono::nanoseconds now);

  // Closes whoever has stalled, and says when to look again; nothing: not before something happens.
  std::optional<std::chrono::nanoseconds> close_stalled(std::chrono::nanoseconds now);

  // The socket file was deleted: the daemon shall exit.
  bool socket_deleted() const { return socket_deleted_; }

  size_t connections() const;

 private:
  struct Impl;
  explicit Server(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
  bool socket_deleted_ = false;
};

}  // namespace culvert::uapi
