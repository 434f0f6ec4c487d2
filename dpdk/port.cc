#include "dpdk/port.h"

#include <net/if.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_flow.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "io/fd.h"
#include "io/lease.h"
#include "io/outer_side.h"

namespace culvert::dpdk {
namespace {

// The largest that DPDK knows: what a worker has in its hands fits in the cache of its pool.
constexpr uint32_t kPoolCache = RTE_MEMPOOL_CACHE_MAX_SIZE;

// Drivers with buffers of their own take no pool whose mbufs are smaller than these (af_packet, af_xdp).
constexpr size_t kLeastRoom = 2048;

uint64_t wanted_transmit(const PortOptions& options) {
  uint64_t wanted = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  if (options.checksum)
    wanted |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM;
  if (options.segmentation) wanted |= RTE_ETH_TX_OFFLOAD_TCP_TSO;
  if (options.fast_free) wanted |= RTE_ETH_TX_OFFLOAD_MBUF_FAST_FREE;
  return wanted;
}

uint64_t wanted_receive(const PortOptions& options) {
  uint64_t wanted = RTE_ETH_RX_OFFLOAD_SCATTER;
  if (options.checksum) wanted |= RTE_ETH_RX_OFFLOAD_CHECKSUM;
  if (options.coalescing) wanted |= RTE_ETH_RX_OFFLOAD_TCP_LRO;
  return wanted;
}

uint16_t max_segments(const rte_eth_desc_lim& limits) {
  uint16_t most = 255;  // a driver that says nothing takes what it can count
  for (const uint16_t limit : {limits.nb_seg_max, limits.nb_mtu_seg_max})
    if (limit != 0) most = std::min(most, limit);
  return most;
}

// Of each port id. Not in the Port: DPDK keeps the callbacks of a port that is gone, and calls them for the next one
// that gets its id.
std::array<std::atomic<bool>, RTE_MAX_ETHPORTS> gone_flags;

// Called by DPDK, on a thread of its own or by whoever unplugs the device.
int on_gone(uint16_t id, rte_eth_event_type, void*, void*) {
  gone_flags[id].store(true, std::memory_order_release);  // pairs with the acquire in gone()
  return 0;
}

constexpr std::array kGoneEvents = {RTE_ETH_EVENT_INTR_RMV, RTE_ETH_EVENT_DESTROY};

bool runs_in_kernel(unsigned interface_index) {
  ifreq request{};
  const io::Fd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return ::if_indextoname(interface_index, request.ifr_name) != nullptr &&
         ::ioctl(socket.get(), SIOCGIFFLAGS, &request) == 0 && (request.ifr_flags & IFF_RUNNING) != 0;
}

// As rte_pktmbuf_pool_create() does, but with mbufs side by side where there are no hugepages. Each would lie on a page
// of its own, for devices that see physical memory, of which there are none then; and af_xdp, which takes the pool for
// one piece of memory, would refuse to send from two of five.
rte_mempool* create_pool(const std::string& name, uint32_t mbufs, uint32_t cache, uint16_t room, int socket) {
  const unsigned flags = rte_eal_has_hugepages() != 0 ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
  Pool pool(rte_mempool_create_empty(name.c_str(), mbufs, sizeof(rte_mbuf) + room, cache,
                                     sizeof(rte_pktmbuf_pool_private), socket, flags));
  if (pool == nullptr) return nullptr;
  if (const int status = rte_mempool_set_ops_byname(pool.get(), rte_mbuf_best_mempool_ops(), nullptr); status != 0) {
    rte_errno = -status;
    return nullptr;
  }
  rte_pktmbuf_pool_private about{.mbuf_data_room_size = room, .mbuf_priv_size = 0, .flags = 0};
  rte_pktmbuf_pool_init(pool.get(), &about);
  if (const int status = rte_mempool_populate_default(pool.get()); status < 0) {
    rte_errno = -status;
    return nullptr;
  }
  rte_mempool_obj_iter(pool.get(), rte_pktmbuf_init, nullptr);
  return pool.release();
}

}  // namespace

io::Result<Pool> make_pool(const std::string& name, uint32_t mbufs, uint32_t mtu, int socket) {
  // A cache may have two thirds of the pool at most.
  const uint32_t cache = std::min(kPoolCache, mbufs / 2);
  const size_t frame =
      std::max<size_t>(mtu + kMaxFrameHeaderBytes + io::Outgoing::kPlainOffset + io::kTailroom, kLeastRoom);
  const size_t room = RTE_ALIGN_CEIL(RTE_PKTMBUF_HEADROOM + frame, size_t{RTE_CACHE_LINE_SIZE});
  if (room > UINT16_MAX) return io::Error{EINVAL, "an MTU of " + std::to_string(mtu) + " does not fit an mbuf"};
  Pool pool(create_pool(name, mbufs, cache, static_cast<uint16_t>(room), socket));
  if (pool == nullptr)
    return io::Error{rte_errno, "make a pool of " + std::to_string(mbufs) + " mbufs of " + std::to_string(room) +
                                    " bytes (more hugepages, or fewer descriptors?)"};
  return pool;
}

std::string port_names() {
  std::string names;
  uint16_t id = 0;
  RTE_ETH_FOREACH_DEV(id) {
    std::array<char, RTE_ETH_NAME_MAX_LEN> name{};
    if (rte_eth_dev_get_name_by_port(id, name.data()) != 0) continue;
    if (!names.empty()) names += ' ';
    names += name.data();
  }
  return names.empty() ? "none" : names;
}

io::Result<PortFacts> find_port(const std::string& name) {
  PortFacts facts;
  const uint16_t count = rte_eth_dev_count_avail();
  if (count == 0)
    return io::Error{ENODEV,
                     "DPDK has no port at all (a vdev needs its --vdev; for a card check its PCI address and that no "
                     "other program has it; mlx5 needs rdma-core and its kernel driver, other cards vfio-pci)"};
  if (name.empty() && count > 1)
    return io::Error{ENODEV, "choose one of several DPDK ports, which are: " + port_names()};
  if (name.empty())
    facts.id = static_cast<uint16_t>(rte_eth_find_next(0));
  else if (rte_eth_dev_get_port_by_name(name.c_str(), &facts.id) != 0)
    return io::Error{ENODEV, "find DPDK port " + name + " (there are: " + port_names() + ")"};
  rte_eth_dev_info device{};
  if (const int status = rte_eth_dev_info_get(facts.id, &device); status != 0)
    return io::Error{-status, "read the properties of DPDK port " + name};
  std::array<char, RTE_ETH_NAME_MAX_LEN> found{};
  (void)rte_eth_dev_get_name_by_port(facts.id, found.data());
  facts.name = found.data();
  facts.driver = device.driver_name != nullptr ? device.driver_name : "";
  facts.kernel_interface = device.if_index;
  facts.most_queues = std::min(device.max_rx_queues, device.max_tx_queues);
  facts.socket = rte_eth_dev_socket_id(facts.id);
  return facts;
}

io::Result<std::unique_ptr<Port>> Port::open(const std::string& name, const PortOptions& options,
                                             std::span<rte_mempool* const> pools) {
  const auto facts = find_port(name);
  if (!facts) return facts.error();
  return open(facts->id, options, pools);
}

io::Result<std::unique_ptr<Port>> Port::open(uint16_t id, const PortOptions& options,
                                             std::span<rte_mempool* const> pools) {
  if (rte_eth_dev_is_valid_port(id) == 0)
    return io::Error{ENODEV, "open DPDK port " + std::to_string(id) + " (there are: " + port_names() + ")"};
  std::unique_ptr<Port> port(new Port(id, options, pools));
  if (const io::Status configured = port->configure(); !configured) return configured.error();
  return port;
}

Port::Port(uint16_t id, const PortOptions& options, std::span<rte_mempool* const> pools)
    : id_(id), options_(options), pools_(pools.begin(), pools.end()), gone_(gone_flags[id]) {
  gone_.store(false, std::memory_order_relaxed);  // nobody else has the port yet
  std::array<char, RTE_ETH_NAME_MAX_LEN> name{};
  (void)rte_eth_dev_get_name_by_port(id, name.data());
  name_ = name.data();
}

Port::~Port() {
  if (gone()) return;
  for (const rte_eth_event_type event : kGoneEvents)
    (void)rte_eth_dev_callback_unregister(id_, event, on_gone, nullptr);
  (void)rte_eth_dev_stop(id_);
  (void)rte_eth_dev_close(id_);
}

io::Error Port::error(int number, const std::string& what) const {
  return {std::abs(number), what + " of DPDK port " + name_};
}

io::Status Port::configure() {
  rte_eth_dev_info device{};
  if (const int status = rte_eth_dev_info_get(id_, &device); status != 0) return error(status, "read the properties");
  if (options_.queues > device.max_rx_queues || options_.queues > device.max_tx_queues)
    return error(EINVAL, "open " + std::to_string(options_.queues) + " queues, where there are " +
                             std::to_string(std::min(device.max_rx_queues, device.max_tx_queues)) + ",");
  if (options_.mtu > device.max_mtu)
    return error(EINVAL, "set an MTU of " + std::to_string(options_.mtu) + ", where " + std::to_string(device.max_mtu) +
                             " is the most,");
  if (options_.isolated) {
    rte_flow_error why{};
    if (const int status = rte_flow_isolate(id_, 1, &why); status != 0)
      return error(status, std::string("isolate, so that the kernel keeps the rest, (") +
                               (why.message != nullptr ? why.message : "no reason given") + ")");
  }
  rte_eth_conf wanted{};
  wanted.rxmode.mtu = options_.mtu;
  wanted.rxmode.offloads = wanted_receive(options_) & device.rx_offload_capa;
  wanted.txmode.offloads = wanted_transmit(options_) & device.tx_offload_capa;
  if (options_.coalescing) wanted.rxmode.max_lro_pkt_size = device.max_lro_pkt_size;
  // Outer ports tell the flows of a peer apart (source ports), so what is hashed are addresses and ports. The rules of
  // an isolated port have hashes of their own; and some devices have none, as whoever is behind them chooses (memif).
  const uint64_t hashes = (RTE_ETH_RSS_IP | RTE_ETH_RSS_UDP | RTE_ETH_RSS_TCP) & device.flow_type_rss_offloads;
  if (options_.queues > 1 && !options_.isolated && hashes != 0) {
    wanted.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    wanted.rx_adv_conf.rss_conf.rss_hf = hashes;
  }
  if (const int status = rte_eth_dev_configure(id_, options_.queues, options_.queues, &wanted); status != 0)
    return error(status, "configure the queues");
  const uint64_t transmit = wanted.txmode.offloads, receive = wanted.rxmode.offloads;
  offloads_.udp_checksum = (transmit & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) != 0;
  offloads_.tcp_checksum = (transmit & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0;
  offloads_.chains = (transmit & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0;
  offloads_.max_segments = offloads_.chains ? max_segments(device.tx_desc_lim) : uint16_t{1};
  offloads_.tcp_segmentation =
      offloads_.chains && offloads_.tcp_checksum && (transmit & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0;
  offloads_.receives_chains = (receive & RTE_ETH_RX_OFFLOAD_SCATTER) != 0;
  offloads_.receives_superpackets = (receive & RTE_ETH_RX_OFFLOAD_TCP_LRO) != 0;
  if (const io::Status queues = set_up_queues(rte_eth_dev_socket_id(id_)); !queues) return queues.error();
  for (const rte_eth_event_type event : kGoneEvents) (void)rte_eth_dev_callback_register(id_, event, on_gone, nullptr);
  if (const int status = rte_eth_dev_start(id_); status != 0) return error(status, "start the queues");
  rte_ether_addr mac{};
  if (const int status = rte_eth_macaddr_get(id_, &mac); status != 0) return error(status, "read the MAC address");
  std::copy_n(mac.addr_bytes, mac_.size(), mac_.begin());
  kernel_interface_ = device.if_index;
  return io::Success{};
}

io::Status Port::set_up_queues(int socket) {
  uint16_t receive = options_.descriptors, transmit = options_.descriptors;
  if (const int status = rte_eth_dev_adjust_nb_rx_tx_desc(id_, &receive, &transmit); status != 0)
    return error(status, "choose the lengths of the queues");
  const auto on = static_cast<unsigned>(socket);
  for (uint16_t queue = 0; queue < options_.queues; ++queue) {
    if (const int status = rte_eth_rx_queue_setup(id_, queue, receive, on, nullptr, pools_[queue]); status != 0)
      return error(status, "set up receive queue " + std::to_string(queue));
    if (const int status = rte_eth_tx_queue_setup(id_, queue, transmit, on, nullptr); status != 0)
      return error(status, "set up transmit queue " + std::to_string(queue));
  }
  return io::Success{};
}

io::Status Port::steer(const FlowRule& rule) {
  rte_flow_error why{};
  if (rte_flow_create(id_, &rule.attributes(), rule.pattern(), rule.actions(), &why) != nullptr) return io::Success{};
  return error(rte_errno, "steer " + rule.text() + " (" + (why.message != nullptr ? why.message : "no reason given") +
                              ") to the queues");
}

void Port::stop_steering() {
  rte_flow_error why{};
  (void)rte_flow_flush(id_, &why);
}

io::DeviceCounts Port::counts(const io::CounterValues<kPortCounters.size()>& sides) const {
  rte_eth_stats stats{};
  if (!gone()) (void)rte_eth_stats_get(id_, &stats);
  io::DeviceCounts all{name_,
                       {{"dpdk_port_up", "Whether the link of a port is up.", is_up() ? 1U : 0U},
                        {"dpdk_port_received_packets_total", "Frames that a port received.", stats.ipackets},
                        {"dpdk_port_received_bytes_total", "Bytes that a port received.", stats.ibytes},
                        {"dpdk_port_sent_packets_total", "Frames that a port sent.", stats.opackets},
                        {"dpdk_port_sent_bytes_total", "Bytes that a port sent.", stats.obytes},
                        {"dpdk_port_missed_total", "Frames that found no room in the queues.", stats.imissed},
                        {"dpdk_port_receive_errors_total", "Frames that arrived broken.", stats.ierrors},
                        {"dpdk_port_send_errors_total", "Frames that the port failed to send.", stats.oerrors},
                        {"dpdk_port_no_mbuf_total", "Frames for which the pool had no mbuf.", stats.rx_nombuf}}};
  for (size_t i = 0; i < sides.size(); ++i)
    all.counts.push_back({kPortCounters[i].name, kPortCounters[i].help, sides[i]});
  return all;
}

bool Port::is_up() const {
  if (gone()) return false;
  if (kernel_interface_ != 0) return runs_in_kernel(kernel_interface_);  // af_packet's driver always says that it is up
  rte_eth_link link{};
  return rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

}  // namespace culvert::dpdk
