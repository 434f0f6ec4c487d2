// Configuration text: either it has errors, each with its line, or it can be applied.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "src/config/config.h"
#include "tests/fake_device.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  using namespace culvert;
  const auto resolve = [](const std::string& host, const std::string& port) -> io::Result<io::Endpoint> {
    io::Endpoint endpoint;
    if (host.size() % 2 == 0 && io::parse_endpoint("192.0.2.1:" + port, endpoint)) return endpoint;
    return io::Error{0, "no such name"};
  };
  const config::ConfigOutcome outcome =
      config::parse_config(std::string_view(reinterpret_cast<const char*>(bytes), size), "file", resolve);
  for (const std::string& error : outcome.errors)
    if (!error.starts_with("file:")) std::abort();
  if (outcome.errors.size() > config::kMaxConfigErrors) std::abort();
  if (outcome) {
    test::FakeDevice device;
    if (!config::apply_config(outcome.config, device) || device.publications != 1) std::abort();
  }
  const config::ConfigOutcome gateway =
      config::parse_gateway_config(std::string_view(reinterpret_cast<const char*>(bytes), size), "file");
  for (const std::string& error : gateway.errors)
    if (!error.starts_with("file:")) std::abort();
  return 0;
}
