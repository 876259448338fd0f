#include "perfdb/records.h"

#include <cstring>
#include <span>

#include "base/hash.h"

namespace slipway::perfdb {
namespace {

// Length-prefixed fields: no two different records give the same text.
class FieldHash {
 public:
  FieldHash& Add(std::string_view text) {
    hash_.Update(std::to_string(text.size()) + ":");
    hash_.Update(text);
    return *this;
  }
  FieldHash& Add(int64_t v) { return Add(std::to_string(v)); }
  std::string Hex() {
    const Sha256Digest digest = hash_.Finish();
    return ToHex(std::span(digest).first(16));
  }

 private:
  Sha256 hash_;
};

}  // namespace

std::string PlatformKey::Hash() const {
  return FieldHash()
      .Add("platform-key-1")
      .Add(platform)
      .Add(hardware)
      .Add(hardware_id)
      .Add(cpu_model)
      .Add(cpu_features)
      .Add(runtime)
      .Add(runtime_version)
      .Add(precision)
      .Add(batch)
      .Add(threads)
      .Add(affinity)
      .Add(clock_policy)
      .Add(power_mode)
      .Add(int64_t{emulated})
      .Add(protocol)
      .Hex();
}

std::string MeasurementRow::Uid() const {
  FieldHash h;
  h.Add(structure).Add(platform_key).Add(model_hash).Add(date);
  for (float v : samples_ms) {
    uint32_t bits;
    std::memcpy(&bits, &v, 4);
    h.Add(int64_t{bits});
  }
  if (samples_ms.empty()) h.Add(std::to_string(stats.p50)).Add(std::to_string(stats.mean));
  return h.Hex();
}

std::string AccuracyRow::Uid() const {
  return FieldHash()
      .Add(model_hash)
      .Add(data_hash)
      .Add(structure)
      .Add(platform)
      .Add(precision)
      .Add(metric)
      .Add(std::to_string(value))
      .Add(n)
      .Add(date)
      .Hex();
}

PlatformKey KeyOfHost(const device::HostFacts& f) {
  PlatformKey key;
  key.hardware = f.arch;
  key.hardware_id = f.hostname;
  key.cpu_model = f.cpu_model;
  key.cpu_features = f.features;
  key.affinity = f.affinity;
  key.clock_policy = f.governor;
  key.power_mode = f.power;
  return key;
}

MeasurementRow RowOf(const device::Measurement& m, const device::HostFacts& f) {
  MeasurementRow row;
  row.date = device::UtcNow();
  row.stats = m.stats;
  row.samples_ms = m.samples_ms;
  row.warmup_runs = m.warmup_runs;
  row.runs_per_sample = m.runs_per_sample;
  row.unstable = m.unstable;
  row.unstable_why = m.unstable_why;
  row.temperature_c = f.temperature_c;
  row.frequency_mhz = f.frequency_mhz;
  row.governor = f.governor;
  row.load1 = f.load1;
  return row;
}

}  // namespace slipway::perfdb
