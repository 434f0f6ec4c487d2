#include "tun/tun_steering.h"

#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <span>
#include <utility>

#include "io/bpf_object.h"
#include "tun/lane_layout.h"

namespace culvert::bpf {
std::span<const unsigned char> tun_steering();
}

namespace culvert::tun {

io::Result<TunSteering> load_tun_steering(const io::SteeringMap& table, const packet::FlowHashKey& key,
                                          uint32_t lanes) {
  io::Result<io::BpfObject> object = io::BpfObject::open("tun_steering", bpf::tun_steering());
  if (!object) return object.error();
  if (io::Status shared = object->share_map("steering_table", table.fd()); !shared) return shared.error();
  if (lanes != 0) {
    if (io::Status sized = object->size_map("lanes", lanes); !sized) return sized.error();
  } else {
    for (const char* const map : {"lanes", "flows"})
      if (io::Status shrunk = object->shrink_map(map); !shrunk) return shrunk.error();
  }
  const tun_settings settings{{key.words[0], key.words[1]}, lanes};
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&settings);
  if (io::Status set = object->set_constants({bytes, sizeof settings}); !set) return set.error();
  if (io::Status loaded = object->load(); !loaded) return loaded.error();
  io::Result<io::Fd> program = object->program("choose_queue");
  if (!program) return program.error();
  io::Result<io::Fd> map = object->map("lanes");
  if (!map) return map.error();
  return TunSteering{std::move(*program), std::move(*map)};
}

io::Status attach_tun_steering(int tun, const io::Fd& program) {
  int fd = program.get();
  if (::ioctl(tun, TUNSETSTEERINGEBPF, &fd) != 0) return io::Error{errno, "steer the queues of a TUN device"};
  return io::Success{};
}

}  // namespace culvert::tun
