#include "src/daemon/top.h"

#include <curses.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <map>
#include <optional>
#include <span>

#include "src/daemon/command_line.h"
#include "src/device/encoding.h"
#include "src/uapi/socket.h"

namespace culvert::daemon {
namespace {

constexpr int kPauseMilliseconds = 1000;

using PeerRates = std::map<std::string, double, std::less<>>;  // by public key, a second

// Both looks at one interface.
class Between {
 public:
  Between(const MetricFamilies& before, const MetricFamilies& after, double seconds)
      : before_(before), after_(after), seconds_(std::max(seconds, 0.001)) {}

  // The sum of the samples whose label has this value; of all without a label.
  static double value(const MetricFamilies& families, std::string_view family, std::string_view label = "",
                      std::string_view wanted = "") {
    const auto found = families.find(family);
    double sum = 0;
    if (found == families.end()) return 0;
    for (const MetricSample& sample : found->second)
      if (label.empty() || sample.label(label) == wanted) sum += static_cast<double>(sample.value);
    return sum;
  }
  double now(std::string_view family, std::string_view label = "", std::string_view wanted = "") const {
    return value(after_, family, label, wanted);
  }
  double rate(std::string_view family, std::string_view label = "", std::string_view wanted = "") const {
    return std::max(0.0, (now(family, label, wanted) - value(before_, family, label, wanted)) / seconds_);
  }
  // Of every peer in one pass: ten thousand of them are looked at each second.
  PeerRates peer_rates(std::string_view family) const {
    PeerRates rates;
    for (const MetricSample& sample : samples(family))
      rates[sample.label("public_key")] = static_cast<double>(sample.value) / seconds_;
    const auto earlier = before_.find(family);
    if (earlier != before_.end())
      for (const MetricSample& sample : earlier->second)
        if (const auto found = rates.find(sample.label("public_key")); found != rates.end())
          found->second -= static_cast<double>(sample.value) / seconds_;
    return rates;
  }
  const std::vector<MetricSample>& samples(std::string_view family) const {
    static const std::vector<MetricSample> kNone;
    const auto found = after_.find(family);
    return found == after_.end() ? kNone : found->second;
  }
  std::string text(std::string_view family, std::string_view label) const {
    const auto& all = samples(family);
    return all.empty() ? "?" : all.front().label(label);
  }

