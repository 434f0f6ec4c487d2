#include "src/host/name_servers.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>
#include <system_error>

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

std::string resolv_conf_refusal(const std::string& resolv_conf) {
  std::error_code none;
  const std::filesystem::path real = std::filesystem::weakly_canonical(resolv_conf, none);
  if (none || real.native().starts_with("/run/systemd/")) return "";
  const std::string folder = real.parent_path();
  if (::access(folder.c_str(), W_OK) == 0 || errno != EROFS) return "";
  return "DNS: resolvconf could neither change " + resolv_conf + " nor restore it, as " + folder +
         " is read-only here. For culvert@.service put ReadWritePaths=" + folder +
         " into a drop-in (`systemctl edit`), or install systemd-resolved";
}

std::string read_interface_order() {
  std::ifstream file("/etc/resolvconf/interface-order");
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace culvert::host
