#pragma once
// What the performance database holds, as plain structs. Times are milliseconds of one run, sizes
// bytes.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "device/host_facts.h"
#include "device/measure.h"

namespace slipway::perfdb {

// A graph without weights. Both hashes are canonical: node order and names do not matter,
// attributes do.
struct Structure {
  std::string hash_with_shapes;     // unique
  std::string hash_without_shapes;  // the family that differs in shapes only
  std::string name;                 // for people; the first one given is kept
  std::string features = "{}";      // a JSON object
};

// Everything a latency depends on besides the structure: two measurements compare only when all of
// it is equal.
struct PlatformKey {
  std::string platform;     // "x86-onednn-int8"
  std::string hardware;     // "x86_64", a board's or chip's name
  std::string hardware_id;  // which one of them
  std::string cpu_model;
  std::string cpu_features;     // "avx2,avx512"
  std::string runtime;          // "slipway"
  std::string runtime_version;  // with that of the library that ran, "0.1.0+onednn-2.7.3"
  std::string precision;        // "float32", "int8", "mixed"
  int64_t batch = 1;
  int64_t threads = 1;
  std::string affinity;      // "0-1"
  std::string clock_policy;  // "performance", "fixed 1500 MHz"; "" when the system hides it
  std::string power_mode;    // "mains", "battery", a board's mode
  bool emulated = false;
  int64_t protocol = device::kProtocolVersion;

  // 32 hexadecimal digits over all fields.
  std::string Hash() const;
  bool operator==(const PlatformKey&) const = default;
};

// One node (or fused group) of a measured run, or one kernel measured by itself.
struct KernelRow {
  std::string node;       // name in the graph, "" for a kernel by itself
  std::string op;         // "Conv"
  std::string backend;    // "onednn"
  std::string kernel;     // which implementation, "jit:avx512_core"
  std::string signature;  // operator, shapes, attributes and types: the key of cost look-ups
  double ms = 0;
  int64_t macs = 0;
};

struct MeasurementRow {
  std::string structure;     // hash_with_shapes
  std::string platform_key;  // PlatformKey::Hash()
  std::string model_hash;    // of the file that was measured, "" when unknown
  std::string date;          // UTC, "2025-03-01T12:00:00Z"
  std::string tool_version;
  device::LatencyStats stats;
  std::vector<float> samples_ms;
  int64_t warmup_runs = 0;
  int64_t runs_per_sample = 1;
  bool unstable = false;  // marked, never hidden
  std::string unstable_why;
  int64_t peak_bytes = 0;  // of the session's arena
  std::optional<double> temperature_c;
  std::optional<double> frequency_mhz;
  std::string governor;
  double load1 = 0;
  std::vector<KernelRow> kernels;

  // 32 hexadecimal digits over structure, platform, date and samples: the same run imported twice
  // is one row.
  std::string Uid() const;
};

struct AccuracyRow {
  std::string model_hash, data_hash;
  std::string structure;  // hash_with_shapes, "" when unknown
  std::string platform, precision;
  std::string metric;  // "top1"
  double value = 0;    // 0..1 for accuracies
  int64_t n = 0;       // samples
  std::string date;

  std::string Uid() const;
};

// The parts that every measurement on this machine shares.
PlatformKey KeyOfHost(const device::HostFacts& facts);
MeasurementRow RowOf(const device::Measurement& m, const device::HostFacts& facts);

}  // namespace slipway::perfdb
