#include "io/uring/ring.h"

#include <liburing.h>
#include <sys/uio.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <fstream>

namespace culvert::io {
namespace {

// Best first. A ring that has a single issuer starts disabled, and whoever enables it is the issuer.
constexpr unsigned kSetups[] = {
    IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL |
        IORING_SETUP_R_DISABLED,                          // Linux 6.1
    IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,  // Linux 5.19
    0,
};

class KernelRing final : public Ring {
 public:
  // Errors: an errno.
  int set_up() {
    int error = EINVAL;
    for (size_t i = 0; i < std::size(kSetups) && error == EINVAL; ++i) {
      error = -io_uring_queue_init(kEntries, &ring_, kSetups[i]);
      disabled_ = (kSetups[i] & IORING_SETUP_R_DISABLED) != 0;
    }
    open_ = error == 0;
    return error;
  }

  ~KernelRing() override {
    if (open_) io_uring_queue_exit(&ring_);
  }

  void run(Operation operation, int fd, std::span<mmsghdr> messages, std::span<int> results) override;

 private:
  void prepare(Operation operation, int fd, mmsghdr& message, unsigned index, bool last);
  size_t take_results(std::span<int> results);
  void withdraw();

  io_uring ring_{};
  bool open_ = false;
  bool disabled_ = false;
};

void KernelRing::run(Operation operation, int fd, std::span<mmsghdr> messages, std::span<int> results) {
  assert(messages.size() <= kEntries && results.size() >= messages.size());
  const auto count = static_cast<unsigned>(messages.size());
  if (disabled_) {
    // io_uring_enable_rings() is not to be had from Debian 12's liburing 2.3.
    disabled_ = io_uring_register(static_cast<unsigned>(ring_.ring_fd), IORING_REGISTER_ENABLE_RINGS, nullptr, 0) < 0;
  }
  for (unsigned i = 0; i < count; ++i) {
    prepare(operation, fd, messages[i], i, i + 1 == count);
    results[i] = -ECANCELED;
  }
  size_t done = 0;
  while (done < count) {
    const int submitted = io_uring_submit_and_wait(&ring_, static_cast<unsigned>(count - done));
    done += take_results(results);
    if (submitted < 0 && submitted != -EINTR) {
      const unsigned left = io_uring_sq_ready(&ring_);
      std::fill_n(results.begin() + (count - left), left, submitted);
      withdraw();
      done += left;
    }
  }
}

void KernelRing::prepare(Operation operation, int fd, mmsghdr& message, unsigned index, bool last) {
  io_uring_sqe* const entry = io_uring_get_sqe(&ring_);
  const msghdr& header = message.msg_hdr;
  // No position (-1): these are no files that have one.
  switch (operation) {
    case Operation::read:
      io_uring_prep_readv2(entry, fd, header.msg_iov, static_cast<unsigned>(header.msg_iovlen),
                           static_cast<uint64_t>(-1), RWF_NOWAIT);
      break;
    case Operation::write:
      io_uring_prep_writev2(entry, fd, header.msg_iov, static_cast<unsigned>(header.msg_iovlen),
                            static_cast<uint64_t>(-1), RWF_NOWAIT);
      break;
    case Operation::send:
      io_uring_prep_sendmsg(entry, fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
      break;
    case Operation::receive:
      io_uring_prep_recvmsg(entry, fd, &message.msg_hdr, MSG_DONTWAIT);
      break;
  }
  const bool linked = operation == Operation::write || operation == Operation::send;
  io_uring_sqe_set_flags(entry, linked && !last ? IOSQE_IO_LINK : 0);
  entry->user_data = index;
}

// Returns how many there were.
size_t KernelRing::take_results(std::span<int> results) {
  unsigned head = 0, count = 0;
  io_uring_cqe* completion = nullptr;
  io_uring_for_each_cqe(&ring_, head, completion) {
    results[completion->user_data] = completion->res;
    ++count;
  }
  io_uring_cq_advance(&ring_, count);
  return count;
}

// Takes back what the kernel has not taken: later its memory would be another's. The kernel looks at the tail in our
// system calls alone.
void KernelRing::withdraw() {
  io_uring_sq& queue = ring_.sq;
  queue.sqe_head = queue.sqe_tail = *queue.khead;
  *queue.ktail = *queue.khead;
}

// What io_uring_setup(2) does not tell.
std::string reason_of(int error) {
  if (error == ENOSYS) return "this kernel has none, or a seccomp filter hides it";
  if (error == ENOMEM) return "RLIMIT_MEMLOCK is too small";
  int disabled = 0;
  std::ifstream("/proc/sys/kernel/io_uring_disabled") >> disabled;
  return disabled != 0 ? "the sysctl kernel.io_uring_disabled is " + std::to_string(disabled)
                       : "a seccomp filter forbids it";
}

}  // namespace

Result<std::unique_ptr<Ring>> Ring::open() {
  auto ring = std::make_unique<KernelRing>();
  const int error = ring->set_up();
  if (error == ENOSYS || error == ENOMEM || error == EPERM || error == EACCES)
    return Error{error, "set up io_uring (" + reason_of(error) + ")"};
  if (error != 0) return Error{error, "set up io_uring"};
  return std::unique_ptr<Ring>(std::move(ring));
}

}  // namespace culvert::io
