#include "src/daemon/tunnel_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <memory>

#include "src/config/host_keys.h"

namespace culvert::daemon {
namespace {

constexpr std::string_view kSuffix = ".conf";
constexpr const char* kFolders[] = {"/etc/culvert/", "/etc/wireguard/"};

std::string absolute(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(::realpath(path.c_str(), nullptr), std::free);
  return real != nullptr ? real.get() : path;
}

unsigned mode_of(const std::string& path) {
  struct stat file {};
  return ::stat(path.c_str(), &file) == 0 ? file.st_mode : 0;
}

}  // namespace

io::Result<std::string> find_tunnel_name(const std::string& word) {
  if (config::configured_name_error(word).empty() && !word.ends_with(kSuffix)) return word;
  const std::string file = word.substr(word.find_last_of('/') + 1);  // npos + 1 is 0
  const std::string name = file.ends_with(kSuffix) ? file.substr(0, file.size() - kSuffix.size()) : "";
  if (const std::string wrong = config::configured_name_error(name); !wrong.empty())
    return io::Error{0, "'" + word + "' names neither an interface nor a file INTERFACE.conf (" + wrong + ")"};
  return name;
}

io::Result<TunnelFile> find_tunnel_file(const std::string& word) {
  auto name = find_tunnel_name(word);
  if (!name) return name.error();
  if (*name != word) return TunnelFile{absolute(word), *name};
  for (const char* const folder : kFolders)
    if (const std::string path = folder + word + std::string(kSuffix); ::access(path.c_str(), F_OK) == 0)
      return TunnelFile{absolute(path), *name};
  return TunnelFile{kFolders[0] + word + std::string(kSuffix), *name};
}

std::string open_to_the_world(const std::string& path) {
  const std::string folder = path.substr(0, path.find_last_of('/') + 1);
  if ((mode_of(path) & mode_of(folder.empty() ? "." : folder) & 0007) == 0) return "";
  return path + " holds keys and is open to everybody: run `chmod o= " + path + "`";
}

}  // namespace culvert::daemon
