#include "src/daemon/dpdk_ports.h"

#include <fmt/format.h>
#include <net/if.h>
#include <rte_memory.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <functional>
#include <utility>
#include <vector>

#include "dpdk/eal.h"
#include "dpdk/inner_device.h"
#include "dpdk/mlx5.h"
#include "dpdk/next_hops.h"
#include "dpdk/outer_device.h"
#include "dpdk/port.h"
#include "dpdk/xdp_steering.h"
#include "io/fd.h"
#include "io/poller.h"
#include "io/wakeup.h"
#include "src/host/link_view.h"
#include "src/host/route_monitor.h"
#include "src/log.h"

namespace culvert::daemon {
namespace {

constexpr uint32_t kUsualMtu = 1500;
// What a worker has in its hands beside the queues: batches of both directions, and the cache of its pool.
constexpr uint32_t kMbufsInHands = 2048;
constexpr const char* kMellanox = "0x15b3";
constexpr const char* kMlx5Driver = "mlx5_pci";
constexpr const char* kAfPacketDriver = "net_af_packet";
constexpr const char* kAfXdpDriver = "net_af_xdp";

bool is_pci_address(const std::string& name) {
  return std::count(name.begin(), name.end(), ':') == 2 && name.find('.') != std::string::npos;
}

std::string vendor_of(const std::string& pci_address) {
  std::ifstream file("/sys/bus/pci/devices/" + pci_address + "/vendor");
  std::string vendor;
  file >> vendor;
  return vendor;
}

bool chooses_devices(const std::string& argument) {
  for (const char* const option : {"-a", "--allow", "-b", "--block", "--no-pci"})
    if (argument.starts_with(option)) return true;
  return false;
}

// Has ports of af_xdp among the devices, but for that of the inner side, get our datagrams alone, unless the user gives
// them a program. Without eBPF the driver's own takes every frame from the kernel.
io::Status choose_xdp_program(std::vector<std::string>& words, const device::DpdkRequest& request) {
  static io::Fd program;  // in the arguments by its number
  for (size_t i = 0; i < words.size(); ++i) {
    std::string& word = words[i];
    constexpr std::string_view kOption = "--vdev=";
    const bool is_option = word.starts_with(kOption);
    if (!is_option && (i == 0 || words[i - 1] != "--vdev")) continue;
    const std::string device = word.substr(is_option ? kOption.size() : 0);
    if (!device.starts_with(kAfXdpDriver) || device.find(",xdp_prog=") != std::string::npos ||
        (request.inner && request.inner->name == device.substr(0, device.find(','))))
      continue;
    if (!program) {
      auto made = dpdk::XdpSteering::make_program_file();
      if (!made) return made.error();
      program = std::move(*made);
    }
    word += fmt::format(",xdp_prog=/proc/self/fd/{}", program.get());
  }
  return io::Success{};
}

// What the user says, and the devices that the ports name. No other is touched: DPDK by itself would take every card
// that it knows, also those that the kernel is using.
io::Result<std::vector<std::string>> eal_arguments(const device::DpdkRequest& request) {
  auto words = dpdk::split_arguments(request.arguments);
  if (!words) return words;
  if (const io::Status chosen = choose_xdp_program(*words, request); !chosen) return chosen.error();
  if (std::any_of(words->begin(), words->end(), chooses_devices)) return words;
  bool allows = false;
  for (const auto* const port : {&request.outer, &request.inner}) {
    if (!*port || !is_pci_address((*port)->name)) continue;
    std::string device = (*port)->name;
    if (vendor_of(device) == kMellanox) {
      auto with_arguments = dpdk::mlx5_device(device, (*port)->mtu.value_or(kUsualMtu), {});
      if (!with_arguments) return with_arguments.error();
      device = std::move(*with_arguments);
    }
    words->insert(words->end(), {"-a", device});
    allows = true;
  }
  if (!allows) words->push_back("--no-pci");
  return words;
}

// DPDK cannot be started twice in a process, and not after its end.
io::Result<std::shared_ptr<dpdk::Eal>> start_eal(const device::DpdkRequest& request) {
  static std::weak_ptr<dpdk::Eal> running;
  static std::vector<std::string> started_with;
  auto arguments = eal_arguments(request);
  if (!arguments) return arguments.error();
  if (std::shared_ptr<dpdk::Eal> eal = running.lock()) {
    if (*arguments == started_with) return eal;
    return io::Error{0, "DPDK runs in this process with other arguments; give all files the same, with all devices"};
  }
  auto started = dpdk::Eal::start(*arguments);
  if (!started) return started.error();
  started_with = std::move(*arguments);
  std::shared_ptr<dpdk::Eal> eal = std::move(*started);
  running = eal;
  return eal;
}

// The MTU of an interface of the kernel; nothing: it has none of that index.
std::optional<uint32_t> kernel_mtu(unsigned index) {
  ifreq request{};
  const io::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (::if_indextoname(index, request.ifr_name) == nullptr || ::ioctl(socket.get(), SIOCGIFMTU, &request) != 0)
    return std::nullopt;
  return static_cast<uint32_t>(request.ifr_mtu);
}

dpdk::NextHops next_hops_of(const device::PortRequest& request, const dpdk::MacAddress& mac) {
  dpdk::NextHops hops;
  hops.link = {mac, request.vlan};
  for (const device::Prefix& prefix : request.addresses)
    hops.addresses.push_back(
        {{prefix.address, prefix.version == protocol::IpVersion::v4 ? io::Family::v4 : io::Family::v6}, prefix.cidr});
  hops.gateways = request.gateways;
  for (const device::PortNeighbour& neighbour : request.neighbours)
    hops.neighbours.push_back({neighbour.address, neighbour.mac});
  return hops;
}

// A port as it is wanted and as it is.
struct Planned {
  device::PortRequest request;
  dpdk::PortFacts facts;
  uint32_t mtu = kUsualMtu;
};

io::Result<Planned> plan_port(const std::optional<device::PortRequest>& request, size_t workers) {
  Planned planned;
  planned.request = request.value_or(device::PortRequest());
  auto facts = dpdk::find_port(planned.request.name);
  if (!facts) return facts.error();
  planned.facts = std::move(*facts);
  planned.mtu = planned.request.mtu.value_or(kernel_mtu(planned.facts.kernel_interface).value_or(kUsualMtu));
  if (planned.facts.most_queues < workers)
    return io::Error{0, fmt::format("DPDK port {} has {} queues, and each of {} workers needs one (use --workers {})",
                                    planned.facts.name, planned.facts.most_queues, workers, planned.facts.most_queues)};
  return planned;
}

// The kernel's view of a port that it has as well.
dpdk::NextHops next_hops_of(const host::LinkView& view, uint16_t vlan) {
  dpdk::NextHops hops;
  hops.link = {view.mac, vlan};
  hops.mtu = view.mtu;
  for (const host::LinkView::OwnAddress& own : view.addresses) hops.addresses.push_back({own.address, own.prefix_bits});
  for (const host::LinkView::Route& route : view.routes)
    hops.routes.push_back({route.prefix, route.prefix_bits, route.gateway, route.source});
  for (const host::LinkView::Neighbour& neighbour : view.neighbours)
    hops.neighbours.push_back({neighbour.address, neighbour.mac});
  return hops;
}

bool is_static(const device::PortRequest& request) {
  return !request.addresses.empty() || !request.gateways.empty() || !request.neighbours.empty();
}

// A port in use, with where its frames go.
class OpenPort {
 public:
  OpenPort(std::unique_ptr<dpdk::Port> port, const device::PortRequest& request, const io::Wakeup& wakeup)
      : port_(std::move(port)),
        vlan_(request.vlan),
        kernel_index_(is_static(request) ? 0 : port_->kernel_interface()),
        next_hops_(next_hops_of(request, port_->mac())),
        wanted_(wakeup) {}

