// An ethdev port: its queues, the memory that its packets arrive in, and what its device does for us.
#pragma once

#include <rte_mempool.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dpdk/frame.h"
#include "dpdk/mbufs.h"
#include "dpdk/mlx5.h"
#include "io/device_counts.h"
#include "io/result.h"

namespace culvert::dpdk {

// Frees a pool. Every mbuf has to be home.
struct FreePool {
  void operator()(rte_mempool* pool) const { rte_mempool_free(pool); }
};
using Pool = std::unique_ptr<rte_mempool, FreePool>;

// Memory for the packets of one worker: one pool for both of its ports, as a packet that comes in at one leaves by the
// other in the same mbuf. `mbufs`: what both ports' queues and a few batches hold. `mtu`: a frame of that size, with
// the headers and the tag that it gets, lies in one mbuf. `socket`: the NUMA node, or SOCKET_ID_ANY.
// Errors: ENOMEM, EEXIST for a name that is taken.
io::Result<Pool> make_pool(const std::string& name, uint32_t mbufs, uint32_t mtu, int socket);

struct PortOptions {
  uint16_t queues = 1;          // one receive and one transmit queue for each worker
  uint16_t descriptors = 1024;  // of each queue; the device may round
  uint32_t mtu = 1500;          // IP bytes of a frame
  // Offloads that are wanted; those that the device offers are used.
  bool checksum = true;       // of what we send
  bool segmentation = false;  // TSO: pays where a host's TCP is behind the port
  bool coalescing = false;    // LRO: what arrives may be superpackets of up to 64 KiB, in chains
  // Everything that a transmit queue gets is of one pool, in one piece, and nobody else's.
  bool fast_free = false;
  // Frames of the kernel by a driver that does not say which of them have a checksum that is only begun (af_packet,
  // af_xdp): a packet whose field holds the sum of the pseudo header alone is taken for one.
  bool unfinished_checksums = false;
  // The kernel keeps the port but for what flow rules take (mlx5's isolated mode). A device that cannot is not opened.
  bool isolated = false;
};

// What is in use: wanted and offered.
struct PortOffloads {
  bool udp_checksum = false, tcp_checksum = false;
  bool tcp_segmentation = false;
  bool chains = false;        // mbufs of several segments may be sent
  uint16_t max_segments = 1;  // of a chain
  bool receives_chains = false;
  bool receives_superpackets = false;
};

// Thread safety: methods are the control thread's, but for gone(), which is any thread's. Queues are their workers'
// alone.
class Port {
 public:
  // Configures and starts the port. pools[i] is what queue i receives into; they outlive the port.
  // Errors: ENODEV if there is no such port, EINVAL for an MTU or a number of queues that the device has not got, and
  // what its driver says. The context names the port and what was tried.
  static io::Result<std::unique_ptr<Port>> open(uint16_t id, const PortOptions& options,
                                                std::span<rte_mempool* const> pools);
  // The same by PCI address or name of the vdev; find_port() has the errors.
  static io::Result<std::unique_ptr<Port>> open(const std::string& name, const PortOptions& options,
                                                std::span<rte_mempool* const> pools);

  // Stops and closes the port; mbufs in its queues go home.
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  uint16_t id() const { return id_; }
  const std::string& name() const { return name_; }
  const MacAddress& mac() const { return mac_; }
  uint32_t mtu() const { return options_.mtu; }
  uint16_t queues() const { return options_.queues; }
  rte_mempool* pool(uint16_t queue) const { return pools_[queue]; }
  const PortOffloads& offloads() const { return offloads_; }
  // The kernel's interface of the same device (mlx5, af_xdp, af_packet); 0: it has none.
  unsigned kernel_interface() const { return kernel_interface_; }

  // Has the device steer what a rule matches to our queues, until the port is closed. An isolated port gets nothing
  // else. Errors: what the driver says, with the text of the rule.
  io::Status steer(const FlowRule& rule);
  // Takes all rules back.
  void stop_steering();
  bool is_isolated() const { return options_.isolated; }
  bool has_unfinished_checksums() const { return options_.unfinished_checksums; }

  // The kernel's word, where it has the port as well; else the driver's.
  bool is_up() const;
  // What its driver counts, and the link's state; then `sides`, in the order of kPortCounters. Nothing of the driver's
  // once the device is gone.
  io::DeviceCounts counts(const io::CounterValues<kPortCounters.size()>& sides) const;
  // Whether the device was taken away. Final.
  bool gone() const { return gone_.load(std::memory_order_acquire); }  // pairs with the release in on_gone()

 private:
  Port(uint16_t id, const PortOptions& options, std::span<rte_mempool* const> pools);
  io::Status configure();
  io::Status set_up_queues(int socket);
  io::Error error(int number, const std::string& what) const;

  const uint16_t id_;
  std::string name_;
  PortOptions options_;
  std::vector<rte_mempool*> pools_;
  PortOffloads offloads_;
  MacAddress mac_{};
  unsigned kernel_interface_ = 0;
  std::atomic<bool>& gone_;  // of its id
};

// What is known of a port before it is opened.
struct PortFacts {
  uint16_t id = 0;
  std::string name, driver;       // of the driver: "net_af_packet", "mlx5_pci"
  unsigned kernel_interface = 0;  // see Port
  uint16_t most_queues = 0;
  int socket = 0;  // NUMA node, or SOCKET_ID_ANY
};

// Looks for a port by PCI address or name of the vdev; "": the only one. Errors: ENODEV, which names those that there
// are; without any it says what to check.
io::Result<PortFacts> find_port(const std::string& name);

// The names of all ports that there are, with blanks between them; "none".
std::string port_names();

}  // namespace culvert::dpdk
