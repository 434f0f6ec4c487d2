// Names to addresses by c-ares: A and AAAA at the same time, and nobody waits.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "io/endpoint.h"
#include "io/result.h"

namespace culvert::host {

struct NameQuestion {
  uint64_t id = 0;      // comes back with the answer
  std::string host;     // a name
  std::string servers;  // "192.0.2.53,[2001:db8::53]:5353" to ask; "": those of resolv.conf
  uint32_t fwmark = 0;  // on what is sent, so that it does not go into the tunnel; 0: none
};

struct NameAnswer {
  uint64_t id = 0;
  std::vector<io::Address> addresses;  // best first (RFC 6724); none: see `error`
  std::string error;
};

// Thread safety: none; owned by the control thread. /etc/hosts and resolv.conf are read at each question, so a change
// of them counts at once.
class NameLookup {
 public:
  static constexpr size_t kMostAtOnce = 32;  // more wait for their turn

  static io::Result<std::unique_ptr<NameLookup>> open();
  ~NameLookup();
  NameLookup(const NameLookup&) = delete;
  NameLookup& operator=(const NameLookup&) = delete;

  void ask(NameQuestion question);

  // An epoll instance: readable (level-triggered) while there is something to do. Constant.
  int fd() const;
  // When handle_events() has to be called even so; nothing: not before something happens.
  std::optional<std::chrono::nanoseconds> timeout() const;
  // Does what can be done now, and yields what has been answered. Never waits.
  std::vector<NameAnswer> handle_events();

 private:
  struct Impl;
  explicit NameLookup(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

// The servers of a resolv.conf(5), as NameQuestion::servers has them. Pure.
std::string servers_of(const std::string& resolv_conf);

}  // namespace culvert::host
