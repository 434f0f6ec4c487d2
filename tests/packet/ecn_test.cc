#include "src/packet/ecn.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/packet/packets.h"

namespace culvert::packet {
namespace {

using packet::test::Bytes;
using packet::test::make_packet;
using packet::test::PacketSpec;

// RFC 6040 section 4.2, figure 4; [inner][outer]. "Not capable" inside ignores a mark, where the RFC drops.
constexpr uint8_t kCombined[4][4] = {
    {kEcnNotCapable, kEcnNotCapable, kEcnNotCapable, kEcnNotCapable},
    {kEcnCapable1, kEcnCapable1, kEcnCapable1, kEcnCongestion},
    {kEcnCapable0, kEcnCapable1, kEcnCapable0, kEcnCongestion},
    {kEcnCongestion, kEcnCongestion, kEcnCongestion, kEcnCongestion},
};

struct Case {
  bool v6;
  Bytes ip_options;
};

class Ecn : public testing::TestWithParam<Case> {
 protected:
  Bytes packet_with(uint8_t tos, uint16_t id = 0) const {
    PacketSpec spec;
    spec.v6 = GetParam().v6;
    spec.ip_options = GetParam().ip_options;
    spec.first_extension = 0;
    spec.tos = tos;
    spec.id = id;
    spec.flow_label = 0xfffff;
    return make_packet(spec);
  }
};

IpHeader header_of(const Bytes& packet) {
  IpHeader ip;
  EXPECT_EQ(parse_ip(packet, ip), IpError::none);
  return ip;
}

void decapsulate(uint8_t outer_traffic_class, Bytes& packet) {
  decapsulate_ecn(outer_traffic_class, header_of(packet), packet.data());
}

TEST_P(Ecn, TheWholeTrafficClassIsRead) {
  for (unsigned tos = 0; tos < 256; ++tos)
    EXPECT_EQ(header_of(packet_with(static_cast<uint8_t>(tos))).traffic_class, tos);
}

TEST_P(Ecn, GoesOutWithoutItsDscp) {
  for (unsigned tos = 0; tos < 256; ++tos)
    EXPECT_EQ(encapsulate_ecn(header_of(packet_with(static_cast<uint8_t>(tos)))), tos & kEcnMask);
}

TEST_P(Ecn, IsCombinedAsTheRfcSaysUnderEveryDscp) {
  for (unsigned dscp = 0; dscp < 256; dscp += 4) {
    for (uint8_t inner = 0; inner < 4; ++inner) {
      for (uint8_t outer = 0; outer < 4; ++outer) {
        const auto tos = static_cast<uint8_t>(dscp | inner);
        Bytes packet = packet_with(tos);
        decapsulate(static_cast<uint8_t>(0xfc - dscp + outer), packet);
        EXPECT_EQ(packet, packet_with(static_cast<uint8_t>(dscp | kCombined[inner][outer])))
            << "inner " << int{inner} << ", outer " << int{outer} << ", DSCP " << dscp / 4;
      }
    }
  }
}

TEST_P(Ecn, TheHeaderChecksumStaysRightForEveryValueItCanHave) {
  if (GetParam().v6) return;
  for (unsigned id = 0; id < 0x10000; ++id) {
    Bytes packet = packet_with(kEcnCapable0, static_cast<uint16_t>(id));
    decapsulate(id % 2 == 0 ? kEcnCongestion : kEcnCapable1, packet);
    ASSERT_EQ(packet::test::naive_checksum(std::span(packet).first(packet::test::ip_header_bytes(packet))), 0xffffu)
        << id;
  }
}

INSTANTIATE_TEST_SUITE_P(Versions, Ecn, testing::Values(Case{false, {}}, Case{false, Bytes(40, 1)}, Case{true, {}}),
                         [](const auto& given) {
                           if (given.param.v6) return "V6";
                           return given.param.ip_options.empty() ? "V4" : "V4WithOptions";
                         });

}  // namespace
}  // namespace culvert::packet
