#include "src/daemon/control_loop.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "src/daemon/metrics.h"
#include "src/daemon/process.h"
#include "src/log.h"
#include "src/pipeline/clock.h"

namespace culvert::daemon {
namespace {

enum Tag : uint64_t { kTagWorkers, kTagTimer, kTagSignals, kTagLink, kTagRoutes, kTagUapi, kTagMetrics, kTagWatched };

io::Result<io::Fd> open_signals() {
  const sigset_t set = end_signals();
  io::Fd fd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (fd.get() < 0) return io::Error{errno, "open a signalfd"};
  return fd;
}

}  // namespace

io::Result<std::unique_ptr<ControlLoop>> ControlLoop::open(device::Device& device, const io::Wakeup& wakeup, int tun_fd,
                                                           io::Fd uapi_listener, const std::string& uapi_path,
                                                           Signals wanted) {
  auto poller = io::Poller::open();
  if (!poller) return poller.error();
  auto timer = io::TimerFd::open();
  if (!timer) return timer.error();
  auto signals = wanted == Signals::end ? open_signals() : io::Result<io::Fd>(io::Fd());
  if (!signals) return signals.error();
  std::unique_ptr<host::LinkMonitor> link;
  if (tun_fd >= 0) {
    auto opened = host::LinkMonitor::open(tun_fd);
    if (!opened) return opened.error();
    link = std::move(*opened);
  }
  auto routes = host::RouteMonitor::open();
  if (!routes) return routes.error();
  std::unique_ptr<ControlLoop> loop(new ControlLoop(device, wakeup, std::move(*poller), std::move(*timer),
                                                    std::move(*signals), std::move(link), std::move(*routes)));
  auto uapi = uapi::Server::open(std::move(uapi_listener), *loop, uapi_path);
  if (!uapi) return uapi.error();
  loop->uapi_ = std::move(*uapi);
  if (const io::Status watched = loop->watch_all(); !watched) return watched.error();
  return loop;
}

ControlLoop::~ControlLoop() = default;

io::Status ControlLoop::watch_all() {
  const std::array<std::pair<int, Tag>, 4> sources = {
      {{wakeup_.fd(), kTagWorkers}, {timer_.fd(), kTagTimer}, {routes_.fd(), kTagRoutes}, {uapi_->fd(), kTagUapi}}};
  for (const auto& [fd, tag] : sources)
    if (io::Status added = poller_.add(fd, tag); !added) return added;
  if (link_ != nullptr)
    if (io::Status added = poller_.add(link_->fd(), kTagLink); !added) return added;
  if (signals_) return poller_.add(signals_.get(), kTagSignals);
  return io::Success{};
}

void ControlLoop::run() {
  (void)follow_link();
  std::array<io::PollEvent, 8> events;
  while (!stop_) run_turn(poller_.wait(events));
}

void ControlLoop::run_once() {
  std::array<io::PollEvent, 8> events;
  run_turn(poller_.wait(events, std::chrono::nanoseconds(0)));
}

void ControlLoop::run_turn(std::span<const io::PollEvent> ready) {
  begin_turn();
  for (const io::PollEvent& event : ready) handle(event);
  end_turn();
}

void ControlLoop::handle(const io::PollEvent& event) {
  switch (event.tag) {
    case kTagWorkers:
      wakeup_.drain();
      if (device_.attend()) wakeup_.notify();
      if (device_.inner_gone()) {
        log_verbose("The inner side is gone");
        stop_ = true;
      }
      break;
    case kTagTimer:
      timer_.drain();
      armed_.reset();
      break;
    case kTagSignals: {
      signalfd_siginfo signal{};
      while (read(signals_.get(), &signal, sizeof signal) == sizeof signal) stop_ = true;
      break;
    }
    case kTagLink:
      (void)read_link_events();
      break;
    case kTagRoutes:
      if (routes_.read_changes()) device_.recheck_sources();
      break;
    case kTagUapi:
      uapi_->handle_events(now_.time_since_epoch());
      if (uapi_->socket_deleted()) {
        log_verbose("The UAPI socket was deleted");
        stop_ = true;
      }
      break;
    case kTagMetrics:
      metrics_->handle_events(now_);
      break;
    case kTagWatched:
      attend_();
      break;
    default:
      break;
  }
}

io::Status ControlLoop::follow_link() {
  return turn([this](device::Device&) { return read_link_events(); });
}

// Brings the device to the state that the link has. What is refused is in the log, and tried again by the device.
io::Status ControlLoop::read_link_events() {
  if (link_ == nullptr) return device_.set_link_up(true);
  for (const host::LinkEvent event : link_->read_events())
    if (event == host::LinkEvent::gone) stop_ = true;
  if (stop_) return io::Success{};
  if (link_->state().mtu_bytes != 0) device_.set_mtu(link_->state().mtu_bytes);  // 0: not known from here
  return device_.set_link_up(link_->state().up);
}

void ControlLoop::begin_turn() {
  now_ = pipeline::read_boot_clock();
  device_.begin_turn(now_, pipeline::read_wall_clock());
}

void ControlLoop::end_turn() {
  auto stall = std::chrono::nanoseconds::max();
  if (uapi_ != nullptr) stall = uapi_->close_stalled(now_.time_since_epoch()).value_or(stall);
  device_.advance_timers();
  device_.reclaim();
  std::optional<protocol::Instant> deadline = device_.next_deadline();
  if (protocol::Instant(stall) < deadline.value_or(protocol::Instant::max())) deadline.emplace(stall);
  if (deadline == armed_) return;
  armed_ = deadline;
  if (deadline)
    timer_.arm(deadline->time_since_epoch());
  else
    timer_.disarm();
}

io::Status ControlLoop::serve_metrics(const MetricsAddress& at) {
  auto server = MetricsServer::open(at, {.metrics = [this, each = at.each_peer] { return page(each); },
                                         .health = [this] { return health_text(device_.metrics()); }});
  if (!server) return server.error();
  metrics_ = std::move(*server);
  return poller_.add(metrics_->fd(), kTagMetrics);
}

io::Status ControlLoop::watch(int fd, std::function<void()> attend) {
  attend_ = std::move(attend);
  return poller_.add(fd, kTagWatched);
}

crypto::SecretString ControlLoop::get() {
  return uapi::print_get(device_.state());
}

// For those who may open the UAPI socket, which tells them more.
std::function<std::string()> ControlLoop::metrics() {
  return page(true);
}

Pieces ControlLoop::page(bool each_peer) const {
  return pieces_of(MetricsPage([this] { return std::vector<const device::Measured*>{&device_}; }, each_peer));
}

void ControlLoop::on_error(const std::string& text) {
  log_error("{}", text);
}

}  // namespace culvert::daemon
