#include "bench/aead_contender.h"
#include "crypto/aead_engine.h"

namespace culvert::bench {
namespace {

class Culvert final : public Contender {
 public:
  explicit Culvert(const crypto::Engine& engine) : Contender(std::string("culvert-") + engine.name), engine_(engine) {}

  void seal(std::span<const crypto::SealMessage> batch) override { engine_.seal(batch.data(), batch.size()); }
  size_t open(std::span<crypto::OpenMessage> batch) override { return engine_.open(batch.data(), batch.size()); }

 private:
  const crypto::Engine& engine_;
};

}  // namespace

void add_culvert(Contenders& contenders) {
  for (const crypto::Engine* engine : crypto::engines()) contenders.push_back(std::make_unique<Culvert>(*engine));
}

}  // namespace culvert::bench
