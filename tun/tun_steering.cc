#include "tun/tun_steering.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <span>

#include "io/bpf_object.h"

namespace culvert::bpf {
std::span<const unsigned char> tun_steering();
}

namespace culvert::tun {

io::Result<io::Fd> load_tun_steering(const io::SteeringMap& table, const packet::FlowHashKey& key) {
  io::Result<io::BpfObject> object = io::BpfObject::open("tun_steering", bpf::tun_steering());
  if (!object) return object.error();
  if (io::Status shared = object->share_map("steering_table", table.fd()); !shared) return shared.error();
  const std::span words(key.words);
  const auto* const bytes = reinterpret_cast<const unsigned char*>(words.data());
  if (io::Status set = object->set_constants({bytes, words.size_bytes()}); !set) return set.error();
  if (io::Status loaded = object->load(); !loaded) return loaded.error();
  return object->program("choose_queue");
}

io::Status attach_tun_steering(int tun, const io::Fd& program) {
  int fd = program.get();
  if (::ioctl(tun, TUNSETSTEERINGEBPF, &fd) != 0) return io::Error{errno, "steer the queues of a TUN device"};
  return io::Success{};
}

}  // namespace culvert::tun
