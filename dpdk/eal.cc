#include "dpdk/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>

namespace culvert::dpdk {
namespace {

// Unregisters the thread that it belongs to.
struct Registration {
  Registration() { registered = rte_lcore_id() == LCORE_ID_ANY && rte_thread_register() == 0; }
  ~Registration() {
    if (registered) rte_thread_unregister();
  }
  Registration(const Registration&) = delete;
  Registration& operator=(const Registration&) = delete;
  bool registered = false;
};

// EAL would pin this thread and start one on each other CPU; workers are our own threads. So it gets one lcore, with
// all CPUs that this thread has now.
std::string lcores_of_this_thread() {
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  if (sched_getaffinity(0, sizeof cpus, &cpus) != 0) CPU_SET(0, &cpus);
  std::string list;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &cpus)) continue;
    if (!list.empty()) list += ',';
    list += std::to_string(cpu);
  }
  return "--lcores=0@(" + list + ")";
}

bool chooses_lcores(const std::string& argument) {
  return argument.starts_with("-l") || argument.starts_with("-c") || argument.starts_with("--lcores");
}

}  // namespace

io::Result<std::unique_ptr<Eal>> Eal::start(const std::vector<std::string>& arguments) {
  std::vector<std::string> words{"culvert"};
  words.insert(words.end(), arguments.begin(), arguments.end());
  if (std::none_of(arguments.begin(), arguments.end(), chooses_lcores)) words.push_back(lcores_of_this_thread());
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  if (rte_eal_init(static_cast<int>(words.size()), argv.data()) < 0)
    return io::Error{rte_errno, "start DPDK (its own messages say more)"};
  return std::unique_ptr<Eal>(new Eal);
}

Eal::~Eal() {
  (void)rte_eal_cleanup();
}

io::Result<std::vector<std::string>> split_arguments(const std::string& text) {
  std::vector<std::string> words;
  bool in_word = false;
  char quote = 0;
  for (const char c : text) {
    if (quote != 0) {
      if (c == quote)
        quote = 0;
      else
        words.back() += c;
      continue;
    }
    if (c == ' ' || c == '\t') {
      in_word = false;
      continue;
    }
    if (!in_word) words.emplace_back();
    in_word = true;
    if (c == '\'' || c == '"')
      quote = c;
    else
      words.back() += c;
  }
  if (quote != 0) return io::Error{EINVAL, std::string("no second ") + quote + " in the DPDK arguments `" + text + "`"};
  return words;
}

void register_this_thread() {
  thread_local const Registration registration;
}

}  // namespace culvert::dpdk
