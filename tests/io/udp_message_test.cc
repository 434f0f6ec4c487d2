#include "io/udp_message.h"

#include <gtest/gtest.h>
#include <netinet/udp.h>

#include <cstring>
#include <optional>

#include "tests/io/outgoing.h"

namespace culvert::io {
namespace {

TEST(UdpMessageTest, AddressesSurviveTheWayThroughTheKernelsForm) {
  for (const char* text : {"192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1%3]:65535"}) {
    const Endpoint before = endpoint(text);
    SocketAddress address{};
    const socklen_t length = to_socket_address(before.remote, before.port, before.scope_id, address);
    EXPECT_EQ(length, before.remote.family == Family::v4 ? sizeof(sockaddr_in) : sizeof(sockaddr_in6));
    EXPECT_EQ(remote_of(address), before) << text;
  }
}

TEST(UdpMessageTest, KnowsNoOtherFamily) {
  SocketAddress address{};
  EXPECT_EQ(to_socket_address({}, 1, 0, address), 0u);
  address.any.sa_family = AF_UNIX;
  EXPECT_FALSE(remote_of(address).valid());
}

struct SourceCase {
  const char* name;
  const char* to;
  const char* source;
  bool usable;
};

const SourceCase kSourceCases[] = {
    {"v4 to v4", "192.0.2.1:1", "192.0.2.2", true},
    {"v6 to v6", "[2001:db8::1]:1", "[2001:db8::2]", true},
    {"none", "192.0.2.1:1", "", false},
    {"a v4 source of an endpoint that is v6 by now", "[2001:db8::1]:1", "192.0.2.2", false},
    {"a v6 source of an endpoint that is v4 by now", "192.0.2.1:1", "[2001:db8::2]", false},
    {"link-local to link-local", "[fe80::1%3]:1", "[fe80::2]", true},
    {"link-local to global, whose interface is unknown", "[2001:db8::1]:1", "[fe80::2]", false},
};

TEST(UdpMessageTest, UsesASourceOnlyWhereItCanBeOne) {
  for (const SourceCase& c : kSourceCases) EXPECT_EQ(has_usable_source(endpoint(c.to, c.source)), c.usable) << c.name;
}

std::optional<in6_pktinfo> v6_source(const msghdr& message) {
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  if (header == nullptr || header->cmsg_type != IPV6_PKTINFO) return std::nullopt;
  in6_pktinfo packet{};
  std::memcpy(&packet, CMSG_DATA(header), sizeof packet);
  return packet;
}

TEST(UdpMessageTest, OnlyALinkLocalSourceNamesItsInterface) {
  msghdr message{};
  ControlBuffer control;
  write_control(message, control, endpoint("[fe80::1%3]:1", "[fe80::2]"), true, 0, 0);
  ASSERT_TRUE(v6_source(message).has_value());
  EXPECT_EQ(v6_source(message)->ipi6_ifindex, 3u);
  write_control(message, control, endpoint("[2001:db8::1]:1", "[2001:db8::2]"), true, 0, 0);
  ASSERT_TRUE(v6_source(message).has_value());
  EXPECT_EQ(v6_source(message)->ipi6_ifindex, 0u);
  write_control(message, control, endpoint("[2001:db8::1]:1", "[2001:db8::2]"), false, 0, 0);
  EXPECT_EQ(message.msg_controllen, 0u);
}

TEST(UdpMessageTest, EverythingAtOnceFitsAndCanBeWalked) {
  for (const Endpoint& to : {endpoint("192.0.2.1:1", "192.0.2.2"), endpoint("[2001:db8::1]:1", "[2001:db8::2]")}) {
    msghdr message{};
    ControlBuffer control;
    write_control(message, control, to, true, 0x88, 1452);
    EXPECT_LE(message.msg_controllen, kControlBytes);
    int count = 0;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) ++count;
    EXPECT_EQ(count, 3);
  }
}

TEST(UdpMessageTest, AControlMessageThatIsTooShortReadsAsNothing) {
  ControlBuffer control{};
  msghdr message{};
  message.msg_control = control.bytes;
  message.msg_controllen = CMSG_SPACE(1);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_UDP;
  header->cmsg_type = UDP_GRO;
  header->cmsg_len = CMSG_LEN(1);
  const ReceivedControl read = read_control(message);
  EXPECT_EQ(read.segment_size, 0);
  EXPECT_EQ(read.traffic_class, 0);
  EXPECT_EQ(read.local, Address{});
}

}  // namespace
}  // namespace culvert::io