 private:
  const MetricFamilies& before_;
  const MetricFamilies& after_;
  const double seconds_;
};

std::string bits(double bytes) {
  return short_number(bytes * 8) + "b/s";
}

double ratio(double one, double other) {
  return other > 0 ? one / other : 0;
}

void add_head(const Between& all, std::vector<std::string>& lines) {
  std::string offloads;
  for (const MetricSample& sample : all.samples("offload_active"))
    offloads += (sample.value != 0 ? " " : " no-") + sample.label("offload");
  lines.push_back(fmt::format("{}  {}  {} peers  {}  culvert {}", all.text("link_up", "device"),
                              all.now("link_up") != 0 ? "up" : "down", all.now("peers"), all.text("engine", "name"),
                              all.text("build_info", "version")));
  lines.push_back("offloads:" + offloads);
  lines.push_back(fmt::format("UDP: received {:>7}/s, {:>4.1f} in a train      sent {:>7}/s, {:>4.1f} in a train",
                              short_number(all.rate("datagrams_received_total")),
                              ratio(all.rate("datagrams_received_total"), all.rate("trains_received_total")),
                              short_number(all.rate("datagrams_sent_total")),
                              ratio(all.rate("datagrams_sent_total"), all.rate("trains_sent_total"))));
  lines.push_back(
      fmt::format("TUN: written  {:>7}/s, {:>10}           read {:>7}/s, {:>10}",
                  short_number(all.rate("tun_written_packets_total")), bits(all.rate("tun_written_bytes_total")),
                  short_number(all.rate("tun_read_packets_total")), bits(all.rate("tun_read_bytes_total"))));
}

void add_workers(const Between& all, std::vector<std::string>& lines) {
  lines.push_back("");
  lines.push_back("WORKER   SEALED/s   OPENED/s  WAKEUPS/s  A WAKEUP");
  for (const MetricSample& sample : all.samples("wakeups_total")) {
    const std::string& worker = sample.label("worker");
    const double sealed = all.rate("messages_sealed_total", "worker", worker);
    const double opened = all.rate("messages_opened_total", "worker", worker);
    const double wakeups = all.rate("wakeups_total", "worker", worker);
    lines.push_back(fmt::format("{:>6} {:>10} {:>10} {:>10} {:>9.1f}", worker, short_number(sealed),
                                short_number(opened), short_number(wakeups), ratio(sealed + opened, wakeups)));
  }
}

void add_drops(const Between& all, std::vector<std::string>& lines) {
  std::string drops;
  for (const MetricSample& sample : all.samples("drops_total")) {
    const double rate = all.rate("drops_total", "reason", sample.label("reason"));
    if (sample.value != 0)
      drops += fmt::format("  {} {} ({}/s)", sample.label("reason"), short_number(static_cast<double>(sample.value)),
                           short_number(rate));
  }
  lines.push_back("");
  lines.push_back("drops:" + (drops.empty() ? "  none" : drops));
}

std::string ago(double timestamp, uint64_t now) {
  if (timestamp == 0) return "never";
  const auto seconds = static_cast<int64_t>(now) - static_cast<int64_t>(timestamp);
  if (seconds < 120) return fmt::format("{}s", std::max<int64_t>(0, seconds));
  return seconds < 7200 ? fmt::format("{}m", seconds / 60) : fmt::format("{}h", seconds / 3600);
}

void add_peers(const Between& all, uint64_t now, size_t max_peers, std::vector<std::string>& lines) {
  struct Row {
    std::string key, endpoint;
    double received, sent, lost, handshake;
  };
  const PeerRates received = all.peer_rates("peer_received_bytes_total"),
                  sent = all.peer_rates("peer_sent_bytes_total");
  const PeerRates expected = all.peer_rates("peer_expected_messages_total");
  const PeerRates arrived = all.peer_rates("peer_received_messages_total");
  std::map<std::string, double, std::less<>> handshakes;
  for (const MetricSample& sample : all.samples("peer_last_handshake_timestamp_seconds"))
    handshakes[sample.label("public_key")] = static_cast<double>(sample.value);
  const auto of = [](const auto& rates, const std::string& key) {
    const auto found = rates.find(key);
    return found == rates.end() ? 0.0 : std::max(0.0, found->second);
  };
  std::vector<Row> sorted;
  for (const MetricSample& sample : all.samples("peer_info")) {
    const std::string& key = sample.label("public_key");
    const double wanted = of(expected, key);
    sorted.push_back({key, sample.label("endpoint"), of(received, key), of(sent, key),
                      wanted > 0 ? 1 - of(arrived, key) / wanted : 0, of(handshakes, key)});
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const Row& one, const Row& other) {
    return one.received + one.sent > other.received + other.sent;
  });
  lines.push_back("");
  lines.push_back("PEER          RECEIVED       SENT   LOST  HANDSHAKE  ENDPOINT");
  for (const Row& row : std::span(sorted).first(std::min(max_peers, sorted.size())))
    lines.push_back(fmt::format("{:<11} {:>10} {:>10} {:>5.1f}%  {:>9}  {}", row.key.substr(0, 8) + "...",
                                bits(row.received), bits(row.sent), std::max(0.0, row.lost) * 100,
                                ago(row.handshake, now), row.endpoint.empty() ? "unknown" : row.endpoint));
  if (sorted.size() > max_peers) lines.push_back(fmt::format("and {} more", sorted.size() - max_peers));
}

}  // namespace

std::string short_number(double number) {
  const char* unit = "";
  for (const char* next : {"k", "M", "G", "T"}) {
    if (number < 999.5) break;
    number /= 1000;
    unit = next;
  }
  const int decimals = *unit == 0 && number == std::trunc(number) ? 0 : number < 9.995 ? 2 : number < 99.95 ? 1 : 0;
  return fmt::format("{:.{}f}{}", number, decimals, unit);
}

std::vector<std::string> render_top(const MetricFamilies& before, const MetricFamilies& after, double seconds,
                                    uint64_t now, size_t width, size_t max_peers) {
  const Between all(before, after, seconds);
  std::vector<std::string> lines;
  add_head(all, lines);
  add_workers(all, lines);
  add_drops(all, lines);
  add_peers(all, now, max_peers, lines);
  for (std::string& line : lines) line.resize(std::min(line.size(), width));
  return lines;
}

