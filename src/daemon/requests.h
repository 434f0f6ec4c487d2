// What `culvert down`, `reload` and `status` say to the process that serves the interface: one line there, text back.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "io/fd.h"
#include "io/poller.h"
#include "io/result.h"
#include "src/host/journal.h"

namespace culvert::daemon {

inline constexpr const char* kStatus = "status";
inline constexpr const char* kStatusJson = "status-json";

// A line of a client: "down", "reload", kStatus or kStatusJson.
struct Request {
  uint64_t client = 0;
  std::string interface_name;
  std::string verb;
  pid_t process = 0;  // of the client; 0: in a PID namespace that ours does not see
};

// Serves /run/culvert/NAME.sock of each interface, for root alone. At most kMaxClients at a time: the one that waits
// longest makes room. Never waits for a client.
//
// Thread safety: none; owned by the control thread.
class RequestServer {
 public:
  static constexpr size_t kMaxClients = 16;

  static io::Result<std::unique_ptr<RequestServer>> open(const std::string& directory = host::kRunDirectory);
  ~RequestServer();
  RequestServer(const RequestServer&) = delete;
  RequestServer& operator=(const RequestServer&) = delete;

  io::Status listen(const std::string& interface_name);
  void stop_listening(const std::string& interface_name);

  // Readable (level-triggered) while there is something to do. Constant.
  int fd() const { return poller_.fd(); }
  void handle_events();

  // The next request that fits, or none (client 0). Each wants one reply().
  Request next(const std::function<bool(const Request&)>& fits);
  // Ends the conversation: exit code and text for the client to print.
  void reply(uint64_t client, int exit_code, const std::string& text);

 private:
  struct Client {
    io::Fd fd;
    std::string interface_name;
    std::string in, out;
    bool asked = false, replied = false;
  };

  RequestServer(io::Poller poller, std::string directory)
      : poller_(std::move(poller)), directory_(std::move(directory)) {}

  void accept_all(int listener, const std::string& interface_name);
  void read(uint64_t id);
  void write(uint64_t id);
  void drop(uint64_t id);

  io::Poller poller_;
  const std::string directory_;
  std::map<uint64_t, std::pair<std::string, io::Fd>> listeners_;  // by tag: interface and socket
  std::map<uint64_t, Client> clients_;                            // by tag
  std::deque<Request> waiting_;
  uint64_t next_tag_ = 1;
};

// The client: says `verb` to whoever serves the interface. Error ECONNREFUSED or ENOENT: nobody does.
struct Reply {
  int exit_code = 0;
  std::string text;
};
io::Result<Reply> ask(const std::string& interface_name, const std::string& verb,
                      const std::string& directory = host::kRunDirectory);

// Where the sockets are: "/run/culvert/wg0.sock".
std::string request_socket(const std::string& interface_name, const std::string& directory = host::kRunDirectory);

}  // namespace culvert::daemon
