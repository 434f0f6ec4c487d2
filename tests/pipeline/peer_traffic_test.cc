#include "src/pipeline/peer_traffic.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <vector>

namespace culvert::pipeline {
namespace {

// How many pages of the table take memory.
size_t resident_pages(PeerTrafficTable& table) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  const size_t bytes = PeerTrafficTable::kMaxNumbers * sizeof(PeerTraffic);
  std::vector<unsigned char> resident((bytes + page - 1) / page);
  EXPECT_EQ(mincore(&table.of(0), bytes, resident.data()), 0);
  size_t pages = 0;
  for (const unsigned char one : resident) pages += one & 1;
  return pages;
}

TEST(PeerTrafficTable, CountsEveryPeerFromZeroToTheLast) {
  PeerTrafficTable table;
  const uint32_t last = PeerTrafficTable::kMaxNumbers - 1;
  table.of(0).sent_bytes.add(3);
  table.of(last).received_bytes.add(5);
  EXPECT_EQ(table.of(0).sent_bytes.get(), 3u);
  EXPECT_EQ(table.of(last).received_bytes.get(), 5u);
  EXPECT_EQ(table.of(1).sent_bytes.get() + table.of(1).received_bytes.get(), 0u);
}

TEST(PeerTrafficTable, ForgetsOnePeerAlone) {
  PeerTrafficTable table;
  for (const uint32_t number : {6u, 7u, 8u}) {
    table.of(number).sent_bytes.add(number);
    table.of(number).received_bytes.add(number);
  }
  table.clear(7);
  for (const uint32_t number : {6u, 7u, 8u}) {
    EXPECT_EQ(table.of(number).sent_bytes.get(), number == 7 ? 0 : number);
    EXPECT_EQ(table.of(number).received_bytes.get(), number == 7 ? 0 : number);
  }
}

TEST(PeerTrafficTable, TakesMemoryForWhatItCountedAlone) {
  PeerTrafficTable table;
  EXPECT_EQ(resident_pages(table), 0u);
  for (uint32_t number = 0; number < 10'000; ++number) table.of(number).sent_bytes.add(1);
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  EXPECT_LE(resident_pages(table), 10'000 * sizeof(PeerTraffic) / page + 1);
}

}  // namespace
}  // namespace culvert::pipeline
