#include "bench/scale_sim/command_line.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>

namespace culvert::scale_sim {
namespace {

constexpr uint32_t kMaxCores = 128;
constexpr uint32_t kMaxPorts = 4096;
constexpr uint32_t kMaxGroup = 256;
constexpr uint32_t kMaxFlows = 1'000'000;
constexpr uint32_t kMaxRounds = 1000;
constexpr size_t kMaxArrangements = 16;

using Refusal = std::runtime_error;

// Words as they were given.
struct Words {
  std::string cores = "1-128";
  std::vector<uint32_t> ports = {8, 64};
  std::vector<uint32_t> groups = {4, 16};
  std::vector<std::string> mixes = {"mixed"};
  std::string nic = "mlx5", hash = "l4", steering = "rss", costs;
  uint32_t table = 0, dead = 0, flows = 0;
  Options options;
};

uint32_t cores_of(const std::string& word) {
  const bool digits = !word.empty() && word.size() <= 3 && word.find_first_not_of("0123456789") == std::string::npos;
  const unsigned long cores = digits ? std::stoul(word) : 0;
  if (cores < 1 || cores > kMaxCores)
    throw Refusal("--cores: '" + word + "' is no number from 1 to " + std::to_string(kMaxCores) +
                  "; give a list such as 1,2,8 or a range such as 1-128");
  return static_cast<uint32_t>(cores);
}

// Of a range: both ends, and the powers of two and their halfway marks between them.
std::vector<uint32_t> parse_cores(const std::string& text) {
  std::set<uint32_t> cores;
  if (const size_t dash = text.find('-'); dash != std::string::npos) {
    const uint32_t low = cores_of(text.substr(0, dash)), high = cores_of(text.substr(dash + 1));
    if (low > high) throw Refusal("--cores " + text + ": the range ends before it starts");
    cores = {low, high};
    for (uint32_t power = 1; power <= high; power *= 2)
      for (const uint32_t mark : {power, power + power / 2})
        if (mark > low && mark < high) cores.insert(mark);
  } else {
    std::istringstream words(text + ",");
    for (std::string word; std::getline(words, word, ',');) cores.insert(cores_of(word));
  }
  return {cores.begin(), cores.end()};
}

void add_traffic(CLI::App& app, Words& words) {
  app.add_option("--cores", words.cores, "cores of each host, a list or a range of 1 to 128 (1-128)")->type_name("N");
  app.add_option("--ports", words.ports, "spread one tunnel over so many source ports; 0 for none (8,64)")
      ->delimiter(',')
      ->check(CLI::Range(0U, kMaxPorts))
      ->type_name("K,...");
  app.add_option("--groups", words.groups, "spread over groups of so many tunnels; 0 for none (4,16)")
      ->delimiter(',')
      ->check(CLI::Range(0U, kMaxGroup))
      ->type_name("K,...");
  app.add_option("--dead", words.dead, "so many members of each group are dead (0)")->type_name("N");
  app.add_option("--mix", words.mixes, "elephants, mice, zipf, mixed or all (mixed)")
      ->delimiter(',')
      ->check(CLI::IsMember({"elephants", "mice", "zipf", "mixed", "all"}))
      ->type_name("MIX,...");
  app.add_option("--flows", words.flows, "inner flows (256 elephants, 20000 of other mixes)")
      ->check(CLI::Range(1U, kMaxFlows))
      ->type_name("N");
}

void add_machine(CLI::App& app, Words& words) {
  app.add_option("--nic", words.nic, "whose RSS key, table and queues: mlx5, ixgbe, linux or rps (mlx5)")
      ->check(CLI::IsMember({"mlx5", "ixgbe", "linux", "rps"}))
      ->type_name("NIC");
  app.add_option("--table", words.table, "entries of the indirection table, 128 or 512 (the NIC's own)")
      ->check(CLI::IsMember({128, 512}))
      ->type_name("N");
  app.add_option("--hash", words.hash, "what RSS looks at: l3, l4 or l4-source-only (l4)")
      ->check(CLI::IsMember({"l3", "l4", "l4-source-only"}))
      ->type_name("FIELDS");
  app.add_option("--first-port", words.options.plan.first_port, "the lowest source port (another one in each round)")
      ->check(CLI::Range(1, 65535))
      ->type_name("P");
  app.add_option("--steering", words.steering, "who opens: rss, the core of the queue, or index, the home worker (rss)")
      ->check(CLI::IsMember({"rss", "index"}))
      ->type_name("HOW");
  app.add_option("--costs", words.costs, "nanoseconds a packet, or a JSON file")->type_name("FILE|NS");
}

void add_output(CLI::App& app, Words& words) {
  app.add_option("--rounds", words.options.plan.rounds, "means are over so many rounds (5)")
      ->check(CLI::Range(1U, kMaxRounds))
      ->type_name("N");
  app.add_option("--seed", words.options.plan.seed, "of all that is drawn (1)")->type_name("N");
  app.add_option("--svg", words.options.svg_path, "write plots there")->type_name("FILE");
  app.add_option("--json", words.options.json_path, "write all points there; - for stdout, without text")
      ->type_name("FILE");
}

std::vector<Arrangement> arrangements_of(const Words& words) {
  std::vector<Arrangement> arrangements = {{}};
  for (const uint32_t count : words.ports)
    if (count > 0) arrangements.push_back({Arrangement::Kind::ports, count, 0});
  for (const uint32_t count : words.groups) {
    if (count == 0) continue;
    if (words.dead >= count)
      throw Refusal("--dead " + std::to_string(words.dead) + " leaves nobody in a group of " + std::to_string(count));
    arrangements.push_back({Arrangement::Kind::group, count, words.dead});
  }
  if (arrangements.size() > kMaxArrangements)
    throw Refusal("at most " + std::to_string(kMaxArrangements - 1) + " numbers of ports and tunnels at a time");
  return arrangements;
}

Options options_of(const Words& words) {
  static const std::map<std::string, NicModel> models = {
      {"mlx5", NicModel::mlx5}, {"ixgbe", NicModel::ixgbe}, {"linux", NicModel::linux}, {"rps", NicModel::rps}};
  static const std::map<std::string, HashFields> fields = {
      {"l3", HashFields::l3}, {"l4", HashFields::l4}, {"l4-source-only", HashFields::l4_source_only}};
  Options options = words.options;
  Plan& plan = options.plan;
  plan.cores = parse_cores(words.cores);
  plan.arrangements = arrangements_of(words);
  plan.nic = {models.at(words.nic), fields.at(words.hash), words.table};
  plan.steering = words.steering == "index" ? Steering::index : Steering::rss;
  plan.flows = words.flows;
  plan.mixes.clear();
  for (const Mix mix : kMixes)
    for (const std::string& word : words.mixes)
      if ((word == "all" || word == name_of(mix)) && (plan.mixes.empty() || plan.mixes.back() != mix))
        plan.mixes.push_back(mix);
  for (const Arrangement& arrangement : plan.arrangements)
    if (plan.first_port + arrangement.count > 0x10000)
      throw Refusal("--first-port " + std::to_string(plan.first_port) + " leaves no room for " + arrangement.name());
  if (!words.costs.empty()) {
    const auto costs = read_costs(words.costs);
    if (!costs) throw Refusal(costs.error().text());
    plan.costs = *costs;
  }
  return options;
}

}  // namespace

CommandLineOutcome parse_command_line(const std::vector<std::string>& arguments) {
  CommandLineOutcome outcome;
  Words words;
  CLI::App app("Simulates what two hosts with many cores carry from one to the other.", "scale-sim");
  app.footer("`tools/scale-sim --help` explains mixes and costs.");
  add_traffic(app, words);
  add_machine(app, words);
  add_output(app, words);
  try {
    // CLI11 takes the arguments from the back.
    app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    outcome.options = options_of(words);
  } catch (const CLI::CallForHelp&) {
    outcome.output = app.help();
    return outcome;
  } catch (const std::runtime_error& error) {  // CLI::ParseError is one
    outcome.exit_code = kExitUsage;
    outcome.output = std::string("scale-sim: ") + error.what() + " (see `scale-sim --help`)\n";
    return outcome;
  }
  outcome.run = true;
  return outcome;
}

}  // namespace culvert::scale_sim
