#include "io/listen_wide.h"

#include <arpa/inet.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include "io/bpf/wide_range.bpf.h"
#include "io/bpf_object.h"
#include "io/decimal.h"
#include "io/udp_message.h"

#ifdef CULVERT_HAS_BPF
#include <bpf/bpf.h>
#endif

namespace culvert::bpf {
std::span<const unsigned char> listen_wide();
}

namespace culvert::io {
namespace {

static_assert(WideRange::kMostPrefixes == WIDE_PREFIXES && sizeof(wide_range) == 12 + WIDE_PREFIXES * 36);

std::optional<WideRange::Prefix> parse_prefix(std::string_view text) {
  const size_t slash = text.find('/');
  const std::string address(text.substr(0, slash));
  WideRange::Prefix prefix;
  if (::inet_pton(AF_INET, address.c_str(), prefix.address.bytes.data()) == 1)
    prefix.address.family = Family::v4;
  else if (::inet_pton(AF_INET6, address.c_str(), prefix.address.bytes.data()) == 1)
    prefix.address.family = Family::v6;
  else
    return std::nullopt;
  const uint64_t longest = prefix.address.family == Family::v4 ? 32 : 128;
  const auto length = slash == std::string_view::npos ? longest : parse_decimal(text.substr(slash + 1), longest);
  if (!length) return std::nullopt;
  prefix.length = static_cast<uint8_t>(*length);
  return prefix;
}

bool parse_word(std::string_view word, WideRange& range) {
  if (word.find_first_of(".:") != std::string_view::npos) {
    const std::optional<WideRange::Prefix> prefix = parse_prefix(word);
    if (!prefix || range.prefixes.size() == WideRange::kMostPrefixes) return false;
    range.prefixes.push_back(*prefix);
    return true;
  }
  const size_t dash = word.find('-');
  const auto first = parse_decimal(word.substr(0, dash), UINT16_MAX);
  const auto last = dash == std::string_view::npos ? first : parse_decimal(word.substr(dash + 1), UINT16_MAX);
  if (range.has_ports() || !first || !last || *first == 0 || *last < *first) return false;
  range.first_port = static_cast<uint16_t>(*first);
  range.last_port = static_cast<uint16_t>(*last);
  return true;
}

// What the program reads.
wide_range constants_of(const WideRange& range) {
  wide_range constants{};
  constants.first_port = range.first_port;
  constants.last_port = range.last_port;
  constants.prefixes = static_cast<uint32_t>(range.prefixes.size());
  for (size_t i = 0; i < range.prefixes.size(); ++i) {
    const WideRange::Prefix& prefix = range.prefixes[i];
    wide_prefix& out = constants.prefix[i];
    out.family = prefix.address.family == Family::v4 ? AF_INET : AF_INET6;
    uint8_t mask[16]{};
    for (unsigned bit = 0; bit < prefix.length; ++bit) mask[bit / 8] |= static_cast<uint8_t>(0x80 >> bit % 8);
    std::memcpy(out.address, prefix.address.bytes.data(), sizeof out.address);
    std::memcpy(out.mask, mask, sizeof out.mask);
  }
  return constants;
}

#ifdef CULVERT_HAS_BPF

// 0, or errno.
int set_target(int targets, Family family, int socket) {
  const uint32_t key = family == Family::v6 ? 1 : 0;
  const auto value = static_cast<uint64_t>(socket);
  return ::bpf_map_update_elem(targets, &key, &value, BPF_ANY) == 0 ? 0 : errno;
}

Fd link_to_namespace(int program, int network_namespace) {
  return Fd(::bpf_link_create(program, network_namespace, BPF_SK_LOOKUP, nullptr));
}

#else

int set_target(int, Family, int) {
  return EOPNOTSUPP;
}
Fd link_to_namespace(int, int) {
  return Fd();
}

#endif

}  // namespace

std::optional<WideRange> parse_wide_range(std::string_view text) {
  WideRange range;
  constexpr std::string_view kBetween = " \t,";
  for (;;) {
    const size_t begin = text.find_first_not_of(kBetween);
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const size_t end = std::min(text.find_first_of(kBetween), text.size());
    if (!parse_word(text.substr(0, end), range)) return std::nullopt;
    text.remove_prefix(end);
  }
  if (range == WideRange()) return std::nullopt;
  return range;
}

Result<std::unique_ptr<WideListener>> WideListener::open(const WideRange& range, UdpSocketGroup& group) {
  std::unique_ptr<WideListener> listener(new WideListener);
  if (Status loaded = listener->load(range, group); !loaded) return loaded.error();
  return listener;
}

Status WideListener::load(const WideRange& range, UdpSocketGroup& group) {
  Result<BpfObject> object = BpfObject::open("listen_wide", bpf::listen_wide());
  if (!object) return object.error();
  const wide_range constants = constants_of(range);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&constants);
  if (Status set = object->set_constants({bytes, sizeof constants}); !set) return set;
  if (Status loaded = object->load(); !loaded) return loaded;
  const Result<Fd> program = object->program("choose_listener"), targets = object->map("targets");
  if (!program) return program.error();
  if (!targets) return targets.error();
  UdpSockets& first = group.member(0);
  for (const Family family : {Family::v4, Family::v6})
    if (Status added = add_target(family, first, targets->get()); !added) return added;
  const int any_socket = std::max(first.fd(Family::v4), first.fd(Family::v6));
  const Fd network_namespace(::ioctl(any_socket, SIOCGSKNS));
  link_ = link_to_namespace(program->get(), network_namespace.get());
  if (!link_) return Error{errno, "listen on a range of ports (sk_lookup; needs CAP_NET_ADMIN and Linux 5.9)"};
  return Success{};
}

// The member's own socket, or if it is in the map of its group, one that joins the group for this.
Status WideListener::add_target(Family family, UdpSockets& first, int targets) {
  if (first.fd(family) < 0) return Success{};
  int error = set_target(targets, family, first.fd(family));
  if (error == EBUSY) {
    if (Status shared = first.share(); !shared) return shared;
    Result<Fd> joined = first.open_joiner(family, first.port());
    if (!joined) return joined.error();
    error = set_target(targets, family, joined->get());
    (family == Family::v4 ? v4_ : v6_) = std::move(*joined);
  }
  if (error != 0)
    return Error{error, "listen on a range of ports with the sockets of port " + std::to_string(first.port())};
  return Success{};
}

}  // namespace culvert::io
