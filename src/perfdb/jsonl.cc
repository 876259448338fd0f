// Export and import of the database as JSON lines.

#include <cmath>
#include <fstream>
#include <istream>
#include <map>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/mapped_file.h"
#include "perfdb/sqlite.h"
#include "perfdb/store.h"

namespace slipway::perfdb {
namespace {

using nlohmann::json;

constexpr size_t kMaxLine = size_t{64} << 20;

json ToJson(const PlatformKey& k) {
  return {{"platform", k.platform},
          {"hardware", k.hardware},
          {"hardware_id", k.hardware_id},
          {"cpu_model", k.cpu_model},
          {"cpu_features", k.cpu_features},
          {"runtime", k.runtime},
          {"runtime_version", k.runtime_version},
          {"precision", k.precision},
          {"batch", k.batch},
          {"threads", k.threads},
          {"affinity", k.affinity},
          {"clock_policy", k.clock_policy},
          {"power_mode", k.power_mode},
          {"emulated", k.emulated},
          {"protocol", k.protocol}};
}

PlatformKey KeyFromJson(const json& j) {
  PlatformKey k;
  k.platform = j.at("platform");
  k.hardware = j.at("hardware");
  k.hardware_id = j.at("hardware_id");
  k.cpu_model = j.at("cpu_model");
  k.cpu_features = j.at("cpu_features");
  k.runtime = j.at("runtime");
  k.runtime_version = j.at("runtime_version");
  k.precision = j.at("precision");
  k.batch = j.at("batch");
  k.threads = j.at("threads");
  k.affinity = j.at("affinity");
  k.clock_policy = j.at("clock_policy");
  k.power_mode = j.at("power_mode");
  k.emulated = j.at("emulated");
  k.protocol = j.at("protocol");
  return k;
}

json ToJson(const KernelRow& k) {
  return {{"node", k.node},           {"op", k.op}, {"backend", k.backend}, {"kernel", k.kernel},
          {"signature", k.signature}, {"ms", k.ms}, {"macs", k.macs}};
}

KernelRow KernelFromJson(const json& j) {
  return {j.at("node"),      j.at("op"), j.at("backend"), j.at("kernel"),
          j.at("signature"), j.at("ms"), j.at("macs")};
}

json ToJson(const MeasurementResult& r) {
  const MeasurementRow& m = r.row;
  json features = json::parse(r.structure.features, nullptr, false);
  if (features.is_discarded()) features = json::object();
  json j = {{"type", "measurement"},
            {"structure",
             {{"hash_with_shapes", r.structure.hash_with_shapes},
              {"hash_without_shapes", r.structure.hash_without_shapes},
              {"name", r.structure.name},
              {"features", features}}},
            {"key", ToJson(r.key)},
            {"model_hash", m.model_hash},
            {"date", m.date},
            {"tool_version", m.tool_version},
            {"n", m.stats.n},
            {"min_ms", m.stats.min},
            {"mean_ms", m.stats.mean},
            {"p50_ms", m.stats.p50},
            {"p90_ms", m.stats.p90},
            {"p99_ms", m.stats.p99},
            {"max_ms", m.stats.max},
            {"stddev_ms", m.stats.stddev},
            {"spread", m.stats.spread},
            {"drift", m.stats.drift},
            {"outliers", m.stats.outliers},
            {"samples_ms", m.samples_ms},
            {"warmup_runs", m.warmup_runs},
            {"runs_per_sample", m.runs_per_sample},
            {"unstable", m.unstable},
            {"unstable_why", m.unstable_why},
            {"peak_bytes", m.peak_bytes},
            {"governor", m.governor},
            {"load1", m.load1}};
  if (m.temperature_c) j["temperature_c"] = *m.temperature_c;
  if (m.frequency_mhz) j["frequency_mhz"] = *m.frequency_mhz;
  json kernels = json::array();
  for (const auto& k : m.kernels) kernels.push_back(ToJson(k));
  j["kernels"] = std::move(kernels);
  return j;
}

MeasurementResult MeasurementFromJson(const json& j) {
  MeasurementResult r;
  const json& s = j.at("structure");
  r.structure = {s.at("hash_with_shapes"), s.at("hash_without_shapes"), s.at("name"),
                 s.at("features").dump()};
  r.key = KeyFromJson(j.at("key"));
  MeasurementRow& m = r.row;
  m.model_hash = j.at("model_hash");
  m.date = j.at("date");
  m.tool_version = j.at("tool_version");
  m.stats.n = j.at("n");
  m.stats.min = j.at("min_ms");
  m.stats.mean = j.at("mean_ms");
  m.stats.p50 = j.at("p50_ms");
  m.stats.p90 = j.at("p90_ms");
  m.stats.p99 = j.at("p99_ms");
  m.stats.max = j.at("max_ms");
  m.stats.stddev = j.at("stddev_ms");
  m.stats.spread = j.at("spread");
  m.stats.drift = j.at("drift");
  m.stats.outliers = j.at("outliers");
  m.samples_ms = j.at("samples_ms").get<std::vector<float>>();
  m.warmup_runs = j.at("warmup_runs");
  m.runs_per_sample = j.at("runs_per_sample");
  m.unstable = j.at("unstable");
  m.unstable_why = j.at("unstable_why");
  m.peak_bytes = j.at("peak_bytes");
  m.governor = j.at("governor");
  m.load1 = j.at("load1");
  if (j.contains("temperature_c")) m.temperature_c = j["temperature_c"].get<double>();
  if (j.contains("frequency_mhz")) m.frequency_mhz = j["frequency_mhz"].get<double>();
  for (const auto& k : j.at("kernels")) m.kernels.push_back(KernelFromJson(k));
  return r;
}

json ToJson(const AccuracyRow& a) {
  return {{"type", "accuracy"},
          {"model_hash", a.model_hash},
          {"data_hash", a.data_hash},
          {"structure", a.structure},
          {"platform", a.platform},
          {"precision", a.precision},
          {"metric", a.metric},
          {"value", a.value},
          {"n", a.n},
          {"date", a.date}};
}

AccuracyRow AccuracyFromJson(const json& j) {
  return {j.at("model_hash"), j.at("data_hash"), j.at("structure"),
          j.at("platform"),   j.at("precision"), j.at("metric"),
          j.at("value"),      j.at("n"),         j.at("date")};
}

// Names from model files may hold any bytes; JSON must be UTF-8.
std::string Dump(const json& j) { return j.dump(-1, ' ', false, json::error_handler_t::replace); }

}  // namespace

Status Store::Export(std::ostream& out) {
  std::lock_guard<std::mutex> lock(mutex_);
  out << Dump({{"slipway_perfdb", 1}}) << "\n";
  SLIPWAY_ASSIGN_OR_RETURN(auto rows, Find({.with_samples = true, .with_kernels = true}));
  for (auto r = rows.rbegin(); r != rows.rend(); ++r) out << Dump(ToJson(*r)) << "\n";
  {
    SLIPWAY_ASSIGN_OR_RETURN(
        Statement s,
        Statement::Prepare(db_, path_,
                           "SELECT p.key_hash, k.node, k.op, k.backend, k.kernel, k.signature, "
                           "k.ms, k.macs, p.platform, p.hardware, "
                           "p.hardware_id, p.cpu_model, p.cpu_features, p.runtime, "
                           "p.runtime_version, p.precision, p.batch, p.threads, "
                           "p.affinity, p.clock_policy, p.power_mode, p.emulated, p.protocol FROM "
                           "kernels k JOIN platforms p ON "
                           "p.id = k.platform_id WHERE k.measurement_id IS NULL ORDER BY k.id"));
    for (;;) {
      SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
      if (!row) break;
      const KernelRow k{s.Text(1), s.Text(2), s.Text(3), s.Text(4), s.Text(5), s.Real(6), s.Int(7)};
      PlatformKey key{s.Text(8),  s.Text(9),  s.Text(10), s.Text(11),     s.Text(12),
                      s.Text(13), s.Text(14), s.Text(15), s.Int(16),      s.Int(17),
                      s.Text(18), s.Text(19), s.Text(20), s.Int(21) != 0, s.Int(22)};
      out << Dump({{"type", "kernel"}, {"key", ToJson(key)}, {"kernel", ToJson(k)}}) << "\n";
    }
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement s,
      Statement::Prepare(db_, path_,
                         "SELECT model_hash, data_hash, structure, platform, precision, metric, "
                         "value, n, date FROM accuracies ORDER BY id"));
  for (;;) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) break;
    out << Dump(ToJson(AccuracyRow{s.Text(0), s.Text(1), s.Text(2), s.Text(3), s.Text(4), s.Text(5),
                                   s.Real(6), s.Int(7), s.Text(8)}))
        << "\n";
  }
  out.flush();
  if (!out) return Unavailable("the export cannot be written; is the disk full?");
  return OkStatus();
}

