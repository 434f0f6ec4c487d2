#include <intel-ipsec-mb.h>
#include <sodium.h>

#include <cstring>

#include "bench/aead_contender.h"

namespace culvert::bench {
namespace {

using Tag = std::array<uint8_t, crypto::kAeadTagBytes>;

// The library computes a tag and leaves the comparison to its caller.
size_t check_tags(std::span<crypto::OpenMessage> batch, const std::array<Tag, kMaxBatch>& tags) {
  size_t authentic = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    crypto::OpenMessage& m = batch[i];
    m.authentic = crypto_verify_16(tags[i].data(), m.source + m.length) == 0;
    if (!m.authentic) std::memset(m.destination, 0, m.length);
    authentic += m.authentic;
  }
  return authentic;
}

// init, update and finalize, one message at a time.
class Direct final : public Contender {
 public:
  Direct(std::string name, IMB_MGR* manager) : Contender(std::move(name)), manager_(manager) {}

  void seal(std::span<const crypto::SealMessage> batch) override {
    for (const crypto::SealMessage& m : batch) {
      const Nonce nonce = nonce_of(m.counter);
      IMB_CHACHA20_POLY1305_INIT(manager_, m.key, &context_, nonce.data(), nullptr, 0);
      IMB_CHACHA20_POLY1305_ENC_UPDATE(manager_, m.key, &context_, m.destination, m.source, m.length);
      IMB_CHACHA20_POLY1305_ENC_FINALIZE(manager_, &context_, m.destination + m.length, crypto::kAeadTagBytes);
    }
  }

  size_t open(std::span<crypto::OpenMessage> batch) override {
    for (size_t i = 0; i < batch.size(); ++i) {
      const crypto::OpenMessage& m = batch[i];
      const Nonce nonce = nonce_of(m.counter);
      IMB_CHACHA20_POLY1305_INIT(manager_, m.key, &context_, nonce.data(), nullptr, 0);
      IMB_CHACHA20_POLY1305_DEC_UPDATE(manager_, m.key, &context_, m.destination, m.source, m.length);
      IMB_CHACHA20_POLY1305_DEC_FINALIZE(manager_, &context_, tags_[i].data(), crypto::kAeadTagBytes);
    }
    return check_tags(batch, tags_);
  }

 private:
  IMB_MGR* manager_;
  chacha20_poly1305_context_data context_;
  std::array<Tag, kMaxBatch> tags_;
};

void fill(IMB_JOB& job, const uint8_t* key, const uint8_t* nonce, const uint8_t* source, uint8_t* destination,
          uint32_t length, uint8_t* tag, IMB_CIPHER_DIRECTION direction) {
  job.cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
  job.hash_alg = IMB_AUTH_CHACHA20_POLY1305;
  job.cipher_direction = direction;
  job.chain_order = direction == IMB_DIR_ENCRYPT ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
  job.enc_keys = key;
  job.dec_keys = key;
  job.key_len_in_bytes = crypto::kAeadKeyBytes;
  job.src = source;
  job.dst = destination;
  job.cipher_start_src_offset_in_bytes = 0;
  job.hash_start_src_offset_in_bytes = 0;
  job.msg_len_to_cipher_in_bytes = length;
  job.msg_len_to_hash_in_bytes = length;
  job.iv = nonce;
  job.iv_len_in_bytes = sizeof(Nonce);
  job.auth_tag_output = tag;
  job.auth_tag_output_len_in_bytes = crypto::kAeadTagBytes;
  job.u.CHACHA20_POLY1305.aad = nonce;
  job.u.CHACHA20_POLY1305.aad_len_in_bytes = 0;
}

// The two asynchronous interfaces differ in how a batch of jobs enters the manager.
enum class Submission { kJobByJob, kBurst };

class Asynchronous final : public Contender {
 public:
  Asynchronous(std::string name, IMB_MGR* manager, Submission submission)
      : Contender(std::move(name)), manager_(manager), submission_(submission) {}

