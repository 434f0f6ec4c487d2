// The sink's control socket: a Unix stream socket, so that it is reached from any network namespace. Each line is
// answered by a line.
#pragma once

#include <functional>
#include <list>
#include <string>
#include <string_view>

#include "io/fd.h"
#include "io/poller.h"
#include "io/result.h"

namespace culvert::traffic {

// The sink's end. Thread safety: none. The socket file lives as long as this.
class ControlServer {
 public:
  // Answers a line, without the newline at either's end.
  using Answer = std::function<std::string(std::string_view line)>;

  // Takes over a file that is left of a dead sink. Errors: a path that is too long or that something else has.
  static io::Result<ControlServer> open(const std::string& path, io::Poller& poller);

  ControlServer(ControlServer&&) noexcept = default;
  ControlServer& operator=(ControlServer&&) = delete;
  ~ControlServer();

  // `tag` is that of an event of the poller: they start at kFirstTag. Accepts, reads and answers what is there; never
  // waits.
  static constexpr uint64_t kFirstTag = uint64_t{1} << 32;
  void serve(uint64_t tag, io::Poller& poller, const Answer& answer);

 private:
  struct Caller {
    io::Fd socket;
    std::string input;
  };

  ControlServer(io::Fd listener, std::string path) : listener_(std::move(listener)), path_(std::move(path)) {}

  void accept_caller(io::Poller& poller);
  static bool answer_lines(Caller& caller, const Answer& answer);

  io::Fd listener_;
  std::string path_;  // "" once moved from
  std::list<Caller> callers_;
};

// The searcher's end. Thread safety: none.
class ControlClient {
 public:
  // Errors: ENOENT and ECONNREFUSED when no sink serves there.
  static io::Result<ControlClient> connect(const std::string& path);

  // Sends a line and returns the answer. Errors: the sink is gone, or does not answer within seconds.
  io::Result<std::string> ask(std::string_view line);

 private:
  explicit ControlClient(io::Fd socket) : socket_(std::move(socket)) {}

  io::Fd socket_;
};

}  // namespace culvert::traffic
