#include "src/device/worker_balance.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace culvert::device {
namespace {

constexpr double kCarries = 0.9;       // of a processor: what one worker can be asked to run
constexpr double kCrowded = 2.0 / 3;   // waiting for processors, of what workers run
constexpr double kRestless = 0.05;     // of the time: who rests less has more to do than it can
constexpr double kNoticed = 0.1;       // of the rate: a trial's gain or loss
constexpr double kNewestWeight = 0.5;  // in the recent rate

double seconds(protocol::Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

double rate_of(const WorkerLoad& load) {
  return static_cast<double>(load.messages) / seconds(load.elapsed);
}

bool is_restless(const WorkerLoad& load) {
  return seconds(load.least_at_rest) < kRestless * seconds(load.elapsed);
}

}  // namespace

size_t WorkerBalance::advise(size_t serving, size_t all, const WorkerLoad& load) {
  // Nobody had traffic for a part of the time: it is another load now. Of a trial that did not end the fewer are kept.
  if (load.elapsed <= protocol::Duration::zero() || load.elapsed > 2 * kPeriod) {
    const size_t kept = trial_ ? std::min(trial_->before, serving) : serving;
    forget_load();
    return kept;
  }
  if (++looks_ >= kMemory && changes_ > 0) {
    --changes_;
    looks_ = 0;
  }
  if (trial_) return judge(serving, load);
  rate_ = rate_ == 0 ? rate_of(load) : std::lerp(rate_, rate_of(load), kNewestWeight);
  const Wish wish = wish_for(serving, all, load);
  const size_t wanted = wish.workers;
  if (wanted == serving)
    agreed_ = 0;
  else if (const int step = wanted > serving ? 1 : -1; agreed_ * step < 0)
    agreed_ = step;
  else
    agreed_ += step;
  if (static_cast<size_t>(std::abs(agreed_)) < patience() * (wish.doubtful ? kDoubt : 1)) return serving;
  trial_ = Trial{.before = serving, .rate = rate_};
  count_change();
  return wanted;
}

WorkerBalance::Wish WorkerBalance::wish_for(size_t serving, size_t all, const WorkerLoad& load) {
  const double elapsed = seconds(load.elapsed), ran = seconds(load.ran);
  if (serving < all && seconds(load.most_ran) > kCarries * elapsed) return {all};
  const auto needed = static_cast<size_t>(std::max(1.0, std::ceil(ran / (kCarries * elapsed))));
  if (needed < serving && seconds(load.waited) > kCrowded * ran) return {needed};
  if (serving < all && is_restless(load)) return {std::min(all, 2 * serving), true};
  return {serving};
}

// What the trial has come to: `serving`, or what was before.
size_t WorkerBalance::judge(size_t serving, const WorkerLoad& load) {
  Trial& trial = *trial_;
  if (trial.looks++ == 0) return serving;  // queues and windows settle
  trial.sum += rate_of(load);
  trial.rested |= !is_restless(load);
  if (trial.looks <= kTrialLooks) return serving;
  const Trial ended = *std::exchange(trial_, std::nullopt);
  const double gain = ended.sum / kTrialLooks / ended.rate;
  // Fewer that had time to rest carried all there was.
  const bool worse = serving < ended.before ? !ended.rested && gain < 1 - kNoticed : gain < 1 + kNoticed;
  forget_load();
  if (!worse) return serving;
  count_change();
  return ended.before;
}

// The looks in a row that have to agree.
size_t WorkerBalance::patience() const {
  return std::min(kMostPatience, kLeastPatience << std::min<size_t>(changes_, 16));
}

void WorkerBalance::count_change() {
  ++changes_;
  looks_ = 0;
  agreed_ = 0;
}

void WorkerBalance::forget_load() {
  trial_.reset();
  agreed_ = 0;
  rate_ = 0;
}

}  // namespace culvert::device
