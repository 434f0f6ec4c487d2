// Chooses the queue of each packet that the host sends through a TUN device: that of the worker whose slot its flow
// hashes to. The kernel's own choice follows the queue that the other direction was written to last, and so takes flows
// from worker to worker, which reorders them.
//
// A flow is what packet::flow_slot_hash (src/packet/flow_hash.h) says, but the transport header behind extension
// headers of IPv6 is found. So a tunnel in the tunnel (IP in IP, GRE) is one flow, and one worker's, although its inner
// flows may leave from several ports. All segments of a superpacket have its flow.
#pragma once

#include <cstdint>

#include "io/fd.h"
#include "io/result.h"
#include "io/steering_map.h"
#include "src/packet/flow_hash.h"

namespace culvert::tun {

struct TunSteering {
  io::Fd program;
  io::Fd lanes;  // of tun/lanes.h
};

// Loads the program: an answer is the number of the worker that `table` names, modulo the device's queues. With `lanes`
// worker i has the queues 2i and 2i + 1 instead, one for bulk and one for sparse flows; workers from number `lanes` on
// use the first one alone. Errors: EPERM without CAP_BPF, EOPNOTSUPP for a build without eBPF, those of bpf(2): EINVAL
// for lanes before Linux 5.5.
io::Result<TunSteering> load_tun_steering(const io::SteeringMap& table, const packet::FlowHashKey& key,
                                          uint32_t lanes = 0);

// Hands the program to the device of an attached descriptor (TUNSETSTEERINGEBPF, Linux 4.16) for as long as the device
// lives. Errors: those of ioctl(2).
io::Status attach_tun_steering(int tun, const io::Fd& program);

}  // namespace culvert::tun
