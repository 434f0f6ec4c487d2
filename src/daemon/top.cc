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
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>

#include "src/daemon/command_line.h"
#include "src/device/encoding.h"
#include "src/uapi/socket.h"

namespace culvert::daemon {
namespace {

constexpr int kPauseMilliseconds = 1000;
constexpr size_t kWorkersOnScreen = 8;
constexpr size_t kPeersPrinted = 20;  // where there is no screen to fill
constexpr size_t kPlainWidth = 80;

using PeerValues = std::unordered_map<std::string_view, double>;  // by public key

// Both looks at one interface.
class Between {
 public:
  Between(const MetricFamilies& before, const MetricFamilies& after, double seconds)
      : before_(before), after_(after), seconds_(std::max(seconds, 0.001)) {}

  // The sum of the samples whose label has this value; of all without a label.
  static double value(const MetricFamilies& families, std::string_view family, std::string_view label = "",
                      std::string_view wanted = "") {
    double sum = 0;
    for (const MetricSample& sample : families.of(family))
      if (label.empty() || sample.label(label) == wanted) sum += static_cast<double>(sample.value);
    return sum;
  }
  double now(std::string_view family, std::string_view label = "", std::string_view wanted = "") const {
    return value(after_, family, label, wanted);
  }
  double rate(std::string_view family, std::string_view label = "", std::string_view wanted = "") const {
    return std::max(0.0, (now(family, label, wanted) - value(before_, family, label, wanted)) / seconds_);
  }
  // Of every peer in one pass, as there may be ten thousand of them.
  PeerValues peer_rates(std::string_view family) const {
    PeerValues rates;
    for (const MetricSample& sample : after_.of(family))
      rates[sample.written("public_key")] = static_cast<double>(sample.value) / seconds_;
    for (const MetricSample& sample : before_.of(family))
      if (const auto found = rates.find(sample.written("public_key")); found != rates.end())
        found->second -= static_cast<double>(sample.value) / seconds_;
    return rates;
  }
  PeerValues peer_values(std::string_view family) const {
    PeerValues values;
    for (const MetricSample& sample : after_.of(family))
      values[sample.written("public_key")] = static_cast<double>(sample.value);
    return values;
  }
  const std::vector<MetricSample>& samples(std::string_view family) const { return after_.of(family); }
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
  lines.push_back(fmt::format("{}  {}  {} {}  {}  culvert {}", all.text("link_up", "device"),
                              all.now("link_up") != 0 ? "up" : "down", all.now("peers"),
                              all.now("peers") == 1 ? "peer" : "peers", all.text("engine", "name"),
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

void add_workers(const Between& all, size_t most, std::vector<std::string>& lines) {
  const std::vector<MetricSample>& samples = all.samples("wakeups_total");
  lines.push_back("");
  lines.push_back("WORKER   SEALED/s   OPENED/s  WAKEUPS/s  A WAKEUP");
  for (const MetricSample& sample : std::span(samples).first(std::min(most, samples.size()))) {
    const std::string worker = sample.label("worker");
    const double sealed = all.rate("messages_sealed_total", "worker", worker);
    const double opened = all.rate("messages_opened_total", "worker", worker);
    const double wakeups = all.rate("wakeups_total", "worker", worker);
    lines.push_back(fmt::format("{:>6} {:>10} {:>10} {:>10} {:>9.1f}", worker, short_number(sealed),
                                short_number(opened), short_number(wakeups), ratio(sealed + opened, wakeups)));
  }
  if (samples.size() > most) lines.push_back(fmt::format("and {} more", samples.size() - most));
}

void add_drops(const Between& all, size_t width, std::vector<std::string>& lines) {
  lines.push_back("");
  lines.push_back("drops:");
  const size_t first = lines.size();
  for (const MetricSample& sample : all.samples("drops_total")) {
    if (sample.value == 0) continue;
    const std::string reason = sample.label("reason");
    const std::string drop = fmt::format("  {} {} ({}/s)", reason, short_number(static_cast<double>(sample.value)),
                                         short_number(all.rate("drops_total", "reason", reason)));
    if (lines.back().size() + drop.size() > width) lines.emplace_back("      ");
    lines.back() += drop;
  }
  if (lines.size() == first && lines.back().ends_with(':')) lines.back() += "  none";
}

std::string ago(double timestamp, uint64_t now) {
  if (timestamp == 0) return "never";
  const auto seconds = static_cast<int64_t>(now) - static_cast<int64_t>(timestamp);
  if (seconds < 120) return fmt::format("{}s", std::max<int64_t>(0, seconds));
  return seconds < 7200 ? fmt::format("{}m", seconds / 60) : fmt::format("{}h", seconds / 3600);
}

void add_peers(const Between& all, uint64_t now, size_t max_peers, std::vector<std::string>& lines) {
  struct Row {
    const MetricSample* peer;
    std::string_view key;
    double received, sent;
  };
  const PeerValues received = all.peer_rates("peer_received_bytes_total"),
                   sent = all.peer_rates("peer_sent_bytes_total");
  const PeerValues expected = all.peer_rates("peer_expected_messages_total");
  const PeerValues arrived = all.peer_rates("peer_received_messages_total");
  const PeerValues handshakes = all.peer_values("peer_last_handshake_timestamp_seconds");
  const auto of = [](const PeerValues& values, std::string_view key) {
    const auto found = values.find(key);
    return found == values.end() ? 0.0 : std::max(0.0, found->second);
  };
  std::vector<Row> sorted;
  for (const MetricSample& sample : all.samples("peer_info")) {
    const std::string_view key = sample.written("public_key");
    sorted.push_back({&sample, key, of(received, key), of(sent, key)});
  }
  std::stable_sort(sorted.begin(), sorted.end(), [](const Row& one, const Row& other) {
    return one.received + one.sent > other.received + other.sent;
  });
  lines.push_back("");
  lines.push_back("PEER          RECEIVED       SENT   LOST  HANDSHAKE  ENDPOINT");
  for (const Row& row : std::span(sorted).first(std::min(max_peers, sorted.size()))) {
    const double wanted = of(expected, row.key);
    const double lost = wanted > 0 ? std::max(0.0, 1 - of(arrived, row.key) / wanted) : 0;
    const std::string endpoint = row.peer->label("endpoint");
    lines.push_back(fmt::format("{:<11} {:>10} {:>10} {:>5.1f}%  {:>9}  {}", std::string(row.key.substr(0, 8)) + "...",
                                bits(row.received), bits(row.sent), lost * 100, ago(of(handshakes, row.key), now),
                                endpoint.empty() ? "unknown" : endpoint));
  }
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
                                    uint64_t now, size_t width, size_t height) {
  const Between all(before, after, seconds);
  std::vector<std::string> lines;
  add_head(all, lines);
  add_workers(all, height == 0 ? SIZE_MAX : kWorkersOnScreen, lines);
  add_drops(all, width == 0 ? kPlainWidth : width, lines);
  const size_t taken = lines.size() + 3;  // with the heads of the peers and how many are left out
  add_peers(all, now, height == 0 ? kPeersPrinted : height > taken ? height - taken : 1, lines);
  if (width != 0)
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

void look(Watched& watched) {
  auto text = fetch_metrics(uapi::uapi_socket_file(watched.name));
  watched.error.reset();
  if (!text) {
    watched.error = text.error();
    watched.before = MetricFamilies();  // whoever comes back has other counters
    watched.after = MetricFamilies();
    return;
  }
  watched.before = std::move(watched.after);
  watched.after = MetricFamilies(std::move(*text));
}

std::vector<std::string> frame(const std::vector<Watched>& all, double seconds, size_t width, size_t height) {
  std::vector<std::string> lines;
  for (const Watched& watched : all) {
    if (!lines.empty()) lines.emplace_back();
    if (watched.error) {
      lines.push_back(watched.name + ": " + watched.error->text());
      continue;
    }
    const MetricFamilies& before = watched.before.empty() ? watched.after : watched.before;
    const size_t room = height == 0 ? 0 : std::max<size_t>(1, height / all.size());
    const auto own = render_top(before, watched.after, seconds, static_cast<uint64_t>(std::time(nullptr)), width, room);
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

  // 0: no limit.
  size_t width() const { return screen_ == nullptr ? 0 : static_cast<size_t>(std::max(1, getmaxx(stdscr))); }
  size_t height() const { return screen_ == nullptr ? 0 : static_cast<size_t>(std::max(1, getmaxy(stdscr))); }

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
    if (!screen.show(frame(all, seconds, screen.width(), screen.height()))) break;
  }
  return kExitSuccess;
}

}  // namespace culvert::daemon
