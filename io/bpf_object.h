// A BPF object file that was built into the library: opened, completed and loaded into the kernel by libbpf.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "io/fd.h"
#include "io/result.h"

struct bpf_object;

namespace culvert::io {

// Thread safety: none. What the kernel has of it stays for as long as somebody holds a descriptor to it, or a socket or
// device uses it; the object itself is needed only until then.
class BpfObject {
 public:
  // `bytes`: the ELF file. Errors: EOPNOTSUPP in a build without libbpf or clang, for which `bytes` are none.
  static Result<BpfObject> open(const char* name, std::span<const unsigned char> bytes);

  // Before load(): the object's map `name` is this one.
  Status share_map(const char* name, int map);
  // Before load(): the object's map `name` has one entry, and nothing that an old kernel does not know.
  Status shrink_map(const char* name);
  // Before load(): the object's map `name` has so many entries.
  Status size_map(const char* name, uint32_t entries);
  // Before load(): the object's constants, all of .rodata. EINVAL for another size.
  Status set_constants(std::span<const unsigned char> bytes);

  // Hands programs and maps to the kernel, which verifies them. Errors say what is missing: EPERM without CAP_BPF,
  // EACCES without CAP_PERFMON.
  Status load();

  // After load(): descriptors of their own. Errors: ENOENT, EMFILE.
  Result<Fd> map(const char* name) const;
  Result<Fd> program(const char* name) const;

  // After load(): another copy of a program in the kernel, which uses the map `other` in place of the object's map
  // `map`. Costs the verifier's time alone, a tenth of load(). Errors: ENOENT, those of bpf(2).
  Result<Fd> program_with(const char* name, const char* map, int other) const;

 private:
  struct Closer {
    void operator()(bpf_object* object) const;
  };
  BpfObject(const char* name, bpf_object* object) : name_(name), object_(object) {}

  const char* name_;
  std::unique_ptr<bpf_object, Closer> object_;
};

}  // namespace culvert::io
