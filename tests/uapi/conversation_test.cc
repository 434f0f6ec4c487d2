#include "src/uapi/conversation.h"

#include <gtest/gtest.h>

#include <array>

#include "tests/fake_device.h"

namespace culvert::uapi {
namespace {

// What a client reads that sends `text` in pieces of `piece_bytes` and then closes its half.
struct Heard {
  std::string replies;
  bool over_before_the_end = false;
};

Heard say(test::FakeDevice& device, const std::string& text, size_t piece_bytes) {
  Conversation conversation(device);
  Heard heard;
  std::string input;
  for (size_t at = 0; at < text.size() && !conversation.is_over(); at += piece_bytes) {
    input += text.substr(at, piece_bytes);
    do {
      input.erase(0, conversation.take(input));
      while (conversation.has_reply()) heard.replies += conversation.take_reply();
    } while (!conversation.is_over() && input.find('\n') != std::string::npos);
  }
  heard.over_before_the_end = conversation.is_over();
  if (!heard.over_before_the_end) {
    conversation.take_end(input);
    heard.replies += conversation.take_reply();
  }
  return heard;
}

TEST(Conversation, AnswersWhateverTheSizeOfThePieces) {
  struct Case {
    const char* name;
    std::string text;
    std::string replies;
    bool closes;
  };
  const std::string peer = "public_key=" + device::to_hex(test::key_number(1)) + "\n";
  const std::vector<Case> cases = {
      {"get of an empty device", "get=1\n\n", "errno=0\n\n", false},
      {"set, get and set", "set=1\nlisten_port=5\n\nget=1\n\nset=1\nlisten_port=6\n\n",
       "errno=0\n\nlisten_port=5\nerrno=0\n\nerrno=0\n\n", false},
      {"a set of nothing", "set=1\n\n", "errno=0\n\n", false},
      {"a set that ends with the input", "set=1\nlisten_port=5\n", "errno=0\n\n", false},
      {"a set whose last line has no newline", "set=1\nlisten_port=5", "errno=0\n\n", false},
      {"a get that never ends", "get=1\n", "", false},
      {"metrics and get", "metrics=1\n\nget=1\n\n", "a 1\nb 2\nerrno=0\n\nerrno=0\n\n", false},
      {"something after metrics", "metrics=1\nget=1\n\n", "errno=-22\n\n", true},
      {"an unknown operation", "show=1\n\nget=1\n\n", "", true},
      {"an operation with a carriage return", "get=1\r\n\r\n", "", true},
      {"a blank line for an operation", "\nget=1\n\n", "", true},
      {"set=0", "set=0\n\n", "", true},
      {"something after get", "get=1\nget=1\n\n", "errno=-22\n\n", true},
      {"a bad line, the rest of the set, and a get",
       "set=1\nlisten_port=5\nlisten_port=x\nlisten_port=7\n" + peer + "\nget=1\n\n",
       "errno=-22\n\nlisten_port=5\nerrno=0\n\n", false},
      {"a bad line and at once a get", "set=1\nlisten_port=x\nget=1\n\n", "errno=-22\n\nerrno=0\n\n", false},
      {"a line without an equals sign", "set=1\nlisten_port\n\n", "errno=-71\n\n", false},
  };
  for (const Case& c : cases) {
    for (const size_t piece_bytes : {size_t{1}, size_t{3}, size_t{7}, size_t{100000}}) {
      test::FakeDevice device;
      device.metrics_pieces = [piece = 0]() mutable { return std::array{"a 1\n", "b 2\n", ""}.at(piece++); };
      const Heard heard = say(device, c.text, piece_bytes);
      EXPECT_EQ(heard.replies, c.replies) << c.name << ", pieces of " << piece_bytes;
      EXPECT_EQ(heard.over_before_the_end, c.closes) << c.name << ", pieces of " << piece_bytes;
    }
  }
}

TEST(Conversation, EndsAtALineThatIsTooLong) {
  const std::string long_line(kMaxUapiLineBytes + 1, 'x');
  test::FakeDevice device;
  EXPECT_EQ(say(device, "set=1\nlisten_port=5\n" + long_line, 1000).replies, "errno=-5\n\n");
  EXPECT_EQ(device.state.listen_port, 5);
  EXPECT_EQ(device.publications, 1);
  EXPECT_TRUE(say(device, long_line, 1000).over_before_the_end);
  const Heard longest = say(device, "set=1\n" + long_line.substr(1) + "\n\n", 1000);
  EXPECT_EQ(longest.replies, "errno=-71\n\n") << "a line of the greatest length is read";
}

TEST(Conversation, TellsTheLogWhatWentWrong) {
  test::FakeDevice device;
  say(device, "set=1\nlisten_port=x\n\nnonsense\n", 1000);
  ASSERT_EQ(device.errors.size(), 2u);
  EXPECT_EQ(device.errors[0],
            "UAPI set, line 1: listen_port='x' is not a port: 0 (any free one) to 65535 (errno=-22; earlier lines stay "
            "applied)");
}

}  // namespace
}  // namespace culvert::uapi
