#include "src/host/firewall.h"

#include <nftables/libnftables.h>

#include <cerrno>
#include <cstdint>
#include <memory>

namespace culvert::host {
namespace {

enum class Run : uint8_t { really, dry };

io::Status run_commands(const std::string& commands, const std::string& action, Run run) {
  const std::unique_ptr<nft_ctx, void (*)(nft_ctx*)> context(::nft_ctx_new(NFT_CTX_DEFAULT), ::nft_ctx_free);
  if (context == nullptr) return io::Error{ENOMEM, action};
  ::nft_ctx_buffer_output(context.get());
  ::nft_ctx_buffer_error(context.get());
  ::nft_ctx_set_dry_run(context.get(), run == Run::dry);
  if (::nft_run_cmd_from_buffer(context.get(), commands.c_str()) == 0) return io::Success{};
  const char* const said = ::nft_ctx_get_error_buffer(context.get());
  std::string why = said != nullptr ? said : "";
  why = why.substr(0, why.find('\n'));
  return io::Error{0, action + ": " + (why.empty() ? "nftables refuses it" : why)};
}

// To delete what is not there would be an error: it is added first.
std::string removal(const std::string& table) {
  return "add table " + table + "\ndelete table " + table + "\n";
}

std::string replacement(const std::string& table, const std::string& chains) {
  return removal(table) + "table " + table + " {" + chains + "}\n";
}

}  // namespace

io::Status set_firewall_table(const std::string& family_and_name, const std::string& chains) {
  return run_commands(replacement(family_and_name, chains), "set the nftables table " + family_and_name, Run::really);
}

io::Status check_firewall_table(const std::string& family_and_name, const std::string& chains) {
  return run_commands(replacement(family_and_name, chains), "check the nftables table " + family_and_name, Run::dry);
}

io::Status remove_firewall_table(const std::string& family_and_name) {
  return run_commands(removal(family_and_name), "remove the nftables table " + family_and_name, Run::really);
}

}  // namespace culvert::host
