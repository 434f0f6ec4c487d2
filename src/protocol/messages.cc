#include "src/protocol/messages.h"

namespace culvert::protocol {

MessageKind classify(std::span<const uint8_t> datagram) {
  if (datagram.size() < sizeof(Le32)) return MessageKind::unknown_type;
  const auto expect = [](bool honest, MessageKind kind) { return honest ? kind : MessageKind::dishonest_length; };
  const size_t length = datagram.size();
  switch (static_cast<MessageType>(static_cast<uint32_t>(read_message<Le32>(datagram)))) {
    case MessageType::transport_data:
      return expect(length >= kTransportOverhead, MessageKind::transport_data);
    case MessageType::handshake_initiation:
      return expect(length == sizeof(HandshakeInitiation), MessageKind::handshake_initiation);
    case MessageType::handshake_response:
      return expect(length == sizeof(HandshakeResponse), MessageKind::handshake_response);
    case MessageType::cookie_reply:
      return expect(length == sizeof(CookieReply), MessageKind::cookie_reply);
  }
  return MessageKind::unknown_type;
}

}  // namespace culvert::protocol
