// Which addresses this host has, for the rare question whether a packet is our own.
#pragma once

#include <chrono>
#include <optional>
#include <vector>

#include "io/endpoint.h"

namespace culvert::io {

// Every address of every interface in the network namespace of the calling thread (getifaddrs(3)); empty if it cannot
// be told.
std::vector<Address> read_local_addresses();

// Remembers the answer for a while, so that whoever provokes the question cannot make it expensive.
//
// Thread safety: none; one worker owns it.
class LocalAddresses {
 public:
  static constexpr std::chrono::seconds kFreshFor{1};

  explicit LocalAddresses(std::vector<Address> (*read)() = read_local_addresses) : read_(read) {}

  // Whether the host has `address`, by an answer that is no older than kFreshFor. `now` is any steady clock's. Yes when
  // it cannot be told.
  bool contain(const Address& address, std::chrono::nanoseconds now);

 private:
  std::vector<Address> (*const read_)();
  std::vector<Address> addresses_;
  std::optional<std::chrono::nanoseconds> read_at_;
};

}  // namespace culvert::io