Status Store::ExportFile(const std::string& path) {
  std::ofstream out(path, std::ios::binary | std::ios::trunc);
  if (!out) return Unavailable(path + ": cannot be written; choose a writable place");
  return Export(out).With(path);
}

Result<ImportCounts> Store::ImportFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return NotFound(path + ": cannot be read; check the path");
  return Import(in, path);
}

Result<ImportCounts> Store::Import(std::istream& in, const std::string& name) {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_, path_));
  ImportCounts counts;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    const std::string where = name + " line " + std::to_string(number);
    if (line.size() > kMaxLine) return ResourceExhausted(where + ": longer than 64 MiB");
    if (line.find_first_not_of(" \r\t") == std::string::npos) continue;
    try {
      const json j = json::parse(line);
      if (number == 1) {
        if (!j.is_object() || !j.contains("slipway_perfdb")) {
          return InvalidArgument(
              where +
              ": no {\"slipway_perfdb\": 1} header; give a file of 'slipway perfdb export'");
        }
        if (j["slipway_perfdb"] != 1)
          return Unsupported(where + ": exported by a newer Slipway; update this one");
        continue;
      }
      const std::string type = j.at("type");
      if (type == "measurement") {
        MeasurementResult r = MeasurementFromJson(j);
        auto added = PutMeasurement(r.structure, r.key, std::move(r.row));
        if (!added.ok()) return added.status().With(where);
        ++(*added ? counts.measurements : counts.known);
      } else if (type == "accuracy") {
        auto added = PutAccuracy(AccuracyFromJson(j));
        if (!added.ok()) return added.status().With(where);
        ++(*added ? counts.accuracies : counts.known);
      } else if (type == "kernel") {
        auto platform = PlatformId(KeyFromJson(j.at("key")));
        if (!platform.ok()) return platform.status().With(where);
        const KernelRow k = KernelFromJson(j.at("kernel"));
        auto seen = Statement::Prepare(
            db_, path_,
            "SELECT 1 FROM kernels WHERE signature = ? AND platform_id = ? AND measurement_id "
            "IS NULL AND ms = ? AND kernel = ?");
        if (!seen.ok()) return seen.status();
        auto known = seen->Bind(k.signature).Bind(*platform).Bind(k.ms).Bind(k.kernel).Step();
        if (!known.ok()) return known.status().With(where);
        if (*known) {
          ++counts.known;
          continue;
        }
        SLIPWAY_RETURN_IF_ERROR(PutKernels(*platform, std::nullopt, {k}).With(where));
        ++counts.kernels;
      } else {
        return InvalidArgument(where + ": type '" + type.substr(0, 40) + "' is not known");
      }
    } catch (const json::exception& e) {
      std::string why = e.what();  // "[json.exception.out_of_range.403] key 'p50_ms' not found"
      if (const size_t at = why.find("] "); at != std::string::npos) why = why.substr(at + 2);
      return InvalidArgument(where + ": not a record of this format (" + why.substr(0, 200) + ")");
    }
  }
  if (in.bad()) return Unavailable(name + ": cannot be read");
  SLIPWAY_RETURN_IF_ERROR(transaction.Commit());
  return counts;
}

}  // namespace slipway::perfdb
