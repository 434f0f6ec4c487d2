// Random streams of inner packets as hosts send them, with what each one has to look like at the far end.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tests/packet/packets.h"
#include "tests/pipeline/fake_kernel.h"

namespace culvert::pipeline::test {

// What the near TUN device gives, and the packets it stands for.
struct Given {
  InnerPacket packet;
  std::vector<Bytes> expected;
};

// The sum of a pseudo header: what stands in the checksum field of a packet whose checksum is not finished.
inline unsigned pseudo_header_sum(const Bytes& packet, size_t at, bool tcp) {
  const bool v6 = packet[0] >> 4 == 6;
  const auto addresses = std::span(packet).subspan(v6 ? 8 : 12, v6 ? 32 : 8);
  const size_t length = packet.size() - at;
  return packet::test::naive_checksum(Bytes{static_cast<uint8_t>(length >> 8), static_cast<uint8_t>(length)},
                                      packet::test::naive_checksum(addresses, tcp ? 6 : 17));
}

inline void finish_ip_header(Bytes& packet) {
  using packet::test::put16;
  if (packet[0] >> 4 == 6) {
    put16(packet, 4, static_cast<unsigned>(packet.size() - 40));
    return;
  }
  put16(packet, 2, static_cast<unsigned>(packet.size()));
  put16(packet, 10, 0);
  const size_t header = packet::test::ip_header_bytes(packet);
  put16(packet, 10, 0xffff - packet::test::naive_checksum(std::span(packet).first(header)));
}

// One flow between two hosts. TCP and UDP flows send data, superpackets, acks and every oddity that a host may send;
// the rest sends packets without ports.
class Flow {
 public:
  Flow(uint8_t host, size_t mtu, Random& random) : random_(random) {
    spec_.v6 = pick(50);
    spec_.tcp = pick(55);
    spec_.host = host;
    spec_.source_port = static_cast<uint16_t>(1 + below(random_, 20));
    spec_.destination_port = static_cast<uint16_t>(1 + below(random_, 3));
    spec_.sequence = static_cast<uint32_t>(pick(20) ? 0U - below(random_, 100'000) : random_());
    spec_.tos = static_cast<uint8_t>(random_());
    spec_.ttl = static_cast<uint8_t>(1 + below(random_, 255));
    spec_.flow_label = pick(50) ? static_cast<uint32_t>(below(random_, 1 << 20)) : 0;
    spec_.window = static_cast<uint16_t>(random_());
    spec_.dont_fragment = pick(70);
    ids_ = spec_.dont_fragment ? static_cast<Ids>(below(random_, 4)) : Ids::counting;
    spec_.id = static_cast<uint16_t>(ids_ == Ids::zero ? 0 : random_());
    if (spec_.tcp && pick(60)) spec_.tcp_options = {1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8};
    if (pick(8)) add_ip_options();
    if (!spec_.tcp && pick(12)) protocol_ = pick(50) ? (spec_.v6 ? 58 : 1) : static_cast<uint8_t>(pick(50) ? 47 : 132);
    set_mtu(mtu);
  }

  void set_mtu(size_t mtu) {
    const size_t header = ip_bytes() + (spec_.tcp ? 20 + spec_.tcp_options.size() : 8);
    segment_ = std::max<size_t>(8, mtu - header);
  }

  // Appends one packet, or the fragments of one.
  void next(const io::InnerOffloads& gives, std::vector<Given>& out) {
    if (pick(4)) spec_.tos = static_cast<uint8_t>(random_());
    if (pick(1)) --spec_.ttl;
    if (spec_.ttl == 0) spec_.ttl = 64;
    if (protocol_ != 0)
      next_other(out);
    else if (spec_.tcp)
      next_tcp(gives, out);
    else
      next_udp(gives, out);
  }

  std::string text() const {
    return std::string(protocol_ != 0 ? "protocol " + std::to_string(protocol_)
                       : spec_.tcp    ? "TCP"
                                      : "UDP") +
           (spec_.v6 ? " v6, ports " : " v4, ports ") + std::to_string(spec_.source_port) + ">" +
           std::to_string(spec_.destination_port);
  }

 private:
  enum class Ids : uint8_t { counting, zero, random, constant };

  bool pick(unsigned percent) { return chance(random_, percent); }
  size_t ip_bytes() const { return (spec_.v6 ? 40 : 20) + spec_.ip_options.size(); }

  void add_ip_options() {
    if (!spec_.v6) {
      spec_.ip_options = pick(50) ? Bytes{1, 1, 1, 1} : Bytes{7, 7, 4, 0, 0, 0, 0, 0};
      return;
    }
    static constexpr uint8_t kHeaders[] = {0, 60, 43};  // hop by hop, destination, a routing header that is used up
    spec_.first_extension = kHeaders[below(random_, 3)];
    const auto protocol = static_cast<uint8_t>(spec_.tcp ? 6 : 17);
    spec_.ip_options = {protocol, 0, 1, 4, 0, 0, 0, 0};
    if (spec_.first_extension == 43) spec_.ip_options = {protocol, 0, 4, 0, 0, 0, 0, 0};
  }

  void next_tcp(const io::InnerOffloads& gives, std::vector<Given>& out) {
    const PacketSpec usual = spec_;
    size_t gso_size = 0;
    const size_t what = below(random_, 100);
    spec_.flags = static_cast<uint8_t>(pick(20) ? 0x18 : 0x10);
    spec_.payload_bytes = pick(70) ? segment_ : 1 + below(random_, segment_);
    if (!spec_.tcp_options.empty() && pick(20)) ++spec_.tcp_options[7];
    const Bytes options = spec_.tcp_options;
    if (what < 27) {
      gso_size = draw_gso_size();
      if (pick(4)) spec_.flags |= static_cast<uint8_t>(pick(50) ? 0x80 : 0x01);
    } else if (what < 40) {
      spec_.payload_bytes = 0;
      spec_.ack += 1448;
    } else if (what < 43) {
      spec_.flags = static_cast<uint8_t>(pick(50) ? 0x02 : 0x12);
      spec_.payload_bytes = 0;
      spec_.tcp_options = {2, 4, 5, 180, 1, 3, 3, 7};
    } else if (what < 46) {
      spec_.flags = 0x11;
      if (pick(50)) spec_.payload_bytes = 0;
    } else if (what < 48) {
      spec_.flags = static_cast<uint8_t>(pick(50) ? 0x14 : 0x04);
    } else if (what < 51) {
      spec_.sequence -= static_cast<uint32_t>(below(random_, 3000));
    } else if (what < 53) {
      spec_.flags = static_cast<uint8_t>(random_());
      spec_.urgent = static_cast<uint16_t>(random_());
    } else if (what < 55) {
      ++spec_.window;
    }
    Bytes whole = make_packet(spec_);
    const size_t ip = ip_bytes();
    if (gso_size == 0 && pick(1)) {
      whole.resize(ip + 4 + below(random_, 16));  // a header cut short
      finish_ip_header(whole);
      give(whole, out);
    } else if (gso_size == 0 && pick(1)) {
      whole[ip + 12] = static_cast<uint8_t>(random_());  // a header of any length
      packet::test::finish_checksums(whole, ip, true);
      give(whole, out);
    } else {
      offer(whole, gso_size, gives, out);
    }
    const uint32_t sequence = spec_.sequence + static_cast<uint32_t>(spec_.payload_bytes);
    const uint32_t ack = spec_.ack;
    const uint16_t id = spec_.id, window = spec_.window;
    spec_ = usual;
    spec_.tcp_options = options;
    spec_.sequence = sequence;
    spec_.ack = ack;
    spec_.window = window;
    spec_.id = id;
  }

  void next_udp(const io::InnerOffloads& gives, std::vector<Given>& out) {
    const size_t what = below(random_, 100);
    size_t gso_size = 0;
    spec_.payload_bytes = pick(60) ? segment_ : below(random_, segment_ + 1);
    if (what < 30)
      gso_size = draw_gso_size();
    else if (what < 36)
      spec_.payload_bytes = 0;
    else if (what < 42)
      spec_.payload_bytes = below(random_, 6000);
    Bytes whole = make_packet(spec_);
    spec_.sequence += static_cast<uint32_t>(spec_.payload_bytes);
    const size_t ip = ip_bytes();
    if (what >= 36 && what < 42 && spec_.ip_options.empty()) {
      cut_into_fragments(whole, out);
    } else if (what >= 42 && what < 46 && !spec_.v6) {
      packet::test::put16(whole, ip + 6, 0);  // no checksum
      give(whole, out);
    } else if (what == 46) {
      packet::test::put16(whole, ip + 4, static_cast<unsigned>(random_()));  // a wrong length
      give(whole, out);
    } else {
      offer(whole, gso_size, gives, out);
      return;
    }
    count_ids(1);
  }

  void next_other(std::vector<Given>& out) {
    spec_.payload_bytes = below(random_, segment_ + 1);
    Bytes whole = make_packet(spec_);
    spec_.sequence += static_cast<uint32_t>(spec_.payload_bytes);
    if (!spec_.v6)
      whole[9] = protocol_;
    else if (spec_.ip_options.empty())
      whole[6] = protocol_;
    else
      whole[40] = protocol_;
    finish_ip_header(whole);
    give(whole, out);
    count_ids(1);
  }

  // The size of the segments of a superpacket, whose payload it sets too.
  size_t draw_gso_size() {
    const size_t gso_size = pick(60) ? segment_ : 1 + below(random_, segment_);
    const size_t segments = 1 + below(random_, pick(80) ? 8 : 70);
    const size_t header = ip_bytes() + (spec_.tcp ? 20 + spec_.tcp_options.size() : 8);
    spec_.payload_bytes = std::min(65'535 - header, gso_size * segments - below(random_, gso_size));
    return gso_size;
  }

  void count_ids(size_t packets) {
    if (ids_ == Ids::counting) spec_.id = static_cast<uint16_t>(spec_.id + packets);
    if (ids_ == Ids::random) spec_.id = static_cast<uint16_t>(random_());
  }

  // A packet that is to arrive as it is.
  static void give(const Bytes& packet, std::vector<Given>& out) {
    Given& given = out.emplace_back();
    given.packet.bytes = packet;
    given.expected.push_back(packet);
  }

  // Gives the packet as the device's switches have it: whole and without checksum, or cut and finished.
  void offer(const Bytes& whole, size_t gso_size, const io::InnerOffloads& gives, std::vector<Given>& out) {
    const size_t ip = ip_bytes();
    std::vector<Bytes> expected = {whole};
    if (gso_size != 0) expected = packet::test::naive_segments(whole, spec_.tcp, ip, gso_size);
    count_ids(expected.size());
    const bool gives_superpackets =
        spec_.tcp ? (spec_.v6 ? gives.tcp6 : gives.tcp4) : (spec_.v6 ? gives.udp6 : gives.udp4);
    if (gso_size == 0 || !gives_superpackets || !gives.checksum) {
      for (const Bytes& segment : expected) {
        give(segment, out);
        // Finishing turns a zero into its other form, also where TCP would not need it.
        if (gives.checksum && pick(80) && packet::test::get16(segment, ip + (spec_.tcp ? 16 : 6)) != 0)
          leave_checksum_open(out.back().packet, ip);
      }
      return;
    }
    give(whole, out);
    out.back().expected = std::move(expected);
    InnerPacket& packet = out.back().packet;
    leave_checksum_open(packet, ip);
    packet.offload.gso = spec_.tcp ? io::GsoType::tcp : io::GsoType::udp;
    packet.offload.gso_size = static_cast<uint16_t>(gso_size);
    packet.offload.header_length =
        static_cast<uint16_t>(pick(90) ? packet.bytes.size() - spec_.payload_bytes : random_());
  }

  void leave_checksum_open(InnerPacket& packet, size_t ip) const {
    packet.offload.needs_checksum = true;
    packet.offload.checksum_start = static_cast<uint16_t>(ip);
    packet.offload.checksum_offset = spec_.tcp ? 16 : 6;
    packet::test::put16(packet.bytes, ip + packet.offload.checksum_offset,
                        pseudo_header_sum(packet.bytes, ip, spec_.tcp));
  }

  void cut_into_fragments(const Bytes& whole, std::vector<Given>& out) {
    const size_t header = spec_.v6 ? 40 : 20;
    const size_t step = 8 * (1 + below(random_, std::max<size_t>(1, segment_ / 8)));
    const size_t payload = whole.size() - header;
    const auto identification = static_cast<uint32_t>(random_());
    for (size_t at = 0; at < payload; at += std::max(step, payload / 12 / 8 * 8)) {
      const size_t end = std::min(payload, at + std::max(step, payload / 12 / 8 * 8));
      Bytes fragment(whole.begin(), whole.begin() + static_cast<long>(header));
      const unsigned more = end < payload ? 1 : 0;
      if (spec_.v6) {
        fragment[6] = 44;
        fragment.insert(fragment.end(), {17, 0, 0, 0, 0, 0, 0, 0});
        packet::test::put16(fragment, 42, static_cast<unsigned>(at) | more);
        packet::test::put32(fragment, 44, identification);
      } else {
        packet::test::put16(fragment, 6, static_cast<unsigned>(at / 8) | more << 13);
      }
      fragment.insert(fragment.end(), whole.begin() + static_cast<long>(header + at),
                      whole.begin() + static_cast<long>(header + end));
      finish_ip_header(fragment);
      give(fragment, out);
    }
  }

  Random& random_;
  PacketSpec spec_;
  Ids ids_ = Ids::counting;
  uint8_t protocol_ = 0;  // neither TCP nor UDP
  size_t segment_ = 0;    // payload bytes of a full packet
};

// Cuts what was written to the far TUN device as the kernel does, after checking what the kernel relies on. Empty,
// with `wrong` set, if that does not hold.
inline std::vector<Bytes> cut_as_written(const InnerPacket& packet, std::string& wrong) {
  using packet::test::get16;
  const Bytes& bytes = packet.bytes;
  const io::Offload& offload = packet.offload;
  const bool v6 = bytes[0] >> 4 == 6;
  const size_t ip = packet::test::ip_header_bytes(bytes);
  if (bytes.size() < ip || (v6 ? 40 + get16(bytes, 4) : get16(bytes, 2)) != bytes.size())
    wrong = "the length in an IP header is wrong";
  else if (!v6 && packet::test::naive_checksum(std::span(bytes).first(ip)) != 0xffff)
    wrong = "the checksum of an IP header is wrong";
  if (offload.gso == io::GsoType::none && !offload.needs_checksum) return {bytes};
  const bool tcp = bytes[v6 ? 6 : 9] == 6;
  const size_t header = ip + (tcp ? (bytes[ip + 12] >> 4) * 4U : 8U);
  const size_t field = ip + (tcp ? 16U : 6U);
  if (!offload.needs_checksum || offload.checksum_start != ip ||
      offload.checksum_start + offload.checksum_offset != field)
    wrong = "the virtio header points to no checksum";
  else if (get16(bytes, field) != pseudo_header_sum(bytes, ip, tcp))
    wrong = "an open checksum is not the sum of the pseudo header";
  else if (!tcp && get16(bytes, ip + 4) != bytes.size() - ip)
    wrong = "a UDP length is wrong";
  else if (offload.gso != (tcp ? io::GsoType::tcp : io::GsoType::udp))
    wrong = "a superpacket has the wrong type";
  else if (offload.header_length != header || offload.gso_size == 0 || bytes.size() <= header + offload.gso_size)
    wrong = "a superpacket has the wrong sizes";
  else if (!tcp && (bytes.size() - header + offload.gso_size - 1) / offload.gso_size > 64)
    wrong = "more than 64 datagrams were joined";
  if (!wrong.empty()) return {};
  return packet::test::naive_segments(bytes, tcp, ip, offload.gso_size);
}

}  // namespace culvert::pipeline::test
