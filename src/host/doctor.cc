#include "src/host/doctor.h"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <linux/capability.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <thread>
#include <vector>

#include "io/fd.h"
#include "io/route_probe.h"
#include "src/host/path_probe.h"

namespace culvert::host {
namespace {

// A worker asks for 8 MB; the kernel grants this much to those without CAP_NET_ADMIN.
constexpr uint64_t kGoodBufferBytes = 7'500'000;
constexpr uint64_t kGoodQueueLength = 1000;
constexpr uint64_t kUsualMtu = 1500;

std::optional<std::string> read_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<uint64_t> read_number(const std::string& path) {
  const auto line = read_line(path);
  if (!line) return std::nullopt;
  uint64_t number = 0;
  const auto [end, error] = std::from_chars(line->data(), line->data() + line->size(), number);
  if (error != std::errc()) return std::nullopt;
  return number;
}

uint64_t effective_capabilities(const std::string& root) {
  std::ifstream status(root + "/proc/self/status");
  uint64_t mask = 0;
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("CapEff:\t")) (void)std::from_chars(line.data() + 8, line.data() + line.size(), mask, 16);
  return mask;
}

// The device that has this address of ours.
std::string device_with(const io::Address& address) {
  ifaddrs* all = nullptr;
  if (address.family == io::Family::none || ::getifaddrs(&all) != 0) return "";
  std::string found;
  for (const ifaddrs* each = all; each != nullptr && found.empty(); each = each->ifa_next) {
    const sockaddr* const generic = each->ifa_addr;
    if (generic == nullptr) continue;
    const bool v4 = address.family == io::Family::v4;
    if (generic->sa_family != (v4 ? AF_INET : AF_INET6)) continue;
    const auto* const bytes = v4 ? static_cast<const void*>(&reinterpret_cast<const sockaddr_in*>(generic)->sin_addr)
                                 : &reinterpret_cast<const sockaddr_in6*>(generic)->sin6_addr;
    if (std::memcmp(bytes, address.bytes.data(), v4 ? 4 : 16) == 0) found = each->ifa_name;
  }
  ::freeifaddrs(all);
  return found;
}

// Asks a device by ethtool's ioctl; `command` begins with its number.
bool ask_device(const std::string& device, void* command) {
  const io::Fd fd(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  ifreq request{};
  device.copy(request.ifr_name, IFNAMSIZ - 1);
  request.ifr_data = static_cast<char*>(command);
  return fd && ::ioctl(fd.get(), SIOCETHTOOL, &request) == 0;
}

std::optional<bool> switch_of(const std::string& device, uint32_t command) {
  ethtool_value value{};
  value.cmd = command;
  if (!ask_device(device, &value)) return std::nullopt;
  return value.data != 0;
}

// Features that came after ethtool's own commands are known by name alone.
std::optional<bool> feature(const std::string& device, std::string_view name) {
  std::array<uint64_t, sizeof(ethtool_sset_info) / 8 + 1> room{};
  auto* const set = reinterpret_cast<ethtool_sset_info*>(room.data());
  set->cmd = ETHTOOL_GSSET_INFO;
  set->sset_mask = uint64_t{1} << ETH_SS_FEATURES;
  if (!ask_device(device, set) || set->sset_mask == 0 || set->data[0] > 1024) return std::nullopt;
  const uint32_t count = set->data[0];
  std::vector<uint32_t> names(sizeof(ethtool_gstrings) / 4 + count * ETH_GSTRING_LEN / 4);
  auto* const strings = reinterpret_cast<ethtool_gstrings*>(names.data());
  strings->cmd = ETHTOOL_GSTRINGS;
  strings->string_set = ETH_SS_FEATURES;
  strings->len = count;
  const uint32_t blocks = (count + 31) / 32;
  std::vector<uint32_t> states(sizeof(ethtool_gfeatures) / 4 + blocks * sizeof(ethtool_get_features_block) / 4);
  auto* const features = reinterpret_cast<ethtool_gfeatures*>(states.data());
  features->cmd = ETHTOOL_GFEATURES;
  features->size = blocks;
  if (!ask_device(device, strings) || !ask_device(device, features)) return std::nullopt;
  for (uint32_t i = 0; i < count; ++i) {
    const auto* const each = reinterpret_cast<const char*>(strings->data) + size_t{i} * ETH_GSTRING_LEN;
    if (name == std::string_view(each, strnlen(each, ETH_GSTRING_LEN)))
      return (features->features[i / 32].active >> (i % 32) & 1) != 0;
  }
  return std::nullopt;
}

void read_channels(HostFacts& facts) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  if (!ask_device(facts.device, &channels)) return;
  facts.queues_are_combined = channels.max_combined > 0;
  facts.queues = channels.combined_count + channels.rx_count;
  facts.most_queues = std::max(channels.max_combined, channels.max_rx);
}

// How many queues of the device there are, "rx-" or "tx-", and whether `file` of any is a map of processors.
struct Queues {
  uint64_t count = 0;
  bool mapped = false;
};
Queues read_queues(const std::string& folder, const char* prefix, const char* file) {
  Queues queues;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, ignored)) {
    if (!entry.path().filename().string().starts_with(prefix)) continue;
    ++queues.count;
    queues.mapped |= read_line(entry.path() / file).value_or("").find_first_not_of("0,") != std::string::npos;
  }
  return queues;
}

