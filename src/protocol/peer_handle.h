// What the protocol core calls a peer when it only has to carry it: an address that the caller chose (the
// pipeline uses its own per-peer object) and that is never followed here. Null means "no peer".
#pragma once

namespace culvert::protocol {

using PeerHandle = void*;

}  // namespace culvert::protocol
