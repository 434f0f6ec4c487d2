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

io::ReadOutcome PreparedInner::read(io::PlainBatch& batch) {
  for (batch.count = 0; batch.count < std::min(batch_, batch.packets.size()); ++batch.count) {
    batch.packets[batch.count] = superpackets_[at_];
    at_ = at_ + 1 == superpackets_.size() ? 0 : at_ + 1;
  }
  return io::ReadOutcome::ok;
}

size_t PreparedInner::write(std::span<const io::GatheredPacket> packets) {
  written_ += packets.size();
  for (const io::GatheredPacket& packet : packets) packets_written_ += packet.packets;
  return packets.size();
}

void PreparedOuter::receive(io::Received& batch) {
  batch.count = batch.envelope_count = 0;
  batch.more = false;
  if (in_batch_ == batch_) in_batch_ = 0;
  for (; in_batch_ < batch_ && at_ < trains_.size(); ++in_batch_, ++at_, offset_ = 0) {
    const IncomingTrain& train = trains_[at_];
    if (batch.envelope_count == 0 || batch.envelopes[batch.envelope_count - 1] != train.envelope)
      batch.envelopes[batch.envelope_count++] = train.envelope;
    while (offset_ < train.length) {
      if (batch.count == batch.datagrams.size()) {
        batch.more = true;
        return;
      }
      io::Datagram& datagram = batch.datagrams[batch.count++];
      datagram.lease = {};
      datagram.bytes = train.bytes + offset_;
      datagram.length = std::min(train.segment_size, train.length - offset_);
      datagram.envelope = static_cast<uint16_t>(batch.envelope_count - 1);
      offset_ += datagram.length;
    }
  }
}

void PreparedOuter::send(io::Sending& batch) {
  batch.lost = 0;
  datagrams_sent_ += batch.count;
  for (io::Destination& to : std::span(batch.destinations).first(batch.destination_count))
    to.segmentation_refused = to.source_refused = false;
  if (!remembers_) return;
  for (const io::Outgoing& out : std::span(batch.datagrams).first(batch.count))
    lengths_.push_back(out.length - static_cast<uint32_t>(protocol::kTransportOverhead));
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
  (void)index_table_.insert_handshake(&path_, protocol::top_byte_of(kIndex), [] { return kIndex; });
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
