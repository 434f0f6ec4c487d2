#include "src/host/name_servers.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <iterator>
#include <sstream>

namespace culvert::host {

DnsProgram find_dns_program() {
  if (has_program("resolvconf")) return DnsProgram::resolvconf;
  return has_program("resolvectl") ? DnsProgram::resolvectl : DnsProgram::none;
}

std::string resolvconf_prefix(const std::string& interface_order) {
  std::istringstream lines(interface_order);
  for (std::string line; std::getline(lines, line);) {
    if (line.size() < 2 || line.back() != '*') continue;
    line.pop_back();
    const auto plain = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-'; };
    if (std::all_of(line.begin(), line.end(), plain)) return line + ".";
  }
  return "";
}

std::vector<Command> set_dns_commands(DnsProgram program, const std::string& prefix, const std::string& interface_name,
                                      const std::vector<std::string>& servers, const std::vector<std::string>& search) {
  if (program == DnsProgram::resolvconf) {
    std::string text;
    for (const std::string& server : servers) text += "nameserver " + server + "\n";
    for (size_t i = 0; i < search.size(); ++i) text += (i == 0 ? "search " : " ") + search[i];
    if (!search.empty()) text += "\n";
    return {{{"resolvconf", "-a", prefix + interface_name, "-m", "0", "-x"}, text, ""}};
  }
  Command dns{{"resolvectl", "dns", interface_name}, "", "resolvectl dns"};
  dns.words.insert(dns.words.end(), servers.begin(), servers.end());
  Command domain{{"resolvectl", "domain", interface_name, "~."}, "", "resolvectl domain"};
  domain.words.insert(domain.words.end(), search.begin(), search.end());
  return {dns, domain};
}

std::vector<Command> unset_dns_commands(DnsProgram program, const std::string& prefix,
                                        const std::string& interface_name) {
  if (program == DnsProgram::resolvconf) return {{{"resolvconf", "-d", prefix + interface_name, "-f"}, "", ""}};
  if (program == DnsProgram::resolvectl) return {{{"resolvectl", "revert", interface_name}, "", "resolvectl revert"}};
  return {};
}

std::string read_interface_order() {
  std::ifstream file("/etc/resolvconf/interface-order");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace culvert::host
