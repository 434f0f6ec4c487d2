#include "bench/aead_agreement.h"

#include <algorithm>
#include <optional>
#include <random>

namespace culvert::bench {
namespace {

using Bytes = std::vector<uint8_t>;

// One batch with room for what each direction writes.
struct Batch {
  std::vector<Bytes> plain;
  std::vector<uint64_t> counters;
  std::vector<size_t> key_indices;

  Batch(std::mt19937& random, size_t count) {
    constexpr uint32_t kLengths[] = {0, 1, 15, 16, 17, 63, 64, 65, 128, 256, 576, 1420, 1421, 8900};
    for (size_t i = 0; i < count; ++i) {
      const uint32_t length = i % 2 == 0 ? kLengths[random() % std::size(kLengths)] : random() % 2000;
      plain.emplace_back(length);
      for (uint8_t& byte : plain.back()) byte = static_cast<uint8_t>(random());
      counters.push_back(static_cast<uint64_t>(random()) << 32 | random());
      key_indices.push_back(random() % kKeyCount);
    }
  }

  [[nodiscard]] std::vector<Bytes> seal_by(Contender& contender) const {
    std::vector<Bytes> sealed;
    std::vector<crypto::SealMessage> messages;
    for (const Bytes& p : plain) sealed.emplace_back(p.size() + crypto::kAeadTagBytes);
    for (size_t i = 0; i < plain.size(); ++i)
      messages.push_back({keys()[key_indices[i]].data(), counters[i], plain[i].data(), sealed[i].data(),
                          static_cast<uint32_t>(plain[i].size())});
    contender.seal(messages);
    return sealed;
  }

  // What each message opens to; nothing where the verdict is that it is not authentic.
  [[nodiscard]] std::vector<std::optional<Bytes>> open_by(Contender& contender,
                                                          const std::vector<Bytes>& sealed) const {
    std::vector<std::optional<Bytes>> opened(plain.begin(), plain.end());
    std::vector<crypto::OpenMessage> messages;
    for (size_t i = 0; i < plain.size(); ++i) {
      std::fill(opened[i]->begin(), opened[i]->end(), uint8_t{0xee});
      messages.push_back({keys()[key_indices[i]].data(), counters[i], sealed[i].data(), opened[i]->data(),
                          static_cast<uint32_t>(plain[i].size()), false});
    }
    contender.open(messages);
    for (size_t i = 0; i < plain.size(); ++i)
      if (!messages[i].authentic) opened[i].reset();
    return opened;
  }
};

std::string compare(Contender& contender, const Batch& batch, std::vector<Bytes> sealed, size_t broken) {
  const std::string batch_text = " in a batch of " + std::to_string(batch.plain.size());
  if (batch.seal_by(contender) != sealed) return contender.name() + " seals other bytes" + batch_text;

  Bytes& victim = sealed[broken];
  victim[victim.size() / 2] ^= 0x10;
  const std::vector<std::optional<Bytes>> opened = batch.open_by(contender, sealed);
  for (size_t i = 0; i < opened.size(); ++i) {
    if (i == broken) {
      if (opened[i]) return contender.name() + " opens a forgery" + batch_text;
    } else if (opened[i] != batch.plain[i]) {
      return contender.name() + " does not open what was sealed" + batch_text;
    }
  }
  return {};
}

}  // namespace

std::string find_disagreement(const Contenders& contenders) {
  std::mt19937 random(2);
  for (size_t count = 1; count <= kMaxBatch; count = count < 8 ? count + 1 : count * 2) {
    const Batch batch(random, count);
    const std::vector<Bytes> sealed = batch.seal_by(*contenders.front());
    for (const auto& contender : contenders) {
      std::string disagreement = compare(*contender, batch, sealed, random() % count);
      if (!disagreement.empty()) return disagreement;
    }
  }
  return {};
}

}  // namespace culvert::bench
