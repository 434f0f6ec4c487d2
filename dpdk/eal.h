// DPDK's environment: started once in a process, from arguments that a user gave.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "io/result.h"

namespace culvert::dpdk {

// Thread safety: start() and the destructor are one thread's. A process can start it once.
class Eal {
 public:
  // `arguments` are EAL's own ("--no-pci", "-a", "0000:01:00.0"), without a program name. Without a choice of
  // lcores there is one, the calling thread, on the CPUs that it has.
  // Errors: those of rte_eal_init(): EINVAL for arguments that it does not know, ENOMEM or EACCES for hugepages,
  // EALREADY.
  static io::Result<std::unique_ptr<Eal>> start(const std::vector<std::string>& arguments);

  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

 private:
  Eal() = default;
};

// Splits arguments as a shell does with blanks and quotes, and nothing else. Errors: EINVAL for a quote that does not
// end.
io::Result<std::vector<std::string>> split_arguments(const std::string& text);

// Makes the calling thread one that mempools keep a cache for, once, until the thread ends. Any thread that handles
// mbufs; cheap to call again. Without a free place (RTE_MAX_LCORE threads) it goes on without a cache.
void register_this_thread();

}  // namespace culvert::dpdk
