#include "src/device/port_request.h"

#include <algorithm>
#include <charconv>
#include <utility>

namespace culvert::device {
namespace {

constexpr std::string_view kBlanks = " \t";
// Ethernet's, without and with jumbo frames.
constexpr uint64_t kLeastMtu = 576, kMostMtu = 9978;
constexpr uint64_t kLeastDescriptors = 64, kMostDescriptors = 32768;
constexpr uint64_t kMostVlan = 4094;

io::Error wrong(std::string_view word, const char* allowed) {
  return {0, quote(word) + " is wrong: use " + allowed};
}

std::optional<io::Address> parse_address(std::string_view text) {
  const std::optional<Prefix> prefix = parse_prefix(text, PrefixLength::optional);
  if (!prefix || text.find('/') != std::string_view::npos) return std::nullopt;
  io::Address address;
  address.family = prefix->version == protocol::IpVersion::v4 ? io::Family::v4 : io::Family::v6;
  address.bytes = prefix->address;
  return address;
}

// Six pairs of hex digits with colons between them, of one card alone.
std::optional<std::array<uint8_t, 6>> parse_mac(std::string_view text) {
  std::array<uint8_t, 6> mac{};
  if (text.size() != 17) return std::nullopt;
  for (size_t i = 0; i < mac.size(); ++i) {
    const char* const digits = text.data() + 3 * i;
    const auto [end, error] = std::from_chars(digits, digits + 2, mac[i], 16);
    if (error != std::errc() || end != digits + 2 || (i < 5 && digits[2] != ':')) return std::nullopt;
  }
  if ((mac[0] & 1) != 0) return std::nullopt;
  return mac;
}

// "ADDRESS@MAC"
std::optional<PortNeighbour> parse_neighbour(std::string_view text) {
  const size_t at = text.find('@');
  if (at == std::string_view::npos) return std::nullopt;
  const auto address = parse_address(text.substr(0, at));
  const auto mac = parse_mac(text.substr(at + 1));
  if (!address || !mac) return std::nullopt;
  return PortNeighbour{*address, *mac};
}

io::Status read_number(std::string_view word, std::string_view value, uint64_t least, uint64_t most,
                       const char* allowed, uint64_t& out) {
  const auto number = parse_decimal(value, most);
  if (!number || *number < least) return wrong(word, allowed);
  out = *number;
  return io::Success{};
}

io::Status read_word(std::string_view word, PortRequest& request) {
  const size_t equals = word.find('=');
  const std::string_view key = word.substr(0, equals);
  const std::string_view value = equals == std::string_view::npos ? "" : word.substr(equals + 1);
  uint64_t number = 0;
  io::Status read = io::Success{};
  if (key == "address") {
    const auto address = parse_prefix(value, PrefixLength::required);
    if (!address) return wrong(word, "address=ADDRESS/BITS, such as address=192.0.2.1/24");
    request.addresses.push_back(*address);
  } else if (key == "gateway") {
    const auto address = parse_address(value);
    if (!address) return wrong(word, "gateway=ADDRESS, such as gateway=192.0.2.254");
    request.gateways.push_back(*address);
  } else if (key == "neighbour") {
    const auto neighbour = parse_neighbour(value);
    if (!neighbour) return wrong(word, "neighbour=ADDRESS@MAC, such as neighbour=192.0.2.254@02:00:00:00:00:01");
    request.neighbours.push_back(*neighbour);
  } else if (key == "vlan") {
    read = read_number(word, value, 1, kMostVlan, "vlan=1 to vlan=4094", number);
    request.vlan = static_cast<uint16_t>(number);
  } else if (key == "mtu") {
    read = read_number(word, value, kLeastMtu, kMostMtu, "mtu=576 to mtu=9978", number);
    request.mtu = static_cast<uint32_t>(number);
  } else if (key == "descriptors") {
    read = read_number(word, value, kLeastDescriptors, kMostDescriptors, "descriptors=64 to descriptors=32768", number);
    request.descriptors = static_cast<uint16_t>(number);
  } else {
    return wrong(word, "address=, gateway=, neighbour=, vlan=, mtu= and descriptors= behind the port's name");
  }
  return read;
}

}  // namespace

io::Result<PortRequest> parse_port_request(std::string_view text) {
  PortRequest request;
  for (size_t at = text.find_first_not_of(kBlanks); at != std::string_view::npos;
       at = text.find_first_not_of(kBlanks, at)) {
    const size_t end = std::min(text.find_first_of(kBlanks, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    at = end;
    if (request.name.empty() && word.find('=') == std::string_view::npos)
      request.name = word;
    else if (io::Status read = read_word(word, request); !read)
      return read.error();
  }
  if (request.name.empty()) return io::Error{0, "the name of the port is missing, such as 0000:3b:00.0 or net_memif0"};
  return request;
}

}  // namespace culvert::device
