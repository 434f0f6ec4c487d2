#include "bench/data_path_ends.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "src/protocol/messages.h"

namespace culvert::bench {
namespace {

constexpr uint32_t kIndex = 0x01020304;

}  // namespace

io::ReadOutcome PreparedInner::read_batch(std::span<io::Superpacket> packets, size_t& count) {
  for (count = 0; count < std::min(batch_, packets.size()); ++count) {
    packets[count] = superpackets_[at_];
    at_ = at_ + 1 == superpackets_.size() ? 0 : at_ + 1;
  }
  return io::ReadOutcome::ok;
}

size_t PreparedInner::write_batch(std::span<const io::GatheredPacket> packets) {
  written_ += packets.size();
  for (const io::GatheredPacket& packet : packets) packets_written_ += packet.packets;
  return packets.size();
}

size_t PreparedOuter::receive_batch(std::span<io::IncomingTrain> trains) {
  const size_t count = std::min({batch_, trains.size(), trains_.size() - at_});
  std::copy_n(trains_.begin() + static_cast<std::ptrdiff_t>(at_), count, trains.begin());
  at_ += count;
  return count;
}

void PreparedOuter::send_batch(std::span<io::OutgoingTrain> trains) {
  for (io::OutgoingTrain& train : trains) {
    train.datagrams_sent = train.datagrams;
    datagrams_sent_ += train.datagrams;
    if (!remembers_) continue;
    for (uint32_t at = 0; at < train.length; at += train.segment_size)
      lengths_.push_back(std::min<uint32_t>(train.segment_size, train.length - at) -
                         static_cast<uint32_t>(protocol::kTransportOverhead));
  }
}

DataPathEnd::DataPathEnd() {
  if (!wakeup_ || !io::parse_endpoint("192.0.2.2:51820", endpoint_)) {
    std::perror("cannot make the end of a data path");
    std::abort();
  }
  (void)timers_.start();
  path_.endpoint.store(endpoint_);
  allowed_ips_.insert({{}, protocol::IpVersion::v4, 0}, &path_);
  allowed_ips_.insert({{}, protocol::IpVersion::v6, 0}, &path_);

  constexpr std::array<uint8_t, 32> kKey{1, 2, 3};
  protocol::KeypairParameters parameters{.sending_key = crypto::Secret<32>(kKey),
                                         .receiving_key = crypto::Secret<32>(kKey),
                                         .created = kNow,
                                         .local_index = kIndex,
                                         .remote_index = kIndex,
                                         .i_am_initiator = true,
                                         .owner = &path_};
  (void)index_table_.insert_handshake(&path_, [] { return kIndex; });
  auto keypair = std::make_unique<protocol::Keypair>(std::move(parameters));
  keypair_ = keypair.get();
  index_table_.insert_keypair(keypair.get());
  (void)keypairs_.add(std::move(keypair));

  published_.allowed_ips.store(&allowed_ips_);
  published_.index_table.store(&index_table_);
  published_.mtu.store(1420);
  published_.listen_port.store(51820);
}

}  // namespace culvert::bench
