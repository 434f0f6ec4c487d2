#include "src/pipeline/endpoint_cell.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "tests/pipeline/peers.h"

namespace culvert::pipeline {
namespace {

using test::address;
using test::endpoint;

// An endpoint all of whose bytes follow from one: a torn one cannot be told from it by chance.
io::Endpoint uniform(uint8_t n) {
  io::Endpoint result;
  result.remote.bytes.fill(n);
  result.source.bytes.fill(n);
  result.remote.family = result.source.family = n % 2 == 0 ? io::Family::v6 : io::Family::v4;
  result.scope_id = n * 0x01010101U;
  result.port = static_cast<uint16_t>(n * 0x0101U);
  return result;
}

TEST(EndpointCell, IsInvalidAtFirst) {
  EXPECT_FALSE(EndpointCell().load().valid());
}

TEST(EndpointCell, LoadsWhatWasStored) {
  EndpointCell cell;
  for (const char* text : {"192.0.2.1:51820", "[2001:db8::1]:1", "[fe80::1%1]:65535"}) {
    cell.store(endpoint(text));
    EXPECT_EQ(cell.load(), endpoint(text));
  }
}

TEST(EndpointCell, ForgetsTheSourceThatWasRefusedAndNoOther) {
  EndpointCell cell;
  io::Endpoint sticky = endpoint("192.0.2.1:51820");
  sticky.source = address("192.0.2.2");
  cell.store(sticky);
  cell.forget_source(address("192.0.2.3"));
  EXPECT_EQ(cell.load(), sticky);
  cell.forget_source(sticky.source);
  EXPECT_EQ(cell.load(), endpoint("192.0.2.1:51820"));
}

TEST(EndpointCell, NeverShowsHalfOfAnEndpointWhileThreadsWrite) {
  constexpr int kWriters = 2, kReaders = 2, kTurns = 20'000;
  EndpointCell cell;
  cell.store(uniform(1));
  std::atomic<int> writing{kWriters}, torn{0};
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      for (int i = 0; i < kTurns; ++i) {
        cell.store(uniform(static_cast<uint8_t>(1 + (i * kWriters + w) % 255)));
        // No one stored it.
        cell.forget_source(address("192.0.2.3"));
      }
      --writing;
    });
  }
  for (int r = 0; r < kReaders; ++r) {
    threads.emplace_back([&] {
      do {
        const io::Endpoint seen = cell.load();
        if (seen != uniform(seen.remote.bytes[0])) ++torn;
      } while (writing > 0);
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(torn, 0);
}

}  // namespace
}  // namespace culvert::pipeline