  dpdk::Port& port() { return *port_; }
  const dpdk::PublishedNextHops& next_hops() const { return next_hops_; }
  dpdk::WantedHops& wanted() { return wanted_; }
  bool follows_kernel() const { return kernel_index_ != 0; }

  io::Status refresh() {
    auto view = host::read_link_view(kernel_index_);
    if (!view) return view.error();
    next_hops_.publish(next_hops_of(*view, vlan_));
    return io::Success{};
  }

  void attend(bool kernel_changed) {
    if (port_->gone() && !std::exchange(told_gone_, true))
      log_error("DPDK port {} was taken away: nothing comes or goes by it until culvert is started anew",
                port_->name());
    // The kernel takes routes away and gives them back with the link: that is when we look.
    if (const bool up = port_->is_up(); !port_->gone() && std::exchange(was_up_, up) != up)
      log_verbose("The link of DPDK port {} is {}", port_->name(), up ? "up" : "down");
    const std::vector<io::Address> hops = wanted_.take();
    if (!follows_kernel()) return;
    // What the kernel refuses stays unknown: datagrams there are dropped and counted, and wanted again.
    for (const io::Address& hop : hops) (void)host::resolve_neighbour(kernel_index_, hop);
    if (!kernel_changed) return;
    if (const io::Status refreshed = refresh(); !refreshed) log_verbose("{}", refreshed.error().text());
  }

