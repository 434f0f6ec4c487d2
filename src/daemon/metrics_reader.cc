#include "src/daemon/metrics_reader.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "io/fd.h"

namespace culvert::daemon {
namespace {

constexpr std::string_view kPrefix = "culvert_";
constexpr std::string_view kEnd = "errno=0\n\n";
constexpr size_t kMaxBytes = size_t{256} << 20;

// name="value", with \" and \\ in the value; takes it from the front of `text`.
bool take_label(std::string_view& text, MetricSample& sample) {
  const size_t equals = text.find("=\"");
  if (equals == std::string_view::npos) return false;
  const std::string name(text.substr(0, equals));
  std::string value;
  for (size_t i = equals + 2; i < text.size(); ++i) {
    if (text[i] == '"') {
      text.remove_prefix(i + 1);
      sample.labels.emplace(name, std::move(value));
      return true;
    }
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    value.push_back(text[i]);
  }
  return false;
}

// name{label="value",...} number
void read_line(std::string_view line, MetricFamilies& families) {
  const size_t brace = line.find('{');
  if (!line.starts_with(kPrefix) || brace == std::string_view::npos) return;
  const std::string name(line.substr(kPrefix.size(), brace - kPrefix.size()));
  line.remove_prefix(brace + 1);
  MetricSample sample;
  while (!line.starts_with('}')) {
    if (!take_label(line, sample)) return;
    if (line.starts_with(',')) line.remove_prefix(1);
  }
  line.remove_prefix(std::min<size_t>(2, line.size()));
  const auto [end, error] = std::from_chars(line.data(), line.data() + line.size(), sample.value);
  if (error == std::errc()) families[name].push_back(std::move(sample));
}

}  // namespace

const std::string& MetricSample::label(std::string_view name) const {
  static const std::string kNone;
  const auto found = labels.find(name);
  return found == labels.end() ? kNone : found->second;
}

MetricFamilies parse_metrics(std::string_view text) {
  MetricFamilies families;
  while (!text.empty()) {
    const size_t length = std::min(text.find('\n'), text.size());
    read_line(text.substr(0, length), families);
    text.remove_prefix(std::min(length + 1, text.size()));
  }
  return families;
}

io::Result<std::string> fetch_metrics(const std::string& socket_path, int seconds) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) return io::Error{ENAMETOOLONG, socket_path};
  socket_path.copy(address.sun_path, socket_path.size());
  const io::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const timeval patience{seconds, 0};
  constexpr std::string_view kRequest = "metrics=1\n\n";
  if (!fd || ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience) != 0 ||
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::send(fd.get(), kRequest.data(), kRequest.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kRequest.size()))
    return io::Error{errno, socket_path};
  std::string text;
  std::vector<char> buffer(size_t{1} << 16);
  while (!text.ends_with(kEnd) && text.size() < kMaxBytes) {
    const ssize_t count = ::recv(fd.get(), buffer.data(), buffer.size(), 0);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return io::Error{errno == EAGAIN ? ETIMEDOUT : errno, socket_path};
    if (count == 0) return io::Error{EPROTO, socket_path + ": who serves it knows of no metrics"};
    text.append(buffer.data(), static_cast<size_t>(count));
  }
  text.resize(text.size() - std::min(text.size(), kEnd.size()));
  return text;
}

}  // namespace culvert::daemon
