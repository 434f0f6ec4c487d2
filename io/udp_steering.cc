#include "io/udp_steering.h"

#include <linux/filter.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <string>

#ifdef CULVERT_HAS_BPF
#include <bpf/bpf.h>
#endif

namespace culvert::bpf {
std::span<const unsigned char> udp_steering();
}

namespace culvert::io {
namespace {

Status set_option(int socket, int name, const void* value, socklen_t length, const char* action) {
  if (::setsockopt(socket, SOL_SOCKET, name, value, length) != 0) return Error{errno, action};
  return Success{};
}

// Attaches a program to a socket that is not bound: with SO_REUSEPORT, which makes it a group, and off again, for
// bind(2) to refuse a port that others share.
Status attach(int socket, int name, const void* program, socklen_t length) {
  const int on = 1, off = 0;
  if (Status set = set_option(socket, SO_REUSEPORT, &on, sizeof on, "set SO_REUSEPORT"); !set) return set;
  Status attached = set_option(socket, name, program, length, "attach a BPF program to a UDP socket");
  if (Status set = set_option(socket, SO_REUSEPORT, &off, sizeof off, "clear SO_REUSEPORT"); !set) return set;
  return attached;
}

// Of the group's port and family, for errors.
std::string group_name(Family family, uint16_t port) {
  return std::string(family == Family::v4 ? "IPv4" : "IPv6") + " UDP port " + std::to_string(port);
}

#ifdef CULVERT_HAS_BPF

// Like `members` of the program; errno where there is none.
Fd make_members() {
  return Fd(::bpf_map_create(BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, "members", sizeof(uint32_t), sizeof(uint64_t),
                             kMaxWorkers, nullptr));
}

uint64_t cookie_of(int socket) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return ::getsockopt(socket, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

// The map yields cookies. 0: nobody.
uint64_t cookie_of_member(int members, uint32_t worker) {
  uint64_t cookie = 0;
  return ::bpf_map_lookup_elem(members, &worker, &cookie) == 0 ? cookie : 0;
}

bool set_member(int members, uint32_t worker, int socket) {
  const uint64_t value = static_cast<uint64_t>(socket);
  return ::bpf_map_update_elem(members, &worker, &value, BPF_ANY) == 0;
}

bool clear_member(int members, uint32_t worker) {
  return ::bpf_map_delete_elem(members, &worker) == 0 || errno == ENOENT;
}

#else

Fd make_members() {
  errno = EOPNOTSUPP;
  return Fd();
}
uint64_t cookie_of(int) {
  return 0;
}
uint64_t cookie_of_member(int, uint32_t) {
  return 0;
}
bool set_member(int, uint32_t, int) {
  return false;
}
bool clear_member(int, uint32_t) {
  return false;
}

#endif

}  // namespace

Status EbpfSocketSteering::load() {
  Result<BpfObject> object = BpfObject::open("udp_steering", bpf::udp_steering());
  if (!object) return object.error();
  if (Status shared = object->share_map("steering_table", map_.fd()); !shared) return shared;
  if (Status loaded = object->load(); !loaded) return loaded;
  object_.emplace(std::move(*object));
  return Success{};
}

Status EbpfSocketSteering::prepare(Family, int first, size_t) {
  if (!object_)
    if (Status loaded = load(); !loaded) return loaded;
  Fd members = make_members();
  if (!members) return Error{errno, "make a BPF map for sockets"};
  const Result<Fd> program = object_->program_with("choose_socket", "members", members.get());
  if (!program) return program.error();
  const int fd = program->get();
  if (Status attached = attach(first, SO_ATTACH_REUSEPORT_EBPF, &fd, sizeof fd); !attached) return attached;
  groups_.insert_or_assign(first, Group{std::move(members), 0});
  return Success{};
}

Status EbpfSocketSteering::place(Family family, uint16_t port, std::span<const int> by_member) {
  const auto found = by_member.empty() ? groups_.end() : groups_.find(by_member[0]);
  if (found == groups_.end()) return Error{EINVAL, "steer " + group_name(family, port) + ": no such group"};
  if (by_member.size() > kMaxWorkers) return Error{EINVAL, "steer " + group_name(family, port) + ": too many sockets"};
  Group& group = found->second;
  const int members = group.members.get();
  group.placed = std::max(group.placed, by_member.size());
  std::array<uint64_t, kMaxWorkers> wanted{};
  std::transform(by_member.begin(), by_member.end(), wanted.begin(), cookie_of);
  // A socket stands in one place at a time, and the kernel refuses it even its own: what is in a wrong one goes first.
  for (uint32_t worker = 0; worker < group.placed; ++worker) {
    const uint64_t there = cookie_of_member(members, worker);
    if (there == 0 || there == wanted[worker]) continue;
    const bool moves = wanted[worker] == 0 || std::find(wanted.begin(), wanted.end(), there) != wanted.end();
    if (moves && !clear_member(members, worker)) return Error{errno, "leave " + group_name(family, port)};
  }
  for (uint32_t worker = 0; worker < by_member.size(); ++worker) {
    if (cookie_of_member(members, worker) == wanted[worker]) continue;
    if (!set_member(members, worker, by_member[worker]))
      return Error{errno, "steer " + group_name(family, port) + " to worker " + std::to_string(worker)};
  }
  group.placed = by_member.size();
  return Success{};
}

Status ClassicSocketSteering::prepare(Family, int first, size_t members) {
  if (members > kMaxWorkers) return Error{EINVAL, "more sockets on one port than there may be workers"};
  groups_.insert_or_assign(first, Group{members, 0});
  if (members <= 1) return Success{};
  const auto workers = static_cast<uint32_t>(members);
  // Loads are relative to the message, or to the IP header (SKF_NET_OFF). A load beyond the end answers 0. The source
  // port behind IPv6 extension headers is not found: another half-word is, which is the same for all of such a flow.
  constexpr auto kNet = static_cast<uint32_t>(SKF_NET_OFF);
  std::array<sock_filter, 18> code{{
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, 0},            //  0 message type
      {BPF_JMP | BPF_JEQ | BPF_K, 0, 15, 4},          //  1 other than transport data: 17
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, 7},            //  2 top byte of the receiver index
      {BPF_JMP | BPF_JSET | BPF_K, 0, 10, 0x80},      //  3 does not spread: 14
      {BPF_ST, 0, 0, 0},                              //  4
      {BPF_LD | BPF_B | BPF_ABS, 0, 0, kNet},         //  5 IP version
      {BPF_ALU | BPF_AND | BPF_K, 0, 0, 0xf0},        //  6
      {BPF_JMP | BPF_JEQ | BPF_K, 3, 0, 0x60},        //  7 IPv6: 11
      {BPF_LDX | BPF_B | BPF_MSH, 0, 0, kNet},        //  8 length of the IPv4 header
      {BPF_LD | BPF_H | BPF_IND, 0, 0, kNet},         //  9 source port
      {BPF_JMP | BPF_JA, 0, 0, 1},                    // 10 to 12
      {BPF_LD | BPF_H | BPF_ABS, 0, 0, kNet + 40},    // 11 source port
      {BPF_LDX | BPF_MEM, 0, 0, 0},                   // 12
      {BPF_ALU | BPF_ADD | BPF_X, 0, 0, 0},           // 13
      {BPF_ALU | BPF_AND | BPF_K, 0, 0, kSlots - 1},  // 14 slot, without the spread bit
      {BPF_ALU | BPF_MOD | BPF_K, 0, 0, workers},     // 15
      {BPF_RET | BPF_A, 0, 0, 0},                     // 16
      {BPF_RET | BPF_K, 0, 0, 0},                     // 17 worker 0
  }};
  const sock_fprog program{static_cast<unsigned short>(code.size()), code.data()};
  Status attached = attach(first, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program);
  if (!attached) groups_.erase(first);
  return attached;
}

Status ClassicSocketSteering::place(Family family, uint16_t port, std::span<const int> by_member) {
  const auto group = by_member.empty() ? groups_.end() : groups_.find(by_member[0]);
  if (group == groups_.end()) return Error{EINVAL, "steer " + group_name(family, port) + ": no such group"};
  Group& known = group->second;
  if (by_member.size() > known.planned || by_member.size() < known.joined)
    return Error{EOPNOTSUPP, "change the number of workers on " + group_name(family, port) + " without eBPF"};
  known.joined = by_member.size();
  return Success{};
}

}  // namespace culvert::io
