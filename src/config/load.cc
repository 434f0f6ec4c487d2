// What a configuration needs of the host: its file, and the addresses of names for `--config`.

#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>

#include "crypto/secret.h"
#include "io/fd.h"
#include "io/udp_message.h"
#include "src/config/config.h"

namespace culvert::config {
namespace {

constexpr size_t kReadBytes = 65536;
constexpr size_t kMaxFileBytes = size_t{64} << 20;

enum class Source : uint8_t {
  any,   // also a pipe: once, at the start
  file,  // is read again by a process that must not wait for a writer
};

// Zero or an errno; EFBIG for a file that is no configuration.
int read_file(const std::string& path, Source source, crypto::SecretString& text) {
  const io::Fd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | (source == Source::file ? O_NONBLOCK : 0)));
  if (!file) return errno;
  struct stat found {};
  if (source == Source::file && ::fstat(file.get(), &found) == 0 && !S_ISREG(found.st_mode))
    return S_ISDIR(found.st_mode) ? EISDIR : EINVAL;
  for (;;) {
    const size_t end = text.size();
    text.resize(end + kReadBytes);
    const ssize_t count = ::read(file.get(), text.data() + end, kReadBytes);
    const int number = errno;
    text.resize(end + static_cast<size_t>(std::max<ssize_t>(count, 0)));
    if (count == 0) return 0;
    if (count < 0 && number != EINTR) return number;
    if (text.size() > kMaxFileBytes) return EFBIG;
  }
}

template <typename Parse>
ConfigOutcome load(const std::string& path, Source source, std::string_view mend, Parse&& parse) {
  ConfigOutcome outcome;
  crypto::SecretString text;
  const int number = read_file(path, source, text);
  if (number == 0) return parse(text);
  outcome.errors.push_back(fmt::format("{}: cannot be read: {}; {}", path, std::strerror(number), mend));
  return outcome;
}

}  // namespace

io::Result<io::Endpoint> resolve_endpoint(const std::string& host, const std::string& port) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_protocol = IPPROTO_UDP;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &found);
  if (code != 0) return code == EAI_SYSTEM ? io::Error{errno, "getaddrinfo"} : io::Error{0, ::gai_strerror(code)};
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, ::freeaddrinfo);
  io::SocketAddress address{};
  std::memcpy(&address, found->ai_addr, std::min<size_t>(found->ai_addrlen, sizeof address));
  const io::Endpoint endpoint = io::remote_of(address);
  if (!endpoint.valid()) return io::Error{0, "it has neither an IPv4 nor an IPv6 address"};
  return endpoint;
}

ConfigOutcome load_config(const std::string& path) {
  return load(
      path, Source::any, "check --config",
      [&path](std::string_view text) { return parse_config(text, path, resolve_endpoint); });
}

ConfigOutcome load_gateway_config(const std::string& path) {
  return load(
      path, Source::file, "name a file that is there, such as /etc/wireguard/wg0.conf",
      [&path](std::string_view text) { return parse_gateway_config(text, path); });
}

}  // namespace culvert::config
