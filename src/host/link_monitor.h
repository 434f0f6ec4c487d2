// What happens to the TUN interface: up, down, MTU, deletion; also after it was moved to another network
// namespace, where our own rtnetlink socket does not see it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/result.h"

namespace culvert::host {

enum class LinkEvent : uint8_t {
  up,
  down,
  mtu,    // see LinkState::mtu_bytes
  moved,  // to another namespace, or renamed: see LinkState::name
  gone,   // the device was deleted; the last event
};

struct LinkState {
  bool up = false;
  bool gone = false;
  uint32_t mtu_bytes = 0;  // 0: unknown, while polling
  std::string name;
};

// Listens by rtnetlink from the namespace in which open() was called. An interface that lives elsewhere is
// followed by its namespace id: NETLINK_LISTEN_ALL_NSID (Linux 4.2) lets our socket see the other namespace without
// keeping that one alive, which a socket inside it would, long after its container ended. The descriptor tells
// which namespace it is (TUNGETDEVNETNS, Linux 5.2). Where that is not possible the monitor falls back to asking
// the TUN descriptor once a second, which cannot see the MTU; watching() says which. With rtnetlink there are no
// wake-ups while no link changes.
//
// Thread safety: none; owned by the control thread, which stays in the namespace of open().
class LinkMonitor {
 public:
  enum class Watching : uint8_t { netlink, polling };

  // `tun_fd` is attached to the interface, stays the caller's and must outlive the monitor. state() is filled
  // in from the start; the first read_events() reports only what changed since.
  static io::Result<std::unique_ptr<LinkMonitor>> open(int tun_fd);
  ~LinkMonitor();
  LinkMonitor(const LinkMonitor&) = delete;
  LinkMonitor& operator=(const LinkMonitor&) = delete;

  // An epoll instance: readable (level-triggered) while there is something to read. Constant.
  int fd() const;

  // What changed since the last call, in order; never waits.
  std::vector<LinkEvent> read_events();

  const LinkState& state() const;
  Watching watching() const;

 private:
  struct Impl;
  explicit LinkMonitor(std::unique_ptr<Impl> impl);

  std::unique_ptr<Impl> impl_;
};

}  // namespace culvert::host
