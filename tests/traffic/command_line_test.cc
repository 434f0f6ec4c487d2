#include "bench/traffic/command_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

namespace culvert::traffic {
namespace {

using ::testing::HasSubstr;

constexpr const char* kKey = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

std::vector<std::string> words_of(const std::string& line) {
  std::istringstream stream(line);
  std::vector<std::string> words;
  for (std::string word; stream >> word;) words.push_back(word);
  return words;
}

TEST(CommandLine, TakesEveryCommand) {
  struct Case {
    const char* line;
    size_t index;  // in Command
  };
  const Case cases[] = {
      {"sink --bind 10.0.0.1 --port 7000 --control /run/x", 0},
      {"sink --bind fd00::1 --port 7000 --control /run/x", 0},
      {"udp --to 10.0.0.1 --port 7000 --size 64 --seconds 1", 1},
      {"udp --to fd00::1 --port 7000 --size imix --gso --rate 1000 --flows 8 --seconds 0.5", 1},
      {"search --to 10.0.0.1 --port 7000 --control /run/x --size 1372", 2},
      {"search --to 10.0.0.1 --port 7000 --control /run/x --size 64 --gso --flows 2 --trial 1 --loss 0.001 "
       "--resolution 0.01",
       2},
      {"echo --bind 10.0.0.1 --port 7000", 3},
      {"rr --to 10.0.0.1 --port 7000 --seconds 2", 4},
      {"rr --to 10.0.0.1 --port 7000 --seconds 2 --size 1000", 4},
      {"crr --to 10.0.0.1 --port 7000 --seconds 2", 4},
      {"waits --to 10.0.0.1 --port 7000 --seconds 2 --far-namespace /run/netns/n2 --near-inner wg0 --near-outer wire "
       "--far-outer wire --far-inner wg1 --rate 100 --outer-v6",
       6},
      {"handshakes --config peers --peers 100 --key-of-server AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8= "
       "--seconds 3 --sources 10.71.0.0/16",
       5},
  };
  for (const Case& c : cases) {
    const CommandLineOutcome outcome = parse_command_line(words_of(c.line));
    EXPECT_TRUE(outcome.run) << c.line << ": " << outcome.output;
    EXPECT_EQ(outcome.command.index(), c.index) << c.line;
  }
}

TEST(CommandLine, CarriesTheValues) {
  const auto search =
      parse_command_line(words_of("search --to 10.0.0.1 --port 7000 --control /run/x --size 64 --gso --flows "
                                  "2 --trial 1 --loss 0.25 --resolution 0.1"));
  ASSERT_TRUE(search.run);
  const LossFreeRateOptions& options = std::get<SearchCommand>(search.command).options;
  EXPECT_EQ(io::to_string(options.sender.to), "10.0.0.1:7000");
  EXPECT_EQ(options.sender.size.bytes, 64U);
  EXPECT_TRUE(options.sender.gso);
  EXPECT_EQ(options.sender.flows, 2U);
  EXPECT_EQ(options.control_path, "/run/x");
  EXPECT_EQ(options.trial_seconds, 1);
  EXPECT_EQ(options.search.loss, 0.25);
  EXPECT_EQ(options.search.resolution, 0.1);

  const auto defaults = parse_command_line(words_of("search --to 10.0.0.1 --port 7000 --control /run/x --size imix"));
  ASSERT_TRUE(defaults.run);
  const LossFreeRateOptions& usual = std::get<SearchCommand>(defaults.command).options;
  EXPECT_TRUE(usual.sender.size.imix());
  EXPECT_EQ(usual.trial_seconds, 0.5);
  EXPECT_EQ(usual.search.loss, 0);
  EXPECT_EQ(usual.search.resolution, 0.05);

  const auto rr = parse_command_line(words_of("rr --to fd00::1 --port 7000 --seconds 2"));
  ASSERT_TRUE(rr.run);
  EXPECT_EQ(std::get<TransactionCommand>(rr.command).options.bytes, 1U);
  EXPECT_FALSE(std::get<TransactionCommand>(rr.command).options.connect_each_time);
  const auto crr = parse_command_line(words_of("crr --to fd00::1 --port 7000 --seconds 2"));
  ASSERT_TRUE(crr.run);
  EXPECT_TRUE(std::get<TransactionCommand>(crr.command).options.connect_each_time);

  const auto handshakes = parse_command_line(
      words_of(std::string("handshakes --config f --peers 9 --sources 10.71.0.0/16 --key-of-server ") + kKey));
  ASSERT_TRUE(handshakes.run);
  const HandshakeOptions& played = std::get<HandshakeCommand>(handshakes.command).options;
  EXPECT_EQ(played.peers, 9U);
  EXPECT_EQ(played.server.bytes[31], 31);
  EXPECT_EQ(played.seconds, 5);
  ASSERT_TRUE(played.sources);
  EXPECT_EQ(played.sources->cidr, 16);
}

TEST(CommandLine, SaysWhatIsWrongAndHowToMendIt) {
  struct Case {
    const char* name;
    std::string line;
    std::vector<const char*> says;
  };
  const std::string udp = "udp --to 10.0.0.1 --port 7000 --seconds 1 ";
  const std::string search = "search --to 10.0.0.1 --port 7000 --control /run/x --size 64 ";
  const std::string handshakes = "handshakes --config f --peers 9 --key-of-server ";
  const std::vector<Case> cases = {
      {"no command", "", {"lab_traffic:", "waits, handshakes", "lab_traffic --help"}},
      {"an unknown command", "flood", {"flood"}},
      {"no port", "echo --bind 10.0.0.1", {"lab_traffic echo:", "--port is required", "lab_traffic echo --help"}},
      {"a port that is none", "echo --bind 10.0.0.1 --port 0", {"65535"}},
      {"a port that is too high", "echo --bind 10.0.0.1 --port 65536", {"--port"}},
      {"a name for an address", "echo --bind localhost --port 1", {"'localhost' is no IP address", "10.80.0.2"}},
      {"an address with a port", "echo --bind 10.0.0.1:5 --port 1", {"is no IP address"}},
      {"no size", udp, {"--size is required"}},
      {"a size too small for a header", udp + "--size 15", {"'15'", "imix", "16 to 65507"}},
      {"a size beyond UDP", udp + "--size 65508", {"16 to 65507"}},
      {"a size in words", udp + "--size big", {"'big'", "16 to 65507"}},
      {"no flows", udp + "--size 64 --flows 0", {"--flows", "1024"}},
      {"no rate", udp + "--size 64 --rate 0", {"--rate"}},
      {"no time", "rr --to 10.0.0.1 --port 1 --seconds 0", {"--seconds"}},
      {"a loss of all", search + "--loss 1", {"--loss", "0.99"}},
      {"no resolution", search + "--resolution 0", {"--resolution"}},
      {"a search without a sink", "search --to 10.0.0.1 --port 1 --size 64", {"--control is required"}},
      {"an option of another command", udp + "--size 64 --trial 1", {"--trial"}},
      {"a key that is none", handshakes + "AAAA", {"'AAAA' is no public key", "wg show"}},
      {"an address for a prefix", handshakes + kKey + " --sources 10.71.0.0", {"no prefix", "10.71.0.0/16"}},
      {"no peers", "handshakes --config f --peers 0 --key-of-server " + std::string(kKey), {"--peers", "65536"}},
  };
  for (const Case& c : cases) {
    const CommandLineOutcome outcome = parse_command_line(words_of(c.line));
    EXPECT_FALSE(outcome.run) << c.name;
    EXPECT_EQ(outcome.exit_code, 2) << c.name;
    for (const char* part : c.says) EXPECT_THAT(outcome.output, HasSubstr(part)) << c.name;
    // One line.
    EXPECT_EQ(outcome.output.find('\n'), outcome.output.size() - 1) << c.name << ": " << outcome.output;
  }
}

TEST(CommandLine, PrintsHelp) {
  const CommandLineOutcome general = parse_command_line({"--help"});
  EXPECT_FALSE(general.run);
  EXPECT_EQ(general.exit_code, 0);
  for (const char* command : {"sink", "udp", "search", "echo", "rr", "crr", "handshakes"})
    EXPECT_THAT(general.output, HasSubstr(command));
  const CommandLineOutcome udp = parse_command_line({"udp", "--help"});
  EXPECT_EQ(udp.exit_code, 0);
  for (const char* option : {"--size", "--gso", "--rate", "--flows", "--seconds"})
    EXPECT_THAT(udp.output, HasSubstr(option));
}

}  // namespace
}  // namespace culvert::traffic
