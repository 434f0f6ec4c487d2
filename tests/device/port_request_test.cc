#include "src/device/port_request.h"

#include <gtest/gtest.h>

namespace culvert::device {
namespace {

TEST(PortRequest, IsANameAndWhatIsKnownOfThePort) {
  const auto port = parse_port_request(
      " net_memif0  address=192.0.2.1/24 address=2001:db8::1/64 gateway=192.0.2.254\tgateway=2001:db8::ff "
      "neighbour=192.0.2.254@02:00:00:00:00:FE neighbour=2001:db8::ff@02:00:00:00:00:fe vlan=4094 mtu=9000 "
      "descriptors=512 ");
  ASSERT_TRUE(port) << port.error().text();
  EXPECT_EQ(port->name, "net_memif0");
  ASSERT_EQ(port->addresses.size(), 2u);
  EXPECT_EQ(to_string(port->addresses[0]), "192.0.2.1/24");
  EXPECT_EQ(to_string(port->addresses[1]), "2001:db8::1/64");
  ASSERT_EQ(port->gateways.size(), 2u);
  EXPECT_EQ(port->gateways[1].family, io::Family::v6);
  ASSERT_EQ(port->neighbours.size(), 2u);
  EXPECT_EQ(port->neighbours[0].address, port->gateways[0]);
  EXPECT_EQ(port->neighbours[0].mac, (std::array<uint8_t, 6>{2, 0, 0, 0, 0, 0xfe}));
  EXPECT_EQ(port->vlan, 4094);
  EXPECT_EQ(port->mtu, 9000u);
  EXPECT_EQ(port->descriptors, 512);
}

TEST(PortRequest, NeedsNoMoreThanAName) {
  const auto port = parse_port_request("0000:3b:00.0");
  ASSERT_TRUE(port);
  EXPECT_EQ(port->name, "0000:3b:00.0");
  EXPECT_TRUE(port->addresses.empty());
  EXPECT_FALSE(port->mtu.has_value());
}

TEST(PortRequest, ThatIsWrongNamesTheWordAndWhatMayStandThere) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "the name of the port is missing"},
      {"mtu=1500", "the name of the port is missing"},
      {"p address=192.0.2.1", "'address=192.0.2.1' is wrong: use address=ADDRESS/BITS"},
      {"p gateway=192.0.2.0/24", "use gateway=ADDRESS"},
      {"p neighbour=192.0.2.1", "use neighbour=ADDRESS@MAC"},
      {"p neighbour=192.0.2.1@02:00:00:00:00", "use neighbour=ADDRESS@MAC"},
      {"p neighbour=192.0.2.1@02:00:00:00:00:0g", "use neighbour=ADDRESS@MAC"},
      {"p neighbour=192.0.2.1@02-00-00-00-00-01", "use neighbour=ADDRESS@MAC"},
      {"p neighbour=192.0.2.1@03:00:00:00:00:01", "use neighbour=ADDRESS@MAC"},
      {"p vlan=0", "use vlan=1 to vlan=4094"},
      {"p vlan=4095", "use vlan=1 to vlan=4094"},
      {"p mtu=70000", "use mtu=576 to mtu=9978"},
      {"p descriptors=8", "use descriptors=64"},
      {"p q", "'q' is wrong: use address=, gateway="},
      {"p speed=9", "'speed=9' is wrong"},
  };
  for (const auto& [text, says] : cases) {
    const auto port = parse_port_request(text);
    ASSERT_FALSE(port) << text;
    EXPECT_NE(port.error().text().find(says), std::string::npos) << text << ": " << port.error().text();
  }
}

}  // namespace
}  // namespace culvert::device
