// Serves the UAPI socket: its connections, and the watch for the deletion of its file.
#pragma once

#include <cstddef>
#include <memory>

#include "io/fd.h"
#include "io/result.h"
#include "src/uapi/conversation.h"

namespace culvert::uapi {

// Serves the socket. One descriptor to poll stands for the listener, the connections and the watch.
//
// Many operations per connection. A line is applied as it arrives, so a `set` needs constant memory; `set`s
// on two connections may interleave line by line, which spares everybody from waiting for a stuck client.
// Each handle_events() does a bounded amount of work per connection. Bounds: kMaxConnections (a new one
// evicts the one that was silent longest) and kMaxPendingReplyBytes in replies that clients do not read
// (beyond it the one silent longest is evicted).
//
// Thread safety: none; owned by the control thread.
class Server {
 public:
  static constexpr size_t kMaxConnections = 64;
  static constexpr size_t kMaxPendingReplyBytes = size_t{32} << 20;

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
  void handle_events();

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