void read_device(HostFacts& facts, const std::string& root) {
  const std::string folder = root + "/sys/class/net/" + facts.device;
  facts.device_mtu = read_number(folder + "/mtu");
  facts.transmit_queue_length = read_number(folder + "/tx_queue_len");
  if (const auto threaded = read_number(folder + "/threaded")) facts.threaded_napi = *threaded != 0;
  const Queues receive = read_queues(folder + "/queues", "rx-", "rps_cpus");
  if (receive.count > 0) facts.receive_queues = receive.count, facts.packet_steering = receive.mapped;
  const Queues transmit = read_queues(folder + "/queues", "tx-", "xps_cpus");
  if (transmit.count > 0) facts.transmit_queues = transmit.count, facts.transmit_steering = transmit.mapped;
  read_channels(facts);
  facts.gro = switch_of(facts.device, ETHTOOL_GGRO);
  facts.gso = switch_of(facts.device, ETHTOOL_GGSO);
  facts.transmit_checksum = switch_of(facts.device, ETHTOOL_GTXCSUM);
  facts.udp_gro_forwarding = feature(facts.device, "rx-udp-gro-forwarding");
}

// The stricter of both counts, as in the kernel.
std::optional<uint64_t> read_rp_filter(const std::string& folder, const std::string& device) {
  auto all = read_number(folder + "all/rp_filter");
  const auto own = device.empty() ? std::nullopt : read_number(folder + device + "/rp_filter");
  return all && own ? std::max(all, own) : all;
}

}  // namespace

HostFacts read_host_facts(const std::optional<io::Endpoint>& target, const std::vector<std::string>& tunnels,
                          const std::string& root) {
  HostFacts facts;
  const std::string sys = root + "/proc/sys/net/";
  const uint64_t capabilities = effective_capabilities(root);
  facts.net_admin = (capabilities >> CAP_NET_ADMIN & 1) != 0;
  facts.bpf = (capabilities >> CAP_BPF & capabilities >> CAP_PERFMON & 1) != 0;
  facts.tun_device = ::access("/dev/net/tun", R_OK | W_OK) == 0;
  facts.ipv6_off = read_number(sys + "ipv6/conf/all/disable_ipv6").value_or(1) != 0;
  facts.rmem_max = read_number(sys + "core/rmem_max");
  facts.wmem_max = read_number(sys + "core/wmem_max");
  facts.ip_forward = read_number(sys + "ipv4/ip_forward");
  facts.early_demux = read_number(sys + "ipv4/udp_early_demux");
  facts.conntrack_count = read_number(sys + "netfilter/nf_conntrack_count");
  facts.conntrack_max = read_number(sys + "netfilter/nf_conntrack_max");
  facts.processors = std::max(1u, std::thread::hardware_concurrency());

  io::Endpoint anywhere;
  (void)io::parse_endpoint("192.0.2.1:9", anywhere);  // an address of nobody: the default route
  io::RouteProbe probe;
  const io::RouteChoice route = probe.ask(target.value_or(anywhere), 0);
  facts.device = device_with(route.source);
  if (route.mtu_bytes != 0) facts.path_mtu = route.mtu_bytes;
  if (!facts.device.empty()) read_device(facts, root);
  for (const std::string& name : tunnels)
    if (const auto mtu = read_number(fmt::format("{}/sys/class/net/{}/mtu", root, name)))
      facts.tunnels.push_back({name, *mtu});
  if (target && facts.device_mtu) {
    const PathProbe path = probe_path(*target, *facts.device_mtu);
    if (path.mtu_bytes != 0) facts.path_mtu = path.mtu_bytes;
    facts.path_swallows = path.swallows;
    if (target->remote.family == io::Family::v4) facts.overhead_bytes = 60;
  }
  facts.rp_filter = read_rp_filter(sys + "ipv4/conf/", facts.device);
  return facts;
}

