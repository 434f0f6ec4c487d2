# Run by the build, `cmake -DOBJECT=x.o -DOUTPUT=x.cc -DFUNCTION=x -P tools/bpf_program.cmake`: turns a BPF object file into
# C++ that yields its bytes by a function. Without OBJECT there are none.
if(OBJECT)
  file(READ ${OBJECT} bytes HEX)
  string(REGEX REPLACE "(..)" "0x\\1," bytes "${bytes}")
  set(table "// Aligned as libelf wants it.\nalignas(8) static constexpr unsigned char kBytes[] = {${bytes}};\n")
  set(answer "kBytes")
else()
  set(answer "{}")
endif()
file(WRITE ${OUTPUT} "#include <span>
namespace culvert::bpf {
${table}std::span<const unsigned char> ${FUNCTION}();
std::span<const unsigned char> ${FUNCTION}() { return ${answer}; }
}  // namespace culvert::bpf
")
