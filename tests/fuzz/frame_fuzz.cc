// A frame from the wire at a DPDK port, and the headers that an answer to it gets: what is said to lie in the frame
// does, and what we write is read back as what was meant.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "dpdk/frame.h"

namespace {

using namespace culvert::dpdk;
using culvert::io::Address;
using culvert::io::Endpoint;
using culvert::io::Family;

constexpr MacAddress kOurs = {2, 0, 0, 0, 0, 1};

void demand(bool holds) {
  if (!holds) std::abort();
}

Address address_at(const uint8_t* bytes, bool v6) {
  Address address;
  address.family = v6 ? Family::v6 : Family::v4;
  std::memcpy(address.bytes.data(), bytes, v6 ? 16 : 4);
  return address;
}

// The datagram goes back to where it came from.
void answer(std::span<const uint8_t> frame, const DatagramFrame& read, const Link& link, bool software) {
  const uint8_t* const ip = frame.data() + read.ip_at;
  Endpoint to;
  to.remote = address_at(ip + (read.v6 ? 8 : 12), read.v6);
  to.port = culvert::packet::load_be16(frame.data() + read.udp_at);
  const Address from = address_at(ip + (read.v6 ? 24 : 16), read.v6);
  const uint16_t port = culvert::packet::load_be16(frame.data() + read.udp_at + 2);

  DatagramHeaders headers;
  headers.prepare(link, kOurs, to, from, port, read.traffic_class);
  std::vector<uint8_t> room(kMaxFrameHeaderBytes + read.payload_bytes);
  uint8_t* const payload = room.data() + kMaxFrameHeaderBytes;
  std::copy_n(frame.data() + read.udp_at + culvert::packet::kUdpHeaderBytes, read.payload_bytes, payload);
  const bool needs_checksum = read.v6 || software;
  const uint8_t* const written =
      headers.write(payload, read.payload_bytes, needs_checksum ? UdpChecksum::software : UdpChecksum::none);
  // No frame is shorter than Ethernet allows, so that a link header can always be read.
  std::vector<uint8_t> sent(written, static_cast<const uint8_t*>(payload) + read.payload_bytes);
  sent.resize(std::max<size_t>(sent.size(), 60));

  DatagramFrame again;
  demand(read_datagram(sent, link, false, again) == FrameVerdict::ours);
  demand(again.v6 == read.v6 && again.payload_bytes == read.payload_bytes && again.traffic_class == read.traffic_class);
  demand(std::equal(payload, payload + read.payload_bytes,
                    sent.begin() + again.udp_at + culvert::packet::kUdpHeaderBytes));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t length) {
  if (length < 1) return 0;
  const uint8_t options = bytes[0];
  std::vector<uint8_t> frame(bytes + 1, bytes + length);  // of its own, so that a read beyond it is seen
  // An address that no fuzzer guesses.
  if ((options & 1) == 0) std::copy_n(kOurs.begin(), std::min(frame.size(), kOurs.size()), frame.begin());
  Link link{kOurs, static_cast<uint16_t>((options & 2) != 0 ? 5 : 0)};

  LinkFrame at;
  if (read_link_header(frame, link, at) == FrameVerdict::ours) demand(at.packet_at <= frame.size());
  DatagramFrame read;
  if (read_datagram(frame, link, (options & 4) != 0, read) != FrameVerdict::ours) return 0;
  demand(read.ip_at < read.udp_at);
  demand(read.udp_at + culvert::packet::kUdpHeaderBytes + read.payload_bytes <= frame.size());
  link.mac = kOurs;
  answer(frame, read, link, (options & 8) != 0);
  return 0;
}
