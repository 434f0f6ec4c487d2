#include "dpdk/xdp_steering.h"

#include <netinet/in.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>
#include <string_view>
#include <utility>

#ifdef CULVERT_HAS_BPF
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#endif

namespace culvert::bpf {
std::span<const unsigned char> steer_datagrams();
}

namespace culvert::dpdk {

#ifdef CULVERT_HAS_BPF
namespace {

constexpr std::string_view kPortsMap = "udp_ports";
constexpr size_t kMostMaps = 8;

io::Error error_of(const char* action) {
  return {errno, action};
}

}  // namespace

io::Result<io::Fd> XdpSteering::make_program_file() {
  io::Fd file(::memfd_create("steer_datagrams", MFD_CLOEXEC));
  if (!file) return error_of("make a file of the XDP program");
  const std::span<const unsigned char> bytes = bpf::steer_datagrams();
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t count = ::write(file.get(), bytes.data() + at, bytes.size() - at);
    if (count < 0 && errno != EINTR) return error_of("write a file of the XDP program");
    at += static_cast<size_t>(std::max<ssize_t>(count, 0));
  }
  return file;
}

io::Result<std::unique_ptr<XdpSteering>> XdpSteering::find(unsigned interface_index) {
  uint32_t id = 0;
  if (const int status = ::bpf_xdp_query_id(static_cast<int>(interface_index), 0, &id); status != 0 || id == 0)
    return io::Error{status != 0 ? -status : ENOENT, "find the XDP program of the interface"};
  const io::Fd program(::bpf_prog_get_fd_by_id(id));
  if (!program) return error_of("open the XDP program of the interface");
  std::array<uint32_t, kMostMaps> maps{};
  bpf_prog_info facts{};
  facts.nr_map_ids = kMostMaps;
  facts.map_ids = reinterpret_cast<uintptr_t>(maps.data());
  uint32_t bytes = sizeof facts;
  if (::bpf_obj_get_info_by_fd(program.get(), &facts, &bytes) != 0) return error_of("look at the XDP program");
  for (size_t i = 0; i < std::min<size_t>(facts.nr_map_ids, kMostMaps); ++i) {
    io::Fd map(::bpf_map_get_fd_by_id(maps[i]));
    bpf_map_info about{};
    bytes = sizeof about;
    if (map && ::bpf_obj_get_info_by_fd(map.get(), &about, &bytes) == 0 && about.name == kPortsMap)
      return std::unique_ptr<XdpSteering>(new XdpSteering(std::move(map)));
  }
  return io::Error{ENOENT, "find our XDP program on the interface"};
}

// New ports before old ones go: those that stay miss nothing.
io::Status XdpSteering::steer(const std::vector<uint16_t>& ports) {
  const uint8_t ours = 1;
  for (const uint16_t port : ports)
    if (const uint16_t key = htons(port); ::bpf_map_update_elem(map_.get(), &key, &ours, BPF_ANY) != 0)
      return error_of("steer UDP ports to the port");
  for (const uint16_t port : std::exchange(ports_, ports))
    if (std::find(ports.begin(), ports.end(), port) == ports.end())
      if (const uint16_t key = htons(port); ::bpf_map_delete_elem(map_.get(), &key) != 0 && errno != ENOENT)
        return error_of("leave UDP ports to the kernel");
  return io::Success{};
}

#else

io::Result<io::Fd> XdpSteering::make_program_file() {
  return io::Error{EOPNOTSUPP, "make a file of the XDP program (this build has no eBPF)"};
}

io::Result<std::unique_ptr<XdpSteering>> XdpSteering::find(unsigned) {
  return io::Error{EOPNOTSUPP, "find our XDP program on the interface (this build has no eBPF)"};
}

io::Status XdpSteering::steer(const std::vector<uint16_t>&) {
  return io::Success{};
}

#endif

}  // namespace culvert::dpdk
