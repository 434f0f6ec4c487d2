// A program of somebody who has headers of the same names as culvert's.
#include <culvert/crypto/x25519.h>
#include <culvert/io/fd.h>
#include <culvert/pipeline/worker.h>
#include <culvert/protocol/messages.h>

#include <cstdio>

#include "io/fd.h"
#include "src/protocol/messages.h"

int main() {
  const auto ours = culvert::crypto::generate_x25519_private_key();
  const auto theirs = culvert::crypto::generate_x25519_private_key();
  std::array<uint8_t, culvert::crypto::kX25519Bytes> our_public{}, their_public{};
  culvert::crypto::x25519_public_key(our_public, ours);
  culvert::crypto::x25519_public_key(their_public, theirs);
  culvert::crypto::Secret<culvert::crypto::kX25519Bytes> here, there;
  const bool agreed =
      culvert::crypto::x25519(here, ours, their_public) && culvert::crypto::x25519(there, theirs, our_public);
  const culvert::io::Fd none;
  if (!agreed || !(here == there) || none || consumer::kOwnFd != 1 || consumer::kOwnMessages != 2) return 1;
  std::puts("agreed");
  return 0;
}
