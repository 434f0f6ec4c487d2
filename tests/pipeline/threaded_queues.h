// The fake sides of tests/pipeline/ends.h for a worker's thread, with descriptors to wait for.
#pragma once

#include <sched.h>

#include <chrono>
#include <mutex>
#include <optional>

#include "io/wakeup.h"
#include "tests/pipeline/ends.h"

namespace culvert::pipeline::test {

// Until `condition` holds; false when it does not within a time in which any machine gets there.
template <typename Condition>
[[nodiscard]] bool eventually(Condition&& condition) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    sched_yield();
  }
  return true;
}

// Thread safety: the worker calls the InnerSide's methods, the test its own.
class ThreadedInner final : public io::InnerSide {
 public:
  // Without descriptors the worker has to poll.
  explicit ThreadedInner(bool has_descriptor = true) : fd_count_(has_descriptor ? 1 : 0) {}

  std::span<const int> poll_fds() const override { return {&fd_, fd_count_}; }

  io::ReadOutcome read(io::PlainBatch& batch) override {
    const std::lock_guard lock(mutex_);
    const io::ReadOutcome outcome = fake_.read(batch);
    if (endless_ && fake_.to_read.empty()) fake_.to_read.assign(16, *endless_);
    if (fake_.to_read.empty() && outcome == io::ReadOutcome::ok) wakeup_->drain();
    return outcome;
  }
  void release(io::PlainBatch& batch) override {
    const std::lock_guard lock(mutex_);
    fake_.release(batch);
  }
  size_t write(std::span<const io::GatheredPacket> packets) override {
    const std::lock_guard lock(mutex_);
    const size_t taken = fake_.write(packets);
    written_ += taken;
    if (endless_) fake_.written.clear();
    return taken;
  }
  io::InnerOffloads offloads() const override { return {true, true, true, true, true}; }
  const io::InnerCounters& counters() const override { return fake_.counters(); }

  void push(InnerPacket packet) {
    const std::lock_guard lock(mutex_);
    fake_.to_read.push_back(std::move(packet));
    wakeup_->notify();
  }
  // From now on there is always this one to read, and what is written is only counted; nothing stops it.
  void read_endlessly(std::optional<InnerPacket> packet) {
    const std::lock_guard lock(mutex_);
    endless_ = std::move(packet);
    fake_.to_read.clear();
    if (endless_) fake_.to_read.push_back(*endless_);
    wakeup_->notify();
  }
  void remove_device() {
    const std::lock_guard lock(mutex_);
    fake_.outcome = io::ReadOutcome::gone;
    wakeup_->notify();
  }
  size_t written() const {
    const std::lock_guard lock(mutex_);
    return written_;
  }
  bool all_read() const {
    const std::lock_guard lock(mutex_);
    return fake_.to_read.empty();
  }
  std::vector<Bytes> take_packets() {
    const std::lock_guard lock(mutex_);
    return fake_.take_packets();
  }

 private:
  io::Result<io::Wakeup> wakeup_ = io::Wakeup::open();
  const int fd_ = wakeup_->fd();
  const size_t fd_count_;
  mutable std::mutex mutex_;
  FakeInner fake_;
  std::optional<InnerPacket> endless_;
  size_t written_ = 0;
};

// What two outer queues are plugged into: what one side sends, the other receives. Any thread.
class Cable {
 public:
  static constexpr size_t kMaxTrains = 64;  // more are lost on the way

  void push(int side, Train train) {
    const std::lock_guard lock(mutex_);
    if (trains_[side].size() < kMaxTrains) trains_[side].push_back(std::move(train));
    ++pushed_[side];
    wakeups_[side]->notify();
  }
  void pull(int side, std::deque<Train>& trains) {
    const std::lock_guard lock(mutex_);
    wakeups_[side]->drain();
    for (Train& train : trains_[side]) trains.push_back(std::move(train));
    trains_[side].clear();
  }
  size_t pushed(int side) const {
    const std::lock_guard lock(mutex_);
    return pushed_[side];
  }
  int fd(int side) const { return wakeups_[side]->fd(); }

 private:
  mutable std::mutex mutex_;
  std::deque<Train> trains_[2];  // on their way to side 0 and 1
  size_t pushed_[2] = {0, 0};
  io::Result<io::Wakeup> wakeups_[2] = {io::Wakeup::open(), io::Wakeup::open()};
};

// One side's end of a cable.
class CableOuter final : public io::OuterSide {
 public:
  CableOuter(Cable& cable, int side, const io::Endpoint& at, bool* destroyed = nullptr, bool has_descriptor = true)
      : cable_(cable),
        side_(side),
        at_(at),
        destroyed_(destroyed),
        fd_(cable.fd(side)),
        fd_count_(has_descriptor ? 1 : 0) {
    counters_.trains_sent.add(7);
  }
  ~CableOuter() override {
    if (destroyed_ != nullptr) *destroyed_ = true;
  }

  void receive(io::Received& batch) override {
    cable_.pull(side_, fake_.to_receive);
    if (fake_.to_receive.size() > 8) cable_.push(side_, Train{{5}, 1, at_, 0});  // come back
    fake_.receive(batch);
  }
  void release(io::Received& batch) override { fake_.release(batch); }
  void lend(io::Sending& batch) override { fake_.lend(batch); }
  void send(io::Sending& batch) override {
    fake_.send(batch);
    for (Train& train : fake_.sent) {
      train.peer = at_;
      cable_.push(1 - side_, std::move(train));
    }
    fake_.sent.clear();
    fake_.gso_allowed.clear();
  }
  const io::OuterCounters& counters() const override { return counters_; }
  std::span<const int> poll_fds() const override { return {&fd_, fd_count_}; }

 private:
  Cable& cable_;
  const int side_;
  const io::Endpoint at_;
  bool* const destroyed_;
  const int fd_;
  const size_t fd_count_;
  FakeOuter fake_;
  io::OuterCounters counters_;
};

}  // namespace culvert::pipeline::test
