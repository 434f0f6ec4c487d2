#include "src/daemon/metrics_reader.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <system_error>
#include <utility>

#include "io/fd.h"
#include "src/uapi/socket.h"

namespace culvert::daemon {
namespace {

constexpr std::string_view kPrefix = "culvert_";
constexpr std::string_view kEnd = "errno=0\n\n";
constexpr size_t kMaxBytes = size_t{256} << 20;

struct Label {
  std::string_view name, value;  // as they are written
};

// Takes name="value", with \" and \\ in the value, from the front of `text`.
bool take_label(std::string_view& text, Label& label) {
  const size_t equals = text.find("=\"");
  if (equals == std::string_view::npos) return false;
  const size_t begin = equals + 2;
  for (size_t i = begin; i < text.size(); ++i) {
    if (text[i] == '"') {
      label = {text.substr(0, equals), text.substr(begin, i - begin)};
      text.remove_prefix(i + 1);
      if (text.starts_with(',')) text.remove_prefix(1);
      return true;
    }
    if (text[i] == '\\') ++i;
  }
  return false;
}

}  // namespace

std::string_view MetricSample::written(std::string_view name) const {
  Label label;
  for (std::string_view rest = labels; take_label(rest, label);)
    if (label.name == name) return label.value;
  return "";
}

std::string MetricSample::label(std::string_view name) const {
  std::string plain;
  const std::string_view text = written(name);
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\\' && i + 1 < text.size()) ++i;
    plain.push_back(text[i]);
  }
  return plain;
}

MetricFamilies::MetricFamilies(std::string text) : text_(std::make_unique<const std::string>(std::move(text))) {
  for (std::string_view rest = *text_; !rest.empty();) {
    const size_t length = std::min(rest.find('\n'), rest.size());
    read_line(rest.substr(0, length));
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
}

const std::vector<MetricSample>& MetricFamilies::of(std::string_view family) const {
  static const std::vector<MetricSample> kNone;
  const auto found = families_.find(family);
  return found == families_.end() ? kNone : found->second;
}

// name{label="value",...} number
void MetricFamilies::read_line(std::string_view line) {
  const size_t brace = line.find('{');
  if (!line.starts_with(kPrefix) || brace == std::string_view::npos) return;
  const std::string_view name = line.substr(kPrefix.size(), brace - kPrefix.size());
  const std::string_view labels = line.substr(brace + 1);
  std::string_view rest = labels;
  Label label;
  while (!rest.starts_with('}'))
    if (!take_label(rest, label)) return;
  MetricSample sample{.labels = labels.substr(0, labels.size() - rest.size())};
  rest.remove_prefix(std::min<size_t>(2, rest.size()));
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), sample.value);
  if (error == std::errc()) families_[name].push_back(sample);
}

std::vector<std::string> interfaces_with_sockets() {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(uapi::uapi_socket_file("x")).parent_path(), none))
    if (entry.path().extension() == ".sock") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
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
