#include "bench/scale_sim/toeplitz.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <string>
#include <vector>

#include "bench/scale_sim/nic.h"

namespace culvert::scale_sim {
namespace {

// "Verifying the RSS Hash Calculation" of Microsoft's NDIS documentation; also in the 82599's data sheet, 7.1.2.8.3.
struct Vector {
  const char* destination;
  uint16_t destination_port;
  const char* source;
  uint16_t source_port;
  uint32_t hash_of_addresses;
  uint32_t hash_with_ports;
};

constexpr Vector kVectors4[] = {
    {"161.142.100.80", 1766, "66.9.149.187", 2794, 0x323e8fc2, 0x51ccc178},
    {"65.69.140.83", 4739, "199.92.111.2", 14230, 0xd718262a, 0xc626b0ea},
    {"12.22.207.184", 38024, "24.19.198.95", 12898, 0xd2d0a5de, 0x5c2b394a},
    {"209.142.163.6", 2217, "38.27.205.30", 48228, 0x82989176, 0xafc7327f},
    {"202.188.127.2", 1303, "153.39.163.191", 44251, 0x5d1809c5, 0x10e828a2},
};
constexpr Vector kVectors6[] = {
    {"3ffe:2501:200:3::1", 1766, "3ffe:2501:200:1fff::7", 2794, 0x2cc18cd5, 0x40207d3d},
    {"ff02::1", 4739, "3ffe:501:8::260:97ff:fe40:efab", 14230, 0x0f0c461c, 0xdde51bbf},
    {"fe80::200:f8ff:fe21:67cf", 38024, "3ffe:1900:4545:3:200:f8ff:fe21:67cf", 44251, 0x4b61e985, 0x02d1feef},
};

void append(std::vector<uint8_t>& bytes, int family, const char* address) {
  std::vector<uint8_t> read(family == AF_INET ? 4 : 16);
  ASSERT_EQ(inet_pton(family, address, read.data()), 1) << address;
  bytes.insert(bytes.end(), read.begin(), read.end());
}

void append(std::vector<uint8_t>& bytes, uint16_t port) {
  bytes.push_back(static_cast<uint8_t>(port >> 8));
  bytes.push_back(static_cast<uint8_t>(port));
}

void expect(const Vector& vector, int family) {
  const RssKey& key = default_key(NicModel::ixgbe);
  std::vector<uint8_t> input;
  append(input, family, vector.source);
  append(input, family, vector.destination);
  EXPECT_EQ(toeplitz(key, input), vector.hash_of_addresses) << vector.source;
  append(input, vector.source_port);
  append(input, vector.destination_port);
  EXPECT_EQ(toeplitz(key, input), vector.hash_with_ports) << vector.source;
}

TEST(Toeplitz, MeetsTheVerificationSuiteForIpv4) {
  for (const Vector& vector : kVectors4) expect(vector, AF_INET);
}

TEST(Toeplitz, MeetsTheVerificationSuiteForIpv6) {
  for (const Vector& vector : kVectors6) expect(vector, AF_INET6);
}

TEST(Toeplitz, OfNothingIsZero) {
  EXPECT_EQ(toeplitz(default_key(NicModel::mlx5), {}), 0U);
  EXPECT_EQ(toeplitz(default_key(NicModel::mlx5), std::vector<uint8_t>(36, 0)), 0U);
}

TEST(Toeplitz, OfOneBitIsTheKeysWindowThere) {
  const RssKey& key = default_key(NicModel::mlx5);
  EXPECT_EQ(toeplitz(key, std::vector<uint8_t>{0x80}), 0x2cc681d1U);
  EXPECT_EQ(toeplitz(key, std::vector<uint8_t>{0, 0x80}), 0xc681d15bU);
  EXPECT_EQ(toeplitz(key, std::vector<uint8_t>{0x40}), 0x2cc681d1U << 1 | 0x5bU >> 7);
}

}  // namespace
}  // namespace culvert::scale_sim
