// UAPI text: whatever a client sends, in pieces of any size, the conversation goes on or ends, its replies are
// well-formed, and what `get` prints can be set again.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "tests/fake_device.h"

namespace culvert::uapi {
namespace {

void require(bool condition) {
  if (!condition) std::abort();
}

// The part of a `get` reply that `set` takes.
std::string settable(const std::string& text) {
  std::string lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    const std::string line = text.substr(at, end - at);
    if (!line.starts_with("last_handshake") && !line.starts_with("tx_bytes") && !line.starts_with("rx_bytes"))
      lines += line + "\n";
    at = end + 1;
  }
  return lines;
}

void converse(test::FakeDevice& device, const std::string& text, size_t piece_bytes) {
  Conversation conversation(device);
  std::string input;
  for (size_t at = 0; at < text.size() && !conversation.is_over(); at += piece_bytes) {
    input += text.substr(at, piece_bytes);
    do {
      const size_t taken = conversation.take(input);
      require(taken <= input.size());
      input.erase(0, taken);
      const crypto::SecretString reply = conversation.take_reply();
      require(reply.empty() || reply.ends_with("\n\n"));
    } while (!conversation.is_over() && input.find('\n') != std::string::npos);
    require(conversation.is_over() || input.size() <= kMaxUapiLineBytes);
  }
  conversation.take_end(input);
}

}  // namespace
}  // namespace culvert::uapi

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace culvert;
  using namespace culvert::uapi;
  if (size == 0) return 0;
  const std::string text(reinterpret_cast<const char*>(bytes) + 1, size - 1);
  test::FakeDevice in_pieces;
  converse(in_pieces, text, size_t{bytes[0]} + 1);
  test::FakeDevice at_once;
  converse(at_once, text, text.size() + 1);
  require(print_get(in_pieces.state) == print_get(at_once.state));

  test::FakeDevice again;
  converse(again, "set=1\n" + settable(std::string(print_get(at_once.state))) + "\n", 4096);
  require(again.errors.empty());
  require(print_get(again.state) == print_get(at_once.state));
  return 0;
}