 private:
  const std::unique_ptr<dpdk::Port> port_;
  const uint16_t vlan_;
  const unsigned kernel_index_;  // 0: the user's addresses are all that there is
  dpdk::PublishedNextHops next_hops_;
  dpdk::WantedHops wanted_;
  bool told_gone_ = false;
  bool was_up_ = port_->is_up();
};

class Ports final : public DpdkPorts {
 public:
  static io::Result<std::unique_ptr<Ports>> make(std::shared_ptr<dpdk::Eal> eal);

  io::Status open_all(const device::DpdkRequest& request, size_t workers);

  io::OuterDevice& outer() override { return *outer_device_; }
  io::InnerDevice* inner() override { return inner_device_.get(); }
  int fd() const override { return poller_.fd(); }
  void attend() override;
  std::string text() const override { return text_; }

 private:
  Ports(std::shared_ptr<dpdk::Eal> eal, io::Poller poller, io::Wakeup wakeup, host::RouteMonitor monitor)
      : eal_(std::move(eal)), poller_(std::move(poller)), wakeup_(std::move(wakeup)), monitor_(std::move(monitor)) {}

  io::Status make_pools(const Planned& outer, const Planned* inner, size_t workers);
  io::Status open_port(const Planned& planned, bool is_inner, size_t workers, std::unique_ptr<OpenPort>& out);