namespace {

void find_narrow_path(const HostFacts& facts, std::vector<Finding>& findings) {
  if (!facts.path_mtu) return;
  std::vector<TunnelFacts> tunnels = facts.tunnels;
  if (tunnels.empty() && *facts.path_mtu < kUsualMtu) tunnels.push_back({"wg0", kUsualMtu - 80});
  for (const TunnelFacts& tunnel : tunnels) {
    if (tunnel.mtu + facts.overhead_bytes <= *facts.path_mtu) continue;
    const uint64_t fits = std::max<uint64_t>(*facts.path_mtu, 576) - 80;
    findings.push_back({facts.path_swallows ? "Large packets of a tunnel are lost on the way, and nobody says so."
                                            : "Large packets of a tunnel do not fit the path.",
                        fmt::format("path MTU {}, with {} bytes around a packet; {}: mtu {}", *facts.path_mtu,
                                    facts.overhead_bytes, tunnel.name, tunnel.mtu),
                        fmt::format("ip link set {} mtu {}{}", tunnel.name, fits,
                                    fits < 1280 ? "  # too narrow for IPv6 inside" : "")});
  }
}

void find_few_queues(const HostFacts& facts, std::vector<Finding>& findings) {
  const uint64_t wanted = std::min(facts.processors, facts.most_queues.value_or(0));
  if (facts.queues && *facts.queues < wanted)
    findings.push_back({"Processors share queues of the card while others lie idle.",
                        fmt::format("{}: {} of {} queues in use, {} processors", facts.device, *facts.queues,
                                    facts.most_queues.value_or(0), facts.processors),
                        facts.queues_are_combined ? fmt::format("ethtool -L {} combined {}", facts.device, wanted)
                                                  : fmt::format("ethtool -L {0} rx {1} tx {1}", facts.device, wanted)});
  // A map of 32 processors fits one word.
  if (facts.processors > 1 && facts.transmit_queues.value_or(0) > 1 && facts.transmit_steering == false)
    findings.push_back({"Workers wait for one another at the device's transmit queues.",
                        fmt::format("{}: {} transmit queues, no XPS", facts.device, facts.transmit_queues.value_or(0)),
                        fmt::format("n=0; for map in /sys/class/net/{}/queues/tx-*/xps_cpus; do "
                                    "printf %x $((1 << n)) >$map; n=$(((n + 1) % {})); done",
                                    facts.device, std::min<uint64_t>(facts.processors, 32))});
}

}  // namespace

