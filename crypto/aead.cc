// Which engine runs: chosen once, kept in one pointer.
#include "crypto/aead.h"

#include <sodium.h>

#include <array>
#include <atomic>
#include <cstdlib>

#include "crypto/aead_engine.h"

namespace culvert::crypto {
namespace {

// Every engine of this build, best first.
constexpr std::array kBuilt {
#if CULVERT_AEAD_AVX512
  &kAvx512Engine,
#endif
#if CULVERT_AEAD_AVX2
      &kAvx2Engine,
#endif
      &kPortableEngine,
};

struct Usable {
  std::array<const Engine*, kBuilt.size()> list{};
  size_t count = 0;

  Usable() {
    // Lets libsodium pick its fast implementations; harmless if somebody did already, and if it fails the
    // plain ones stay.
    [[maybe_unused]] const int ready = sodium_init();
    for (const Engine* engine : kBuilt)
      if (engine->supported(cpu_features())) list[count++] = engine;
  }
};

const Usable& usable() {
  static const Usable engines;
  return engines;
}

const Engine* find_engine(std::string_view name, std::string& error) {
  for (const Engine* engine : engines())
    if (name == engine->name) return engine;
  for (const Engine* engine : kBuilt) {
    if (name != engine->name) continue;
    error = "the AEAD engine " + std::string(name) +
            " needs CPU features that are not there (there are: " + describe(cpu_features()) + ")";
    return nullptr;
  }
  error = "there is no AEAD engine called '" + std::string(name) + "' in this build; there are:";
  for (const Engine* engine : kBuilt) error += std::string(" ") + engine->name;
  return nullptr;
}

struct Initial {
  const Engine* engine = engines().front();
  std::string error;

  Initial() {
    const char* name = std::getenv("CULVERT_AEAD");
    if (name == nullptr || *name == '\0') return;
    const Engine* named = find_engine(name, error);
    if (named != nullptr) engine = named;
  }
};

const Initial& initial() {
  static const Initial choice;
  return choice;
}

// Null until the first use. Engines are constants, so the pointer alone needs no ordering.
std::atomic<const Engine*> current{nullptr};

const Engine& pick_initial() {
  const Engine* none = nullptr;
  current.compare_exchange_strong(none, initial().engine, std::memory_order_relaxed);
  return *current.load(std::memory_order_relaxed);
}

}  // namespace

std::span<const Engine* const> engines() {
  return {usable().list.data(), usable().count};
}

std::string select_engine(std::string_view name) {
  std::string error;
  const Engine* engine = find_engine(name, error);
  if (engine != nullptr) current.store(engine, std::memory_order_relaxed);
  return error;
}

const Engine& current_engine() {
  const Engine* engine = current.load(std::memory_order_relaxed);
  if (engine == nullptr) [[unlikely]]
    return pick_initial();
  return *engine;
}

const char* engine_name() {
  return current_engine().name;
}

const std::string& engine_override_error() {
  return initial().error;
}

void seal(std::span<const SealMessage> batch) {
  current_engine().seal(batch.data(), batch.size());
}

size_t open(std::span<OpenMessage> batch) {
  return current_engine().open(batch.data(), batch.size());
}

}  // namespace culvert::crypto
