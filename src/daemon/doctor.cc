#include "src/daemon/doctor.h"

#include <cstdio>

#include "src/daemon/command_line.h"
#include "src/host/doctor.h"

namespace culvert::daemon {

int run_doctor(const std::vector<std::string>& words) {
  std::optional<io::Endpoint> target;
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
    target = endpoint;
  }
  const host::HostFacts facts = host::read_host_facts(target);
  const std::vector<host::Finding> findings = host::diagnose(facts);
  if (!facts.device.empty()) std::printf("The tunnel's datagrams leave by %s.\n", facts.device.c_str());
  for (const host::Finding& finding : findings)
    std::printf("\n%s\n    measured  %s\n    mend      %s\n", finding.what.c_str(), finding.measured.c_str(),
                finding.mend.c_str());
  if (findings.empty()) std::puts("Nothing to mend.");
  return kExitSuccess;
}

}  // namespace culvert::daemon
