#include "io/steering_map.h"

#include <cerrno>
#include <cstdint>
#include <string>

#include "io/bpf_object.h"

#ifdef CULVERT_HAS_BPF
#include <bpf/bpf.h>
#endif

namespace culvert::io {

#ifdef CULVERT_HAS_BPF

Result<std::unique_ptr<SteeringMap>> SteeringMap::create(const SteeringTable& table) {
  Fd fd(::bpf_map_create(BPF_MAP_TYPE_ARRAY, "steering_table", sizeof(uint32_t), kSlots, 1, nullptr));
  if (!fd) return Error{errno, "make the steering table (eBPF; needs CAP_BPF, and a sandbox that allows bpf(2))"};
  std::unique_ptr<SteeringMap> map(new SteeringMap(std::move(fd), table));
  if (Status set = map->set(table); !set) return set.error();
  return map;
}

Status SteeringMap::set(const SteeringTable& table) {
  const uint32_t only = 0;
  if (::bpf_map_update_elem(fd_.get(), &only, table.entries().data(), BPF_ANY) != 0)
    return Error{errno, "change the steering table"};
  table_ = table;
  return Success{};
}

#else

Result<std::unique_ptr<SteeringMap>> SteeringMap::create(const SteeringTable&) {
  return BpfObject::open("steering_table", {}).error();
}
Status SteeringMap::set(const SteeringTable&) {
  return Error{EOPNOTSUPP, "change the steering table"};
}

#endif

}  // namespace culvert::io