namespace {

using Clock = std::chrono::steady_clock;

struct Watched {
  std::string name;
  MetricFamilies before, after;
  std::optional<io::Error> error;
};

std::vector<std::string> interfaces_with_sockets() {
  std::vector<std::string> names;
  std::error_code none;
  for (const auto& entry :
       std::filesystem::directory_iterator(std::filesystem::path(uapi::uapi_socket_file("x")).parent_path(), none))
    if (entry.path().extension() == ".sock") names.push_back(entry.path().stem());
  std::sort(names.begin(), names.end());
  return names;
}

void look(Watched& watched) {
  auto text = fetch_metrics(uapi::uapi_socket_file(watched.name));
  watched.error.reset();
  if (!text) {
    watched.error = text.error();
    return;
  }
  watched.before = std::move(watched.after);
  watched.after = parse_metrics(*text);
  if (watched.before.empty()) watched.before = watched.after;
}

std::vector<std::string> frame(const std::vector<Watched>& all, double seconds, size_t width, size_t max_peers) {
  std::vector<std::string> lines;
  for (const Watched& watched : all) {
    if (!lines.empty()) lines.emplace_back();
    if (watched.error) {
      lines.push_back(watched.name + ": " + watched.error->text());
      continue;
    }
    const auto own =
        render_top(watched.before, watched.after, seconds, static_cast<uint64_t>(std::time(nullptr)), width, max_peers);
    lines.insert(lines.end(), own.begin(), own.end());
  }
  return lines;
}

// A full screen, or lines after one another where there is none: piped, or a terminal that nobody knows.
class Screen {
 public:
  explicit Screen(bool wanted) {
    if (!wanted) return;
    screen_ = ::newterm(nullptr, stdout, stdin);
    if (screen_ == nullptr) return;
    ::cbreak();
    ::noecho();
    ::curs_set(0);
  }
  ~Screen() {
    if (screen_ == nullptr) return;
    ::endwin();
    ::delscreen(screen_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  size_t width() const { return screen_ == nullptr ? 80 : static_cast<size_t>(std::max(1, getmaxx(stdscr))); }
  size_t height() const { return screen_ == nullptr ? SIZE_MAX : static_cast<size_t>(std::max(1, getmaxy(stdscr))); }

  // False when nobody reads it any more.
  bool show(const std::vector<std::string>& lines) {
    if (screen_ == nullptr) {
      for (const std::string& line : lines) std::puts(line.c_str());
      std::puts("");
      return std::fflush(stdout) == 0;
    }
    ::erase();
    for (size_t i = 0; i < std::min(lines.size(), height()); ++i)
      (void)mvaddnstr(static_cast<int>(i), 0, lines[i].c_str(), static_cast<int>(lines[i].size()));
    ::refresh();
    return true;
  }

  // False when the user asked for the end.
  bool wait() {
    if (screen_ == nullptr) return ::usleep(kPauseMilliseconds * 1000) == 0;
    ::timeout(kPauseMilliseconds);
    const int key = ::getch();
    return key != 'q' && key != 'Q' && key != 27;
  }

 private:
  SCREEN* screen_ = nullptr;
};

volatile std::sig_atomic_t ended = 0;

struct Request {
  unsigned long frames = 0;  // 0: without end
  std::vector<Watched> all;
};

// Nothing: what is wrong was said.
std::optional<Request> parse_words(const std::vector<std::string>& words) {
  Request request;
  for (size_t i = 0; i < words.size(); ++i) {
    const bool counted = words[i] == "-n" && i + 1 < words.size();
    const auto number = counted ? device::parse_decimal(words[i + 1], 1'000'000).value_or(0) : 0;
    if (words[i].starts_with('-') && number == 0) {
      std::fprintf(stderr, "culvert top: '%s' is not understood\nUsage: culvert top [-n FRAMES] [IFNAME...]\n",
                   words[i].c_str());
      return std::nullopt;
    }
    if (number != 0)
      request.frames = number, ++i;
    else
      request.all.push_back({words[i], {}, {}, {}});
  }
  return request;
}

}  // namespace

int run_top(const std::vector<std::string>& words) {
  std::optional<Request> request = parse_words(words);
  if (!request) return kExitUsage;
  std::vector<Watched>& all = request->all;
  if (all.empty())
    for (const std::string& name : interfaces_with_sockets()) all.push_back({name, {}, {}, {}});
  for (Watched& watched : all) look(watched);
  const bool any = std::any_of(all.begin(), all.end(), [](const Watched& watched) { return !watched.error; });
  if (!any) {
    for (const Watched& watched : all) std::fprintf(stderr, "culvert top: %s\n", watched.error->text().c_str());
    if (all.empty()) std::fprintf(stderr, "culvert top: no interface runs here that you may look at\n");
    return kExitSetupFailed;
  }

  struct sigaction at_end {};
  at_end.sa_handler = [](int) { ended = 1; };
  for (const int signal : {SIGINT, SIGTERM}) ::sigaction(signal, &at_end, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  Screen screen(::isatty(STDIN_FILENO) != 0 && ::isatty(STDOUT_FILENO) != 0);
  auto looked = Clock::now();
  for (unsigned long shown = 0; request->frames == 0 || shown < request->frames; ++shown) {
    if (ended != 0 || !screen.wait() || ended != 0) break;
    for (Watched& watched : all) look(watched);
    const auto now = Clock::now();
    const double seconds = std::chrono::duration<double>(now - looked).count();
    looked = now;
    const size_t taken = 12 * all.size();
    const size_t max_peers =
        screen.height() == SIZE_MAX
            ? 20
            : std::max<size_t>(1, screen.height() / all.size() - std::min<size_t>(taken, screen.height() / all.size()));
    if (!screen.show(frame(all, seconds, screen.width(), max_peers))) break;
  }
  return kExitSuccess;
}

}  // namespace culvert::daemon
