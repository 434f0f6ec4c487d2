// Made by noise_vectors.py: a separate implementation of the handshake after the WireGuard paper.
#pragma once

#include <cstdint>
#include <string_view>

namespace culvert::protocol::vectors {

inline constexpr std::string_view kInitiatorPrivate =
    "681383b9a68c3e22704eb76f1bbd6102d9983dea42c2d60fd460f63ae129bb51";
inline constexpr std::string_view kInitiatorPublic = "ace05815857b7206e5d7beb44c88b641caaa74bfbb0c03e457829a2217e4ae2c";
inline constexpr std::string_view kResponderPrivate =
    "f8d79f5bec5dc175f82c15b4b72060a8ab8698934a4cd795fa7ebaf4e39c1e77";
inline constexpr std::string_view kResponderPublic = "06f6c9dfe9db0ae09b9a405289191a48b6eb23419de401cda9800b4c49930071";
inline constexpr std::string_view kInitiatorEphemeral =
    "e8393b192fc90f9ca781853bb517e6ecdb4765ea1d2c9f869c9a8a5dc1c5dd65";
inline constexpr std::string_view kResponderEphemeral =
    "78f4d70e01a0611e5c828fa291d7f152376bface59f12375ac133417562a4e67";
inline constexpr std::string_view kTimestamp = "400000006553f10a07000000";
inline constexpr std::string_view kCookie = "7da550375c51a41eeb21d62654891ceb";
inline constexpr uint32_t kInitiatorIndex = 0x01020304;
inline constexpr uint32_t kResponderIndex = 0xf1f2f3f4;
inline constexpr std::string_view kPresharedKey = "c8f947eb9ff3173c24826a65ded82d3dfc2feacd6b0fa346596c36b63311e988";

// Its mac2 is made with kCookie; the mac2 of the responses is zero.
inline constexpr std::string_view kInitiation =
    "01000000040302011fb22d22843e83c5616c4e80caa091331a66ff0e74573e68e084dd145172a45c551c56b89d9cf646"
    "bb45245bde6faebdac8dc06ba81715a67887c2bcbdf2e2d6170541cdabd9339061ee5dd18b3345fabcc59ab2a4acd795"
    "9294d04cbf45fcfe01f6a52f4c06ede0344ddb213f43fdf3ec4526e7b37ddf6daaea517fb8c47a1d119e6beffa860b18"
    "8f7c743f";

inline constexpr std::string_view kResponseWithoutPsk =
    "02000000f4f3f2f104030201cfb82a4c40ec91c20e0c4c131a3bdb7933b30187945a5205f25d5faa6eb68e677326b5a6"
    "3e9b0303269b292bdcfa99368ed07947d9622a56a277230d4c60534600000000000000000000000000000000";
inline constexpr std::string_view kFromInitiatorWithoutPsk =
    "99479933b7dd1e81436838e844edb6cea3ae99edf616c4ee512df998f6adff9d";
inline constexpr std::string_view kFromResponderWithoutPsk =
    "2e22f51d146c4c9ee688bc9be5e2dadf2f131bd30cd4e09a93d1353124e06487";

inline constexpr std::string_view kResponseWithPsk =
    "02000000f4f3f2f104030201cfb82a4c40ec91c20e0c4c131a3bdb7933b30187945a5205f25d5faa6eb68e671b4f3e43"
    "9e345c97938bd7a0de0239e68388e951c97b3a43b9388ded509615ad00000000000000000000000000000000";
inline constexpr std::string_view kFromInitiatorWithPsk =
    "1d6ad4fc7be40e0ff9db9524cc53a85bae092309aaa53d3aea35a87009b442a7";
inline constexpr std::string_view kFromResponderWithPsk =
    "c76482a2433224b0a3686a9f1b28deec15052bfd8ed7bd97d8241ec963fcb593";

}  // namespace culvert::protocol::vectors
