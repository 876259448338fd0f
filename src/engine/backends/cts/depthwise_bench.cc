// The depthwise convolutions of real networks at 224 x 224, batch 1, one thread: every backend's
// float32 and 8-bit kernels in the same run, and the geometric means of their ratios.
//
//   depthwise_bench [MODEL]        only the layers of this model

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "engine/backends/cts/harness.h"
#include "model/ir/text.h"

namespace {

struct Layer {
  const char* model;
  int channels, size, kernel, stride;
};
constexpr Layer kLayers[] = {
    {"mobilenet_v2", 32, 112, 3, 1},       {"mobilenet_v2", 96, 112, 3, 2},
    {"mobilenet_v2", 144, 56, 3, 1},       {"mobilenet_v2", 144, 56, 3, 2},
    {"mobilenet_v2", 192, 28, 3, 1},       {"mobilenet_v2", 192, 28, 3, 2},
    {"mobilenet_v2", 384, 14, 3, 1},       {"mobilenet_v2", 576, 14, 3, 1},
    {"mobilenet_v2", 576, 14, 3, 2},       {"mobilenet_v2", 960, 7, 3, 1},
    {"efficientnet_b0", 32, 112, 3, 1},    {"efficientnet_b0", 96, 112, 3, 2},
    {"efficientnet_b0", 144, 56, 3, 1},    {"efficientnet_b0", 144, 56, 5, 2},
    {"efficientnet_b0", 240, 28, 5, 1},    {"efficientnet_b0", 240, 28, 3, 2},
    {"efficientnet_b0", 480, 14, 3, 1},    {"efficientnet_b0", 480, 14, 5, 1},
    {"efficientnet_b0", 672, 14, 5, 1},    {"efficientnet_b0", 672, 14, 5, 2},
    {"efficientnet_b0", 1152, 7, 5, 1},    {"efficientnet_b0", 1152, 7, 3, 1},
    {"mobilenet_v3_small", 16, 112, 3, 2}, {"mobilenet_v3_small", 72, 56, 3, 2},
    {"mobilenet_v3_small", 88, 28, 3, 1},  {"mobilenet_v3_small", 96, 28, 5, 2},
    {"mobilenet_v3_small", 240, 14, 5, 1}, {"mobilenet_v3_small", 120, 14, 5, 1},
    {"mobilenet_v3_small", 144, 14, 5, 1}, {"mobilenet_v3_small", 288, 14, 5, 2},
    {"mobilenet_v3_small", 576, 7, 5, 1},
};

// A backend's fastest candidate of each of several measurements.
struct Times {
  std::vector<double> onednn, x86;

  void Add(const std::vector<slipway::cts::Timing>& timings) {
    double best[2] = {0, 0};
    for (const auto& t : timings) {
      const int i = t.backend == "onednn" ? 0 : t.backend == "x86" ? 1 : -1;
      if (i >= 0 && (best[i] == 0 || t.microseconds < best[i])) best[i] = t.microseconds;
    }
    onednn.push_back(best[0]);
    x86.push_back(best[1]);
  }
  // Microseconds; 0 where the backend has no candidate.
  static double Median(std::vector<double> v) {
    std::sort(v.begin(), v.end());
    return v.empty() ? 0 : v[v.size() / 2];
  }
};

slipway::Status Measure(const Layer& l, bool integer, Times& times) {
  char text[1024];
  std::snprintf(text, sizeof text,
                "graph \"g\" {\n input %%x: %s[1, %d, %d, %d]\n const %%w: %s[%d, 1, %d, %d] = "
                "random(1)\n const %%m: float32[1] = fill(0.001)\n const %%b: %s[%d] = random(2)\n"
                " %%y = %s(%%x, %%w, %s) {group = %d, pads = [%d, %d, %d, %d], strides = [%d, %d], "
                "%s}\n output %%y\n}\n",
                integer ? "uint8" : "float32", l.channels, l.size, l.size,
                integer ? "int8" : "float32", l.channels, l.kernel, l.kernel,
                integer ? "int32" : "float32", l.channels,
                integer ? "slipway.QConv" : "slipway.Conv", integer ? "%m, %b" : "%b", l.channels,
                l.kernel / 2, l.kernel / 2, l.kernel / 2, l.kernel / 2, l.stride, l.stride,
                integer ? "to = 2, q_min = 0, q_max = 255" : "activation = \"Relu\"");
  slipway::cts::Case c;
  auto graph = slipway::ir::ParseText(text);
  if (!graph.ok()) return graph.status();
  c.graph = std::move(*graph);
  const auto timings = slipway::cts::Measure(c, 0.01);
  if (timings.ok()) times.Add(*timings);
  return timings.ok() ? slipway::OkStatus() : timings.status();
}

}  // namespace

int main(int argc, char** argv) {
  using namespace slipway;
  double float_ratio = 0, int_ratio = 0, both_ratio = 0;
  int floats = 0, ints = 0, layers = 0;
  std::printf("%-20s %-16s  float32, us                int8, us\n", "", "");
  std::printf("%-20s %-16s %9s %9s %6s %9s %9s %6s  %s\n", "model", "layer", "oneDNN", "x86",
              "ratio", "oneDNN", "x86", "ratio", "int8 x86 / float32 oneDNN, GOPS");
  for (const Layer& l : kLayers) {
    if (argc > 1 && std::strcmp(argv[1], l.model) != 0) continue;
    Times f, q;
    for (int round = 0; round < 5; ++round) {  // float32 and 8 bit alternate
      for (const bool integer : {false, true}) {
        const Status status = Measure(l, integer, integer ? q : f);
        if (status.ok()) continue;
        std::fprintf(stderr, "%s\n", status.message().c_str());
        return 1;
      }
    }
    const double fo = Times::Median(f.onednn), fx = Times::Median(f.x86),
                 qo = Times::Median(q.onednn), qx = Times::Median(q.x86);
    char name[32];
    std::snprintf(name, sizeof name, "%dx%d s%d %dx%d", l.kernel, l.kernel, l.stride, l.channels,
                  l.size);
    const int out = (l.size - 1) / l.stride + 1;
    const double ops = 2e-3 * l.channels * out * out * l.kernel * l.kernel;
    std::printf("%-20s %-16s %9.1f %9.1f %6.2f %9.1f %9.1f %6.2f %6.2f  %.0f\n", l.model, name, fo,
                fx, fo > 0 ? fx / fo : 0, qo, qx, qo > 0 ? qx / qo : 0, fo > 0 ? qx / fo : 0,
                ops / qx);
    ++layers;
    if (fo > 0 && fx > 0) float_ratio += std::log(fx / fo), ++floats;
    if (qo > 0 && qx > 0) int_ratio += std::log(qx / qo), ++ints;
    if (fo > 0 && qx > 0) both_ratio += std::log(qx / fo);
  }
  if (floats > 0) std::printf("float32: x86 / oneDNN %.2f\n", std::exp(float_ratio / floats));
  if (ints > 0) std::printf("int8: x86 / oneDNN %.2f\n", std::exp(int_ratio / ints));
  if (layers > 0) std::printf("int8 x86 / float32 oneDNN: %.2f\n", std::exp(both_ratio / layers));
  return 0;
}