std::vector<Finding> diagnose(const HostFacts& facts) {
  std::vector<Finding> findings;
  const auto find = [&](bool wrong, const char* what, std::string measured, std::string mend) {
    if (wrong) findings.push_back({what, std::move(measured), std::move(mend)});
  };
  const auto below = [](const std::optional<uint64_t>& value, uint64_t limit) { return value && *value < limit; };
  const std::string& device = facts.device;
  find(!facts.tun_device, "No interface can be made.", "/dev/net/tun cannot be opened",
       "modprobe tun  # in a container: --device /dev/net/tun");
  find(!facts.net_admin, "No interface can be made, and socket buffers stay small.", "CAP_NET_ADMIN is missing",
       "sudo culvert ...  # in a container: --cap-add NET_ADMIN");
  find(device.empty(), "There is no route to the other end.", "no device", "ip route add default via GATEWAY");
  find(!facts.bpf, "Only one worker can be steered to: several need eBPF.", "CAP_BPF or CAP_PERFMON is missing",
       "sudo culvert ...  # in a container: --cap-add BPF --cap-add PERFMON");
  find(facts.conntrack_count && facts.conntrack_max && *facts.conntrack_count * 10 > *facts.conntrack_max * 9,
       "The table of connections is nearly full: new flows are dropped.",
       fmt::format("nf_conntrack_count = {} of {}", facts.conntrack_count.value_or(0), facts.conntrack_max.value_or(0)),
       fmt::format("sysctl -w net.netfilter.nf_conntrack_max={}", facts.conntrack_max.value_or(0) * 4));
  find(facts.gro == false, "Datagrams come in one by one.", fmt::format("{}: generic-receive-offload off", device),
       fmt::format("ethtool -K {} gro on", device));
  find(facts.gso == false, "Trains are cut before the queue of the device.",
       fmt::format("{}: generic-segmentation-offload off", device), fmt::format("ethtool -K {} gso on", device));
  find(facts.transmit_checksum == false, "Trains are refused before Linux 6.11, and copied after it.",
       fmt::format("{}: tx-checksumming off", device), fmt::format("ethtool -K {} tx on", device));
  find(facts.ip_forward == 1U && facts.udp_gro_forwarding == false, "Datagrams that are forwarded come one by one.",
       fmt::format("{}: rx-udp-gro-forwarding off", device),
       fmt::format("ethtool -K {} rx-udp-gro-forwarding on", device));
  find(!facts.net_admin && below(facts.rmem_max, kGoodBufferBytes), "Bursts overflow the receive buffer.",
       fmt::format("net.core.rmem_max = {}", facts.rmem_max.value_or(0)),
       fmt::format("sysctl -w net.core.rmem_max={}", kGoodBufferBytes));
  find(!facts.net_admin && below(facts.wmem_max, kGoodBufferBytes), "Trains wait for room in the send buffer.",
       fmt::format("net.core.wmem_max = {}", facts.wmem_max.value_or(0)),
       fmt::format("sysctl -w net.core.wmem_max={}", kGoodBufferBytes));
  find(facts.rp_filter == 1U, "Answers that take another way are dropped.", "net.ipv4.conf.*.rp_filter = 1",
       fmt::format("sysctl -w net.ipv4.conf.all.rp_filter=2 net.ipv4.conf.{}.rp_filter=2",
                   device.empty() ? "default" : device));
  find(facts.ip_forward == 0U, "A gateway does not forward. (Nothing to mend at an end.)", "net.ipv4.ip_forward = 0",
       "sysctl -w net.ipv4.ip_forward=1");
  find_narrow_path(facts, findings);
  find(facts.transmit_queue_length != 0U && below(facts.transmit_queue_length, kGoodQueueLength),
       "Bursts overflow the device's queue.",
       fmt::format("{}: txqueuelen {}", device, facts.transmit_queue_length.value_or(0)),
       fmt::format("ip link set {} txqueuelen {}", device, kGoodQueueLength));
  find(facts.processors > 1 && facts.receive_queues == 1U && facts.packet_steering == false &&
           facts.threaded_napi != true,
       "One processor receives everything before culvert sees it.",
       fmt::format("{}: 1 receive queue, no RPS, no threaded NAPI", device),
       fmt::format("echo 1 >/sys/class/net/{}/threaded", device));
  find_few_queues(facts, findings);
  find(facts.early_demux == 0U, "Each datagram is routed before its socket is found.", "net.ipv4.udp_early_demux = 0",
       "sysctl -w net.ipv4.udp_early_demux=1");
  find(facts.ipv6_off, "Peers are not reached by IPv6.", "net.ipv6.conf.all.disable_ipv6 = 1, or no IPv6 at all",
       "sysctl -w net.ipv6.conf.all.disable_ipv6=0");
  return findings;
}

}  // namespace culvert::host