  void seal(std::span<const crypto::SealMessage> batch) override {
    run(
        batch.size(),
        [&](size_t i, IMB_JOB& job) {
          const crypto::SealMessage& m = batch[i];
          nonces_[i] = nonce_of(m.counter);
          fill(job, m.key, nonces_[i].data(), m.source, m.destination, m.length, m.destination + m.length,
               IMB_DIR_ENCRYPT);
        });
  }

  size_t open(std::span<crypto::OpenMessage> batch) override {
    run(batch.size(), [&](size_t i, IMB_JOB& job) {
      const crypto::OpenMessage& m = batch[i];
      nonces_[i] = nonce_of(m.counter);
      fill(job, m.key, nonces_[i].data(), m.source, m.destination, m.length, tags_[i].data(), IMB_DIR_DECRYPT);
    });
    return check_tags(batch, tags_);
  }

 private:
  template <typename Fill>
  void run(size_t count, Fill fill_job) {
    if (submission_ == Submission::kBurst)
      run_burst(count, fill_job);
    else
      run_jobs(count, fill_job);
  }

  template <typename Fill>
  void run_jobs(size_t count, Fill fill_job) {
    for (size_t i = 0; i < count; ++i) {
      fill_job(i, *IMB_GET_NEXT_JOB(manager_));
      IMB_JOB* done = IMB_SUBMIT_JOB_NOCHECK(manager_);
      while (done != nullptr) done = IMB_GET_COMPLETED_JOB(manager_);
    }
    while (IMB_FLUSH_JOB(manager_) != nullptr) {
    }
  }

  template <typename Fill>
  void run_burst(size_t count, Fill fill_job) {
    const auto wanted = static_cast<uint32_t>(count);
    while (IMB_GET_NEXT_BURST(manager_, wanted, jobs_.data()) < wanted)
      IMB_FLUSH_BURST(manager_, IMB_MAX_BURST_SIZE, jobs_.data());
    for (size_t i = 0; i < count; ++i) fill_job(i, *jobs_[i]);
    uint32_t done = IMB_SUBMIT_BURST_NOCHECK(manager_, wanted, jobs_.data());
    while (done < wanted) done += IMB_FLUSH_BURST(manager_, wanted - done, jobs_.data());
  }

  IMB_MGR* manager_;
  Submission submission_;
  std::array<IMB_JOB*, IMB_MAX_BURST_SIZE> jobs_;
  std::array<Nonce, kMaxBatch> nonces_;
  std::array<Tag, kMaxBatch> tags_;
};
static_assert(kMaxBatch <= IMB_MAX_BURST_SIZE);

// Managers live as long as the process: contenders point at them.
void add_architecture(Contenders& contenders, const std::string& architecture, void (*initialize)(IMB_MGR*)) {
  IMB_MGR* manager = alloc_mb_mgr(0);
  if (manager == nullptr) return;
  initialize(manager);
  const std::string name = "ipsec-mb-" + architecture;
  contenders.push_back(std::make_unique<Direct>(name + "-direct", manager));
  contenders.push_back(std::make_unique<Asynchronous>(name + "-job", manager, Submission::kJobByJob));
  contenders.push_back(std::make_unique<Asynchronous>(name + "-burst", manager, Submission::kBurst));
}

}  // namespace

void add_ipsec_mb(Contenders& contenders) {
  struct Architecture {
    const char* name;
    uint64_t needs;
    void (*initialize)(IMB_MGR*);
  };
  constexpr Architecture kArchitectures[] = {
      {"avx512", IMB_CPUFLAGS_AVX512, init_mb_mgr_avx512},
      {"avx2", IMB_CPUFLAGS_AVX2, init_mb_mgr_avx2},
  };
  const uint64_t features = imb_get_feature_flags();
  for (const Architecture& architecture : kArchitectures)
    if ((features & architecture.needs) == architecture.needs)
      add_architecture(contenders, architecture.name, architecture.initialize);
}

}  // namespace culvert::bench