  const std::shared_ptr<dpdk::Eal> eal_;
  std::vector<dpdk::Pool> pools_;  // of each worker
  io::Poller poller_;
  io::Wakeup wakeup_;  // what workers want
  host::RouteMonitor monitor_;
  std::unique_ptr<OpenPort> outer_, inner_;  // no inner one: a TUN device
  std::unique_ptr<dpdk::OuterDevice> outer_device_;
  std::unique_ptr<dpdk::InnerDevice> inner_device_;
  std::string text_;
};

io::Result<std::unique_ptr<Ports>> Ports::make(std::shared_ptr<dpdk::Eal> eal) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto wakeup = io::Wakeup::open();
  if (!wakeup) return wakeup.error();
  auto monitor = host::RouteMonitor::open_with_neighbours();
  if (!monitor) return monitor.error();
  for (const int fd : {wakeup->fd(), monitor->fd()})
    if (const io::Status added = poller->add(fd, 0); !added) return added.error();
  return std::unique_ptr<Ports>(new Ports(std::move(eal), std::move(*poller), std::move(*wakeup), std::move(*monitor)));
}

void Ports::attend() {
  wakeup_.drain();
  const bool changed = monitor_.read_changes();
  for (const auto& port : {std::cref(outer_), std::cref(inner_)})
    if (port.get() != nullptr) port.get()->attend(changed);
}

io::Status Ports::open_all(const device::DpdkRequest& request, size_t workers) {
  auto outer = plan_port(request.outer, workers);
  if (!outer) return outer.error();
  std::optional<Planned> inner;
  if (request.inner) {
    auto planned = plan_port(request.inner, workers);
    if (!planned) return planned.error();
    if (planned->facts.id == outer->facts.id)
      return io::Error{0, "DPDK port " + planned->facts.name + " cannot be the inner and the outer one"};
    inner = std::move(*planned);
  }
  if (io::Status made = make_pools(*outer, inner ? &*inner : nullptr, workers); !made) return made;
  if (io::Status opened = open_port(*outer, false, workers, outer_); !opened) return opened;
  std::unique_ptr<dpdk::XdpSteering> xdp;
  if (outer->facts.driver == kAfXdpDriver) {
    auto found = dpdk::XdpSteering::find(outer->facts.kernel_interface);
    if (!found) log_verbose("The port gets what its own XDP program gives it: {}", found.error().text());
    if (found) xdp = std::move(*found);
  }
  outer_device_ =
      std::make_unique<dpdk::OuterDevice>(outer_->port(), outer_->next_hops(), &outer_->wanted(), std::move(xdp));
  if (!inner) return io::Success{};
  if (io::Status opened = open_port(*inner, true, workers, inner_); !opened) return opened;
  inner_device_ = std::make_unique<dpdk::InnerDevice>(inner_->port(), inner_->next_hops(), &inner_->wanted());
  return io::Success{};
}

// One for each worker, on the node of the outer port: both ports of the worker are filled from it.
io::Status Ports::make_pools(const Planned& outer, const Planned* inner, size_t workers) {
  static unsigned made = 0;  // names are the process's
  const uint32_t mbufs =
      kMbufsInHands + 2U * outer.request.descriptors + (inner != nullptr ? 2U * inner->request.descriptors : 0U);
  const uint32_t mtu = std::max(outer.mtu, inner != nullptr ? inner->mtu : 0);
  for (size_t i = 0; i < workers; ++i) {
    auto pool = dpdk::make_pool(fmt::format("culvert{}", made++), mbufs, mtu, outer.facts.socket);
    if (!pool) return pool.error();
    pools_.push_back(std::move(*pool));
  }
  return io::Success{};
}

io::Status Ports::open_port(const Planned& planned, bool is_inner, size_t workers, std::unique_ptr<OpenPort>& out) {
  dpdk::PortOptions options;
  options.queues = static_cast<uint16_t>(workers);
  options.descriptors = planned.request.descriptors;
  options.mtu = planned.mtu;
  options.segmentation = is_inner;
  options.isolated = !is_inner && planned.facts.driver == kMlx5Driver;
  options.unfinished_checksums = planned.facts.driver == kAfPacketDriver || planned.facts.driver == kAfXdpDriver;
  std::vector<rte_mempool*> pools;
  for (const dpdk::Pool& pool : pools_) pools.push_back(pool.get());
  auto port = dpdk::Port::open(planned.facts.id, options, pools);
  if (!port) return port.error();
  out = std::make_unique<OpenPort>(std::move(*port), planned.request, wakeup_);
  if (out->follows_kernel())
    if (io::Status read = out->refresh(); !read) return read;
  const dpdk::MacAddress& mac = out->port().mac();
  text_ += fmt::format("{}{} port {} ({}, MTU {}, {:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x})",
                       text_.empty() ? "" : ", ", is_inner ? "inner" : "outer", out->port().name(),
                       planned.facts.driver, planned.mtu, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
  return io::Success{};
}

}  // namespace

io::Result<std::unique_ptr<DpdkPorts>> DpdkPorts::open(const device::DpdkRequest& request, size_t workers) {
  auto eal = start_eal(request);
  if (!eal) return eal.error();
  auto ports = Ports::make(std::move(*eal));
  if (!ports) return ports.error();
  if (const io::Status opened = (*ports)->open_all(request, workers); !opened) return opened.error();
  return std::unique_ptr<DpdkPorts>(std::move(*ports));
}

}  // namespace culvert::daemon
