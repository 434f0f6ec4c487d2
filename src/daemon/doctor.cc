#include "src/daemon/doctor.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <utility>
#include <vector>

#include "src/daemon/command_line.h"
#include "src/daemon/metrics_reader.h"
#include "src/host/doctor.h"
#include "src/uapi/socket.h"

namespace culvert::daemon {
namespace {

constexpr size_t kMostWays = 4;  // that are looked at: a probe may wait for seconds

// Where peers of running tunnels are, each host once; the first few of a tunnel that has ten thousand.
std::vector<io::Endpoint> endpoints_of(const std::vector<std::string>& tunnels) {
  std::vector<io::Endpoint> all;
  for (const std::string& tunnel : tunnels) {
    const auto text = fetch_metrics(uapi::uapi_socket_file(tunnel));
    if (!text) continue;
    const MetricFamilies families(*text);
    for (const MetricSample& peer : families.of("peer_info")) {
      io::Endpoint endpoint;
      if (all.size() == kMostWays) return all;
      if (!io::parse_endpoint(peer.label("endpoint"), endpoint)) continue;
      if (std::none_of(all.begin(), all.end(),
                       [&](const io::Endpoint& known) { return known.remote == endpoint.remote; }))
        all.push_back(endpoint);
    }
  }
  return all;
}

std::string host_of(const io::Endpoint& endpoint) {
  const std::string text = io::to_string(endpoint);
  return text.substr(0, text.rfind(':'));
}

bool is_same(const host::Finding& one, const host::Finding& other) {
  return one.what == other.what && one.measured == other.measured;
}

}  // namespace

int run_doctor(const std::vector<std::string>& words) {
  const std::vector<std::string> tunnels = interfaces_with_sockets();
  std::vector<std::optional<io::Endpoint>> targets;
  if (!words.empty()) {
    io::Endpoint endpoint;
    const bool v6 = words[0].find(':') != std::string::npos;
    if (words.size() > 1 || !io::parse_endpoint((v6 ? "[" + words[0] + "]" : words[0]) + ":9", endpoint)) {
      std::fprintf(stderr,
                   "culvert doctor: '%s' is not the numeric address of a peer's host, such as 192.0.2.1\n"
                   "Usage: culvert doctor [ADDRESS]\n",
                   words.back().c_str());
      return kExitUsage;
    }
    targets.emplace_back(endpoint);
  } else {
    for (const io::Endpoint& endpoint : endpoints_of(tunnels)) targets.emplace_back(endpoint);
    if (targets.empty()) targets.emplace_back();  // the default route
  }
  std::vector<host::Finding> findings;
  for (const std::optional<io::Endpoint>& target : targets) {
    const host::HostFacts facts = host::read_host_facts(target, tunnels);
    if (!facts.device.empty())
      std::printf("The tunnel's datagrams%s leave by %s.\n", target ? (" to " + host_of(*target)).c_str() : "",
                  facts.device.c_str());
    for (host::Finding& finding : host::diagnose(facts))
      if (std::none_of(findings.begin(), findings.end(),
                       [&](const host::Finding& known) { return is_same(known, finding); }))
        findings.push_back(std::move(finding));
  }
  for (const host::Finding& finding : findings)
    std::printf("\n%s\n    measured  %s\n    mend      %s\n", finding.what.c_str(), finding.measured.c_str(),
                finding.mend.c_str());
  if (findings.empty()) std::puts("Nothing to mend.");
  return kExitSuccess;
}

}  // namespace culvert::daemon
