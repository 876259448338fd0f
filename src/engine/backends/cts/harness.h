#pragma once
// The conformance suite's engine: takes a one-node graph, compiles it with a backend's compile side
// for each of its candidates, runs it through the C interface of its run side and compares with the
// plain loops of model/ops.

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "engine/backends/compile.h"
#include "model/ir/graph.h"
#include "slipway/backend.h"

namespace slipway::cts {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  int64_t Int(int64_t lo, int64_t hi) {
    return std::uniform_int_distribution<int64_t>(lo, hi)(engine_);
  }
  double Real(double lo, double hi) {
    return std::uniform_real_distribution<double>(lo, hi)(engine_);
  }
  bool Chance(double p) { return Real(0, 1) < p; }
  template <typename T>
  T Pick(std::initializer_list<T> list) {
    return list.begin()[Int(0, static_cast<int64_t>(list.size()) - 1)];
  }
  uint64_t Next() { return engine_(); }

 private:
  std::mt19937_64 engine_;
};

struct Case {
  std::unique_ptr<ir::Graph> graph;  // one node; the batch of its inputs may be the symbol N
  double tolerance = 1e-5;    // of floats, relative to max(1, the largest magnitude of the output)
  bool ties = false;  // a float function before the rounding: codes may differ by one step
  double low = -2, high = 2;  // range of float inputs
  int64_t int_low = -100, int_high = 100;  // range of int32 and int64 inputs
};

struct Family {
  const char* name;
  Case (*make)(Random&);
};
std::span<const Family> Families();

struct Backend {
  std::string name;
  std::function<std::unique_ptr<backends::CompileBackend>()> compiler;
  const slipway_backend* run = nullptr;
  bool exact_integers = true;  // false: codes may differ by one step at ties
  bool checks_shapes = true;   // prepare refuses tensors that do not fit the operator
};
// The backends of this build: a new one is one line in backends.cc.
std::vector<Backend> Backends();

struct Tally {
  int64_t cases = 0, declined = 0, candidates = 0, runs = 0;
  int64_t codes = 0, codes_off = 0;  // 8-bit results compared, and off by one step
  std::vector<std::string> reasons;  // of declined cases, the first few
  std::map<std::string, int64_t> kernels;  // of the candidates
};

// Checks one case: every candidate, batches 1, 3 and 1 again, one and two threads, in place where
// offered. An error describes what differs.
Status Check(const Case& c, const Backend& backend, Random& random, Tally& tally);
// "slipway.QConv(uint8[N, 3, 8, 8], ...) {...}".
std::string Describe(const Case& c);
// Load and prepare with damaged blobs and with tensors that do not fit must answer with an error or
// harmlessly; crashes and writes outside the outputs are what this looks for.
Status CheckMalformed(const Case& c, const Backend& backend, Random& random);

struct Timing {
  std::string backend, kernel;
  double microseconds;  // processor time of the fastest of many runs, one thread, batch 1
};
// Times every candidate of every backend that supports the node.
Result<std::vector<Timing>> Measure(const Case& c, double seconds);

}  // namespace slipway::cts
