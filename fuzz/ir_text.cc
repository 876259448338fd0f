// Any text as a graph: parsed or refused; what is parsed prints, and the print parses to the same
// print.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "model/ir/infer.h"
#include "model/ir/text.h"
#include "model/ir/verify.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto graph = slipway::ir::ParseText({reinterpret_cast<const char*>(data), size});
  if (!graph.ok()) return 0;
  const std::string text = slipway::ir::ToText(**graph);
  auto again = slipway::ir::ParseText(text);
  if (!again.ok() || slipway::ir::ToText(**again) != text) {
    std::fprintf(stderr, "does not survive printing: %s\n%s\n", again.status().ToString().c_str(),
                 text.c_str());
    std::abort();
  }
  if (slipway::ir::Verify(**graph).ok()) (void)slipway::ir::InferShapes(**graph).ok();
  return 0;
}
