#include "io/bpf_object.h"

#include <fcntl.h>

#include <cerrno>
#include <string>
#include <vector>

#ifdef CULVERT_HAS_BPF
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#endif

namespace culvert::io {

#ifdef CULVERT_HAS_BPF
namespace {

// Of all programs here; each says so in its `_license`.
constexpr char kLicense[] = "Dual MIT/GPL";

// libbpf returns errors as -errno, and sets errno besides.
Error error_of(const std::string& action, int negative) {
  const int number = negative < 0 ? -negative : errno;
  return {number, action + (number == EPERM    ? " (needs CAP_BPF, and a sandbox that allows bpf(2))"
                            : number == EACCES ? " (the verifier trusts those with CAP_PERFMON alone)"
                                               : "")};
}

Result<Fd> own_descriptor(const std::string& action, int fd) {
  Fd own(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 3));
  if (!own) return Error{fd < 0 ? ENOENT : errno, action};
  return own;
}

}  // namespace

void BpfObject::Closer::operator()(bpf_object* object) const {
  bpf_object__close(object);
}

Result<BpfObject> BpfObject::open(const char* name, std::span<const unsigned char> bytes) {
  libbpf_set_print(nullptr);  // errors are ours to report
  bpf_object_open_opts options{};
  options.sz = sizeof options;
  options.object_name = name;
  bpf_object* const object = bpf_object__open_mem(bytes.data(), bytes.size(), &options);
  if (object == nullptr) return error_of(std::string("open the BPF programs of ") + name, 0);
  return BpfObject(name, object);
}

Status BpfObject::share_map(const char* name, int map) {
  bpf_map* const own = bpf_object__find_map_by_name(object_.get(), name);
  const int outcome = own == nullptr ? -ENOENT : bpf_map__reuse_fd(own, map);
  if (outcome != 0) return error_of(std::string("share the BPF map ") + name, outcome);
  return Success{};
}

Status BpfObject::shrink_map(const char* name) {
  bpf_map* const own = bpf_object__find_map_by_name(object_.get(), name);
  const int outcome = own == nullptr ? -ENOENT : bpf_map__set_map_flags(own, 0);
  if (outcome != 0) return error_of(std::string("shrink the BPF map ") + name, outcome);
  return size_map(name, 1);
}

Status BpfObject::size_map(const char* name, uint32_t entries) {
  bpf_map* const own = bpf_object__find_map_by_name(object_.get(), name);
  const int outcome = own == nullptr ? -ENOENT : bpf_map__set_max_entries(own, entries);
  if (outcome != 0) return error_of(std::string("size the BPF map ") + name, outcome);
  return Success{};
}

Status BpfObject::set_constants(std::span<const unsigned char> bytes) {
  bpf_map* const constants = bpf_object__find_map_by_name(object_.get(), ".rodata");
  if (constants == nullptr || bpf_map__set_initial_value(constants, bytes.data(), bytes.size()) != 0)
    return Error{EINVAL, std::string("set the constants of ") + name_};
  return Success{};
}

Status BpfObject::load() {
  if (const int outcome = bpf_object__load(object_.get()); outcome != 0)
    return error_of(std::string("load the BPF programs of ") + name_, outcome);
  return Success{};
}

Result<Fd> BpfObject::map(const char* name) const {
  return own_descriptor(std::string("find the BPF map ") + name, bpf_object__find_map_fd_by_name(object_.get(), name));
}

Result<Fd> BpfObject::program(const char* name) const {
  const bpf_program* const program = bpf_object__find_program_by_name(object_.get(), name);
  return own_descriptor(std::string("find the BPF program ") + name,
                        program == nullptr ? -1 : bpf_program__fd(program));
}

// The instructions of a loaded program name maps by the descriptors that they have in the object.
Result<Fd> BpfObject::program_with(const char* name, const char* map, int other) const {
  const bpf_program* const program = bpf_object__find_program_by_name(object_.get(), name);
  const int own = bpf_object__find_map_fd_by_name(object_.get(), map);
  if (program == nullptr || own < 0) return Error{ENOENT, std::string("find the BPF program ") + name};
  const bpf_insn* const first = bpf_program__insns(program);
  std::vector<bpf_insn> code(first, first + bpf_program__insn_cnt(program));
  for (bpf_insn& each : code)
    if (each.code == (BPF_LD | BPF_IMM | BPF_DW) && each.src_reg == BPF_PSEUDO_MAP_FD && each.imm == own)
      each.imm = other;
  Fd loaded(::bpf_prog_load(bpf_program__type(program), name, kLicense, code.data(), code.size(), nullptr));
  if (!loaded) return error_of(std::string("load the BPF program ") + name, 0);
  return loaded;
}

#else

void BpfObject::Closer::operator()(bpf_object*) const {}

Result<BpfObject> BpfObject::open(const char*, std::span<const unsigned char>) {
  return Error{EOPNOTSUPP, "this build has no eBPF programs (it needs clang and libbpf)"};
}
Status BpfObject::share_map(const char*, int) {
  return Error{EOPNOTSUPP, name_};
}
Status BpfObject::shrink_map(const char*) {
  return Error{EOPNOTSUPP, name_};
}
Status BpfObject::size_map(const char*, uint32_t) {
  return Error{EOPNOTSUPP, name_};
}
Status BpfObject::set_constants(std::span<const unsigned char>) {
  return Error{EOPNOTSUPP, name_};
}
Status BpfObject::load() {
  return Error{EOPNOTSUPP, name_};
}
Result<Fd> BpfObject::map(const char*) const {
  return Error{EOPNOTSUPP, name_};
}
Result<Fd> BpfObject::program(const char*) const {
  return Error{EOPNOTSUPP, name_};
}
Result<Fd> BpfObject::program_with(const char*, const char*, int) const {
  return Error{EOPNOTSUPP, name_};
}

#endif

}  // namespace culvert::io
