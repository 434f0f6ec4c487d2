// What the protocol core calls a peer when it only has to carry it.
#pragma once

namespace culvert::protocol {

// The base of the caller's own object for each peer (the pipeline's is PeerPath). It holds nothing, and is never
// followed, copied or freed here; whoever made the objects turns a handle back into theirs in one place.
struct PeerTag {};

// Null means "no peer".
using PeerHandle = PeerTag*;

}  // namespace culvert::protocol
