// A TUN device: made or adopted, probed for offloads, and its queues.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "io/fd.h"
#include "io/inner_device.h"
#include "io/kernel_version.h"
#include "io/result.h"
#include "io/steering_map.h"
#include "tun/tun_queue.h"

namespace culvert::tun {

// Switches, one per offload, for kernels where one of them does harm.
struct TunOptions {
  bool vnet = true;  // virtio_net_hdr: without it every packet comes and goes alone, checksums finished
  bool tso = true;   // superpackets of TCP
  bool uso = true;   // superpackets of UDP
  bool join = true;  // superpackets are written too, not only read
  // With steer() each worker gets a second queue, for its sparse flows (tun/lanes.h). Not with several queues to begin
  // with.
  bool lanes = false;
  int queues = 1;  // 1 to kMaxQueues; a device that was there before may have room for one only
  // Queues can be added later; more than one queue implies it. Costs nothing per packet, but 6 MiB of kernel memory
  // while the interface is up: Linux gives it 256 transmit queues, each with a queueing discipline.
  bool multi_queue = true;
  io::Engine engine = io::Engine::automatic;
};

// Whether a kernel of this version survives UDP superpackets written to a TUN when they
// carry a tunnel, VXLAN say. They corrupted it before Linux 6.8.5 and 6.6.26 (kernel commit 3d010c8031e3,
// "udp: do not accept non-tunnel GSO skbs landing in a tunnel"), which no probe can see.
bool udp_superpackets_are_safe(io::KernelVersion kernel);

// Set-up of a TUN device. Thread safety: none, the control thread's; each queue belongs to its worker.
// Lifetime: owns its queues. Destroying it closes them, which deletes a device that is not persistent.
class TunDevice final : public io::InnerDevice {
 public:
  static constexpr int kMaxQueues = 256;  // the kernel's; a queue with lanes is two of them

  // Makes the device `name` (1 to 15 bytes; "wg%d" lets the kernel number it) or attaches to a persistent one, which
  // has one queue if it was made so. Errors: EINVAL for the name or the number of queues, EPERM without
  // CAP_NET_ADMIN, EBUSY when somebody has it, EEXIST when the name is that of an interface of another kind, ENOENT or
  // ENODEV without /dev/net/tun; those of Ring::open() and EOPNOTSUPP for an io_uring engine that cannot be had.
  static io::Result<std::unique_ptr<TunDevice>> create(const std::string& name, const TunOptions& options);

  // Takes a descriptor that somebody else attached to a TUN device, with or without virtio header; it becomes
  // non-blocking. `options.queues` is ignored. It must have been made without packet information (IFF_NO_PI):
  // TUNGETIFF cannot tell, because IFF_NOFILTER, which it always adds, is the same bit. Errors: EBADFD when it
  // is no attached TUN descriptor, EINVAL for a TAP device.
  static io::Result<std::unique_ptr<TunDevice>> adopt(io::Fd fd, const TunOptions& options);

  // Asks the kernel, so it stays right after a rename, also in another namespace. The last known name if the
  // device is gone.
  const std::string& name();

  // By name, in the network namespace of the caller: fails with ENODEV once the device was moved to another.
  io::Result<int> mtu();
  io::Status set_mtu(int mtu);

  // The network namespace that the device is in now, wherever it was moved (TUNGETDEVNETNS, Linux 5.2).
  io::Result<io::Fd> device_namespace_fd() const;

  // Whether add_queue() may succeed: not with a device that was made for one queue or adopted.
  bool can_grow() const override { return multi_queue_ && queues_.size() < (lanes_ ? kMaxQueues / 2 : kMaxQueues); }

  // Adds a queue, the last one, while the device is in use. It has the offloads that the first one has. Without
  // steer() the kernel moves flows to it. Errors: EOPNOTSUPP when it cannot grow, those of create(), EAGAIN when the
  // device was renamed or moved meanwhile.
  io::Status add_queue() override;

  // Closes the last queue, of several; nobody uses it any more. What the kernel had put there is lost: take it out of
  // the steering table, then drain it, before. The others keep their numbers.
  void remove_last_queue() override;

  // From now on queue i gets the packets of the flows whose slots belong to worker i in `table`, also when that
  // changes. Errors: those of load_tun_steering() and attach_tun_steering(); then the kernel goes on to move flows.
  io::Status steer(const io::SteeringMap& table) override;

  size_t queue_count() const override { return queues_.size(); }
  TunQueue& queue(size_t i) override { return *queues_[i]; }
  const TunQueue& queue(size_t i) const { return *queues_[i]; }

 private:
  explicit TunDevice(const TunOptions& options) : options_(options) {}
  io::Status take_first_queue(io::Fd fd, bool vnet_header);
  io::Result<std::unique_ptr<TunQueue>> open_queue();
  io::Status add_lane(TunQueue& queue, size_t worker);
  io::Status steer_lanes(const io::SteeringMap& table);
  io::Status take_queue(io::Fd fd, bool vnet_header, const io::InnerOffloads& offloads);
  void set_transmit_queue_length();

  TunOptions options_;
  bool multi_queue_ = false;
  std::string name_;
  std::unique_ptr<Lanes> lanes_;  // null: every worker has one queue
  std::vector<std::unique_ptr<TunQueue>> queues_;
};

}  // namespace culvert::tun
