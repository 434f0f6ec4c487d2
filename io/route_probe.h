// Which way the kernel would send to an address now.
#pragma once

#include <cstdint>

#include "io/endpoint.h"
#include "io/fd.h"

namespace culvert::io {

// The kernel's choice for one remote address. Two different answers over time mean that the route has changed.
struct RouteChoice {
  Address source;          // Family::none: there is no route
  uint32_t mtu_bytes = 0;  // of the path, as far as it is known

  bool operator==(const RouteChoice&) const = default;
};

// Asks by connecting a scratch socket; nothing is sent. The sockets are opened when first needed, in the network
// namespace of the caller, and kept: a question is four system calls.
//
// Thread safety: none; one owner.
class RouteProbe {
 public:
  // `fwmark` as on the sockets that send (0: none). No route where the question itself fails (EMFILE, EPERM).
  RouteChoice ask(const Endpoint& remote, uint32_t fwmark);

 private:
  struct Scratch {
    Fd fd;
    uint32_t fwmark = 0;
  };

  Scratch v4_, v6_;
};

}  // namespace culvert::io
