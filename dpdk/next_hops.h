// Which addresses a port has, and to which MAC address what it sends goes. A port without a kernel twin takes them from
// the configuration; else they follow the kernel.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <vector>

#include "dpdk/frame.h"
#include "io/endpoint.h"

namespace culvert::dpdk {

inline bool is_link_local(const io::Address& address) {
  return address.family == io::Family::v6 && address.bytes[0] == 0xfe && (address.bytes[1] & 0xc0) == 0x80;
}

// One snapshot. Thread safety: constant once it is published.
struct NextHops {
  struct OwnAddress {
    io::Address address;
    uint8_t prefix_bits = 0;  // of the network on this link
  };
  struct Neighbour {
    io::Address address;
    MacAddress mac{};
  };

  struct Route {
    io::Address prefix;
    uint8_t prefix_bits = 0;
    io::Address gateway;  // Family::none: whoever is in there is on the link
    io::Address source;   // what to send from; Family::none: the route does not say
  };

  Link link;
  uint32_t mtu = UINT32_MAX;          // of the link now, where that is less than the port was opened with
  std::vector<OwnAddress> addresses;  // those that others can reach first
  std::vector<io::Address> gateways;  // the first of a family is for what is not on the link
  std::vector<Route> routes;          // the longest prefixes first; instead of gateways and networks, unless empty
  std::vector<Neighbour> neighbours;  // sorted by sort_neighbours()

  void sort_neighbours();

  bool is_own(const io::Address& address) const;
  // The address of ours to send from to there: what the route says, else one of the network that the next hop is in,
  // else the first of the family; null: there is none.
  const io::Address* source_for(const io::Address& remote) const;
  // Whose MAC address is wanted for what goes to `remote`: its own on the link, else the gateway's; none: unreachable.
  std::optional<io::Address> hop_to(const io::Address& remote) const;
  // The MAC address for `remote`; null: there is no way, or the neighbour is not known.
  const MacAddress* find(const io::Address& remote) const;

 private:
  const Route* route_to(const io::Address& remote) const;
};

// The snapshot in force. Thread safety: one thread publishes, any number of Readers read, each from its own thread.
class PublishedNextHops {
 public:
  explicit PublishedNextHops(NextHops first) { publish(std::move(first)); }
  PublishedNextHops(const PublishedNextHops&) = delete;
  PublishedNextHops& operator=(const PublishedNextHops&) = delete;

  void publish(NextHops next);

  // The snapshot in force. Any thread.
  std::shared_ptr<const NextHops> current() const { return std::atomic_load(&current_); }

  // Keeps a snapshot, and looks for a newer one where asked to: one load of an atomic where there is none.
  class Reader {
   public:
    explicit Reader(const PublishedNextHops& published) : published_(published) {}
    const NextHops& refresh() {
      // Pairs with the release in publish().
      if (const uint64_t now = published_.version_.load(std::memory_order_acquire); now != version_) take(now);
      return *held_;
    }

   private:
    void take(uint64_t version);

    const PublishedNextHops& published_;
    uint64_t version_ = 0;
    std::shared_ptr<const NextHops> held_;
  };

 private:
  std::atomic<uint64_t> version_{0};
  // By std::atomic_load and std::atomic_store.
  std::shared_ptr<const NextHops> current_;
};

}  // namespace culvert::dpdk
