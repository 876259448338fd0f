#include "perfdb/store.h"

#include <sqlite3.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "base/log.h"
#include "perfdb/schema.h"
#include "perfdb/sqlite.h"

namespace slipway::perfdb {
namespace {

namespace fs = std::filesystem;

static_assert(std::endian::native == std::endian::little, "sample blobs are little endian");

Result<int64_t> Pragma(sqlite3* db, const std::string& path, const char* name) {
  SLIPWAY_ASSIGN_OR_RETURN(Statement s,
                           Statement::Prepare(db, path, std::string("PRAGMA ") + name));
  SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
  return row ? s.Int(0) : 0;
}

Status Execute(sqlite3* db, const std::string& path, const std::string& sql) {
  if (sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    return SqliteError(db, path);
  return OkStatus();
}

Status CheckFinite(double v, const char* field) {
  if (std::isfinite(v)) return OkStatus();
  return InvalidArgument(std::string("measurement: ") + field +
                         " is not a finite number; measure again");
}

Status CheckRow(const MeasurementRow& m) {
  const auto& s = m.stats;
  const std::pair<double, const char*> fields[] = {
      {s.min, "min"},     {s.mean, "mean"},  {s.p50, "p50"},       {s.p90, "p90"},
      {s.p99, "p99"},     {s.max, "max"},    {s.stddev, "stddev"}, {s.spread, "spread"},
      {s.drift, "drift"}, {m.load1, "load1"}};
  for (const auto& [value, name] : fields) SLIPWAY_RETURN_IF_ERROR(CheckFinite(value, name));
  if (s.p50 < 0 || s.n < 0) return InvalidArgument("measurement: a negative latency or count");
  for (float v : m.samples_ms)
    SLIPWAY_RETURN_IF_ERROR(CheckFinite(static_cast<double>(v), "a sample"));
  for (const auto& k : m.kernels) SLIPWAY_RETURN_IF_ERROR(CheckFinite(k.ms, "a kernel's time"));
  return OkStatus();
}

constexpr const char* kKeyColumns =
    "p.platform, p.hardware, p.hardware_id, p.cpu_model, p.cpu_features, p.runtime, "
    "p.runtime_version, "
    "p.precision, p.batch, p.threads, p.affinity, p.clock_policy, p.power_mode, p.emulated, "
    "p.protocol";

PlatformKey ReadKey(const Statement& s, int c) {
  PlatformKey k;
  k.platform = s.Text(c++);
  k.hardware = s.Text(c++);
  k.hardware_id = s.Text(c++);
  k.cpu_model = s.Text(c++);
  k.cpu_features = s.Text(c++);
  k.runtime = s.Text(c++);
  k.runtime_version = s.Text(c++);
  k.precision = s.Text(c++);
  k.batch = s.Int(c++);
  k.threads = s.Int(c++);
  k.affinity = s.Text(c++);
  k.clock_policy = s.Text(c++);
  k.power_mode = s.Text(c++);
  k.emulated = s.Int(c++) != 0;
  k.protocol = s.Int(c++);
  return k;
}

}  // namespace

struct Store::Cache {
  std::optional<Statement> kernel_ms;
  bool warned = false;
};

std::string Store::DefaultPath() {
  if (const char* path = std::getenv("SLIPWAY_PERFDB"); path && *path) return path;
  if (const char* data = std::getenv("XDG_DATA_HOME"); data && *data == '/') {
    return std::string(data) + "/slipway/perf.db";
  }
  const char* home = std::getenv("HOME");
  return std::string(home && *home ? home : ".") + "/.local/share/slipway/perf.db";
}

Store::~Store() {
  cache_.reset();
  if (db_) sqlite3_close(db_);
}

Result<std::unique_ptr<Store>> Store::Open(const std::string& path, const StoreOptions& options) {
  std::unique_ptr<Store> store(new Store);
  store->path_ = path;
  store->cache_ = std::make_unique<Cache>();
  std::error_code ec;
  if (options.read_only && !fs::exists(path, ec)) {
    return NotFound(path +
                    ": no performance database yet; measure something first (slipway bench)");
  }
  const fs::path folder = fs::path(path).parent_path();
  if (!options.read_only && !folder.empty()) {
    fs::create_directories(folder, ec);
    if (ec && !fs::is_directory(folder)) {
      return Unavailable(path + ": the folder of the performance database cannot be made (" +
                         ec.message() + "); set SLIPWAY_PERFDB to a writable file");
    }
  }
  const int flags =
      SQLITE_OPEN_NOMUTEX |
      (options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  if (sqlite3_open_v2(path.c_str(), &store->db_, flags, nullptr) != SQLITE_OK) {
    return store->db_ ? SqliteError(store->db_, path) : ResourceExhausted(path + ": no memory");
  }
  SLIPWAY_RETURN_IF_ERROR(store->Initialise(options));
  return store;
}

Status Store::Initialise(const StoreOptions& options) {
  sqlite3_extended_result_codes(db_, 0);
  sqlite3_busy_timeout(db_, static_cast<int>(options.busy_seconds * 1000));
  SLIPWAY_RETURN_IF_ERROR(
      Execute(db_, path_, "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF"));
  const auto too_new = [&](int64_t version) {
    return Unsupported(path_ + ": written by a newer Slipway (schema " + std::to_string(version) +
                       ", this one knows " + std::to_string(kSchemaVersion) +
                       "); update, or set SLIPWAY_PERFDB to another file");
  };
  // One statement, one snapshot: another process may be making the file at this moment.
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement state,
      Statement::Prepare(
          db_, path_,
          "SELECT (SELECT user_version FROM pragma_user_version), (SELECT application_id FROM "
          "pragma_application_id), (SELECT count(*) FROM sqlite_schema)"));
  SLIPWAY_ASSIGN_OR_RETURN(const bool has_state, state.Step());
  if (!has_state) return Internal(path_ + ": no schema version");
  int64_t version = state.Int(0);
  const int64_t application = state.Int(1), objects = state.Int(2);
  state.Reset();
  if (application != kApplicationId && (application != 0 || version != 0 || objects > 0)) {
    return InvalidArgument(
        path_ + ": an SQLite file of another program; set SLIPWAY_PERFDB to another file");
  }
  if (version > kSchemaVersion) return too_new(version);
  if (options.read_only) {
    if (version == kSchemaVersion) return OkStatus();
    return Unsupported(path_ +
                       ": an older schema; open it once for writing (slipway perfdb query)");
  }
  // Not fatal where the file system cannot do it: the journal then works as it always did.
  (void)Execute(db_, path_, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL");
  if (version == kSchemaVersion) return OkStatus();
  SLIPWAY_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_, path_));
  // Read again inside the lock: another process may have been faster.
  SLIPWAY_ASSIGN_OR_RETURN(version, Pragma(db_, path_, "user_version"));
  if (version > kSchemaVersion) return too_new(version);
  for (int64_t v = version; v < kSchemaVersion; ++v) {
    SLIPWAY_RETURN_IF_ERROR(Execute(db_, path_, kMigrations[v]));
  }
  SLIPWAY_RETURN_IF_ERROR(
      Execute(db_, path_,
              "PRAGMA user_version = " + std::to_string(kSchemaVersion) +
                  "; PRAGMA application_id = " + std::to_string(kApplicationId)));
  return transaction.Commit();
}

Result<int64_t> Store::StructureId(const Structure& s) {
  if (s.hash_with_shapes.empty()) return InvalidArgument("measurement: the structure has no hash");
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement put,
      Statement::Prepare(
          db_, path_,
          "INSERT INTO structures (hash_with_shapes, hash_without_shapes, name, features) "
          "VALUES (?, ?, ?, ?) ON CONFLICT (hash_with_shapes) DO UPDATE SET "
          "features = CASE WHEN excluded.features <> '{}' THEN excluded.features "
          "ELSE features END, name = CASE WHEN name = '' THEN excluded.name ELSE name END "
          "RETURNING id"));
  put.Bind(s.hash_with_shapes)
      .Bind(s.hash_without_shapes)
      .Bind(s.name)
      .Bind(s.features.empty() ? "{}" : s.features);
  SLIPWAY_ASSIGN_OR_RETURN(const bool row, put.Step());
  if (!row) return Internal(path_ + ": a structure was not stored");
  return put.Int(0);
}

Result<int64_t> Store::PlatformId(const PlatformKey& k) {
  const std::string hash = k.Hash();
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement get, Statement::Prepare(db_, path_, "SELECT id FROM platforms WHERE key_hash = ?"));
  SLIPWAY_ASSIGN_OR_RETURN(const bool known, get.Bind(hash).Step());
  if (known) return get.Int(0);
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement put,
      Statement::Prepare(db_, path_,
                         "INSERT INTO platforms (key_hash, platform, hardware, hardware_id, "
                         "cpu_model, cpu_features, "
                         "runtime, runtime_version, precision, batch, threads, affinity, "
                         "clock_policy, power_mode, "
                         "emulated, protocol) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"));
  put.Bind(hash)
      .Bind(k.platform)
      .Bind(k.hardware)
      .Bind(k.hardware_id)
      .Bind(k.cpu_model)
      .Bind(k.cpu_features);
  put.Bind(k.runtime)
      .Bind(k.runtime_version)
      .Bind(k.precision)
      .Bind(k.batch)
      .Bind(k.threads)
      .Bind(k.affinity);
  put.Bind(k.clock_policy).Bind(k.power_mode).Bind(k.emulated).Bind(k.protocol);
  SLIPWAY_RETURN_IF_ERROR(put.Run());
  return sqlite3_last_insert_rowid(db_);
}

Status Store::PutKernels(int64_t platform_id, std::optional<int64_t> measurement_id,
                         const std::vector<KernelRow>& rows) {
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement put,
      Statement::Prepare(
          db_, path_,
          "INSERT INTO kernels (platform_id, measurement_id, position, node, op, backend, "
          "kernel, signature, ms, macs) VALUES (?, nullif(?, 0), ?, ?, ?, ?, ?, ?, ?, ?)"));
  int64_t position = 0;
  for (const auto& k : rows) {
    SLIPWAY_RETURN_IF_ERROR(CheckFinite(k.ms, "a kernel's time"));
    put.Reset();
    put.Bind(platform_id)
        .Bind(measurement_id.value_or(0))
        .Bind(position++)
        .Bind(k.node)
        .Bind(k.op)
        .Bind(k.backend);
    put.Bind(k.kernel).Bind(k.signature).Bind(k.ms).Bind(k.macs);
    SLIPWAY_RETURN_IF_ERROR(put.Run());
  }
  return OkStatus();
}

Result<bool> Store::PutMeasurement(const Structure& structure, const PlatformKey& key,
                                   MeasurementRow m) {
  SLIPWAY_RETURN_IF_ERROR(CheckRow(m));
  m.structure = structure.hash_with_shapes;
  m.platform_key = key.Hash();
  if (m.date.empty()) m.date = device::UtcNow();
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t structure_id, StructureId(structure));
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t platform_id, PlatformId(key));
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement put,
      Statement::Prepare(
          db_, path_,
          "INSERT OR IGNORE INTO measurements (uid, structure_id, platform_id, model_hash, date, "
          "tool_version, n, min_ms, mean_ms, p50_ms, p90_ms, p99_ms, max_ms, stddev_ms, spread, "
          "drift, "
          "outliers, samples, warmup_runs, runs_per_sample, unstable, unstable_why, peak_bytes, "
          "temperature_c, frequency_mhz, governor, load1) "
          "VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"));
  const auto& s = m.stats;
  put.Bind(m.Uid())
      .Bind(structure_id)
      .Bind(platform_id)
      .Bind(m.model_hash)
      .Bind(m.date)
      .Bind(m.tool_version);
  put.Bind(s.n).Bind(s.min).Bind(s.mean).Bind(s.p50).Bind(s.p90).Bind(s.p99).Bind(s.max).Bind(
      s.stddev);
  put.Bind(s.spread).Bind(s.drift).Bind(s.outliers);
  put.BindBlob(m.samples_ms.data(), m.samples_ms.size() * sizeof(float));
  put.Bind(m.warmup_runs)
      .Bind(m.runs_per_sample)
      .Bind(m.unstable)
      .Bind(m.unstable_why)
      .Bind(m.peak_bytes);
  put.Bind(m.temperature_c).Bind(m.frequency_mhz).Bind(m.governor).Bind(m.load1);
  SLIPWAY_RETURN_IF_ERROR(put.Run());
  if (sqlite3_changes(db_) == 0) return false;
  SLIPWAY_RETURN_IF_ERROR(PutKernels(platform_id, sqlite3_last_insert_rowid(db_), m.kernels));
  return true;
}

Result<bool> Store::PutAccuracy(AccuracyRow a) {
  if (a.date.empty()) a.date = device::UtcNow();
  if (a.model_hash.empty() || a.metric.empty() || !std::isfinite(a.value) || a.n < 0) {
    return InvalidArgument("accuracy: needs a model hash, a metric, a finite value and n >= 0");
  }
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement put,
      Statement::Prepare(
          db_, path_,
          "INSERT OR IGNORE INTO accuracies (uid, model_hash, data_hash, structure, platform, "
          "precision, metric, value, n, date) VALUES (?,?,?,?,?,?,?,?,?,?)"));
  put.Bind(a.Uid())
      .Bind(a.model_hash)
      .Bind(a.data_hash)
      .Bind(a.structure)
      .Bind(a.platform)
      .Bind(a.precision);
  put.Bind(a.metric).Bind(a.value).Bind(a.n).Bind(a.date);
  SLIPWAY_RETURN_IF_ERROR(put.Run());
  return sqlite3_changes(db_) > 0;
}

Result<bool> Store::InsertMeasurement(const Structure& structure, const PlatformKey& key,
                                      MeasurementRow row) {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_, path_));
  SLIPWAY_ASSIGN_OR_RETURN(const bool added, PutMeasurement(structure, key, std::move(row)));
  SLIPWAY_RETURN_IF_ERROR(transaction.Commit());
  return added;
}

Status Store::InsertKernels(const PlatformKey& key, const std::vector<KernelRow>& rows) {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_, path_));
  SLIPWAY_ASSIGN_OR_RETURN(const int64_t platform_id, PlatformId(key));
  SLIPWAY_RETURN_IF_ERROR(PutKernels(platform_id, std::nullopt, rows));
  return transaction.Commit();
}

Result<bool> Store::InsertAccuracy(AccuracyRow row) {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(Transaction transaction, Transaction::Begin(db_, path_));
  SLIPWAY_ASSIGN_OR_RETURN(const bool added, PutAccuracy(std::move(row)));
  SLIPWAY_RETURN_IF_ERROR(transaction.Commit());
  return added;
}

Result<std::vector<MeasurementResult>> Store::Measurements(const MeasurementQuery& query) {
  std::lock_guard<std::mutex> lock(mutex_);
  return Find(query);
}

Result<std::vector<MeasurementResult>> Store::Find(const MeasurementQuery& q) {
  std::string sql =
      std::string(
          "SELECT m.id, s.hash_with_shapes, s.hash_without_shapes, s.name, s.features, "
          "p.key_hash, ") +
      "m.model_hash, m.date, m.tool_version, m.n, m.min_ms, m.mean_ms, m.p50_ms, m.p90_ms, "
      "m.p99_ms, "
      "m.max_ms, m.stddev_ms, m.spread, m.drift, m.outliers, m.samples, m.warmup_runs, "
      "m.runs_per_sample, "
      "m.unstable, m.unstable_why, m.peak_bytes, m.temperature_c, m.frequency_mhz, m.governor, "
      "m.load1, " +
      kKeyColumns +
      " FROM measurements m JOIN structures s ON s.id = m.structure_id JOIN platforms p ON p.id = "
      "m.platform_id WHERE 1";
  if (!q.structure.empty()) sql += " AND (s.hash_with_shapes = ?1 OR s.hash_without_shapes = ?1)";
  const std::pair<const std::string*, const char*> texts[] = {{&q.platform_key, "p.key_hash"},
                                                              {&q.platform, "p.platform"},
                                                              {&q.precision, "p.precision"},
                                                              {&q.model_hash, "m.model_hash"}};
  for (const auto& [value, column] : texts) {
    if (!value->empty()) sql += std::string(" AND ") + column + " = ?";
  }
  if (q.batch) sql += " AND p.batch = ?";
  if (q.threads) sql += " AND p.threads = ?";
  if (q.stable_only) sql += " AND m.unstable = 0";
  sql += " ORDER BY m.date DESC, m.id DESC";
  if (q.limit > 0) sql += " LIMIT ?";
  SLIPWAY_ASSIGN_OR_RETURN(Statement s, Statement::Prepare(db_, path_, sql));
  if (!q.structure.empty()) s.Bind(q.structure);
  for (const auto& [value, column] : texts) {
    if (!value->empty()) s.Bind(*value);
  }
  if (q.batch) s.Bind(*q.batch);
  if (q.threads) s.Bind(*q.threads);
  if (q.limit > 0) s.Bind(q.limit);

  std::optional<Statement> kernels;
  if (q.with_kernels) {
    SLIPWAY_ASSIGN_OR_RETURN(
        Statement k,
        Statement::Prepare(db_, path_,
                           "SELECT node, op, backend, kernel, signature, ms, macs FROM "
                           "kernels WHERE measurement_id = ? ORDER BY position"));
    kernels = std::move(k);
  }
  std::vector<MeasurementResult> out;
  for (;;) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) return out;
    MeasurementResult r;
    int c = 0;
    const int64_t id = s.Int(c++);
    r.structure.hash_with_shapes = s.Text(c++);
    r.structure.hash_without_shapes = s.Text(c++);
    r.structure.name = s.Text(c++);
    r.structure.features = s.Text(c++);
    MeasurementRow& m = r.row;
    m.structure = r.structure.hash_with_shapes;
    m.platform_key = s.Text(c++);
    m.model_hash = s.Text(c++);
    m.date = s.Text(c++);
    m.tool_version = s.Text(c++);
    m.stats.n = s.Int(c++);
    for (double* v : {&m.stats.min, &m.stats.mean, &m.stats.p50, &m.stats.p90, &m.stats.p99,
                      &m.stats.max, &m.stats.stddev, &m.stats.spread, &m.stats.drift}) {
      *v = s.Real(c++);
    }
    m.stats.outliers = s.Int(c++);
    const std::string_view blob = s.Blob(c++);
    if (blob.size() % sizeof(float) != 0)
      return DataLoss(path_ + ": damaged samples of a measurement of " + m.date);
    if (q.with_samples) {
      m.samples_ms.resize(blob.size() / sizeof(float));
      if (!blob.empty()) std::memcpy(m.samples_ms.data(), blob.data(), blob.size());
    }
    m.warmup_runs = s.Int(c++);
    m.runs_per_sample = s.Int(c++);
    m.unstable = s.Int(c++) != 0;
    m.unstable_why = s.Text(c++);
    m.peak_bytes = s.Int(c++);
    m.temperature_c = s.MaybeReal(c++);
    m.frequency_mhz = s.MaybeReal(c++);
    m.governor = s.Text(c++);
    m.load1 = s.Real(c++);
    r.key = ReadKey(s, c);
    if (kernels) {
      kernels->Reset();
      kernels->Bind(id);
      for (;;) {
        SLIPWAY_ASSIGN_OR_RETURN(const bool more, kernels->Step());
        if (!more) break;
        m.kernels.push_back({kernels->Text(0), kernels->Text(1), kernels->Text(2), kernels->Text(3),
                             kernels->Text(4), kernels->Real(5), kernels->Int(6)});
      }
    }
    out.push_back(std::move(r));
  }
}

Result<std::vector<AccuracyRow>> Store::Accuracies(const std::string& model_hash,
                                                   const std::string& data_hash) {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement s,
      Statement::Prepare(
          db_, path_,
          "SELECT model_hash, data_hash, structure, platform, precision, metric, value, n, date "
          "FROM accuracies WHERE (?1 = '' OR model_hash = ?1) AND (?2 = '' OR data_hash = ?2) "
          "ORDER BY date DESC, id DESC"));
  s.Bind(model_hash).Bind(data_hash);
  std::vector<AccuracyRow> out;
  for (;;) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) return out;
    out.push_back({s.Text(0), s.Text(1), s.Text(2), s.Text(3), s.Text(4), s.Text(5), s.Real(6),
                   s.Int(7), s.Text(8)});
  }
}

Result<std::vector<PlatformKey>> Store::Platforms() {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(Statement s,
                           Statement::Prepare(db_, path_,
                                              std::string("SELECT ") + kKeyColumns +
                                                  " FROM platforms p ORDER BY p.platform, p.id"));
  std::vector<PlatformKey> out;
  for (;;) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) return out;
    out.push_back(ReadKey(s, 0));
  }
}

Result<std::vector<Structure>> Store::Structures() {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(Statement s,
                           Statement::Prepare(db_, path_,
                                              "SELECT hash_with_shapes, hash_without_shapes, name, "
                                              "features FROM structures ORDER BY id"));
  std::vector<Structure> out;
  for (;;) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) return out;
    out.push_back({s.Text(0), s.Text(1), s.Text(2), s.Text(3)});
  }
}

Result<StoreCounts> Store::Counts() {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement s,
      Statement::Prepare(
          db_, path_,
          "SELECT (SELECT count(*) FROM structures), (SELECT count(*) FROM platforms), "
          "(SELECT count(*) FROM measurements), (SELECT count(*) FROM kernels), "
          "(SELECT count(*) FROM accuracies)"));
  SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
  if (!row) return Internal(path_ + ": no counts");
  return StoreCounts{s.Int(0), s.Int(1), s.Int(2), s.Int(3), s.Int(4)};
}

Result<std::vector<Store::StepResult>> Store::Steps(const std::string& op,
                                                    const std::string& backend, int64_t limit) {
  std::lock_guard<std::mutex> lock(mutex_);
  SLIPWAY_ASSIGN_OR_RETURN(
      Statement s,
      Statement::Prepare(db_, path_,
                         std::string("SELECT k.node, k.op, k.backend, k.kernel, k.signature, k.ms, "
                                     "k.macs, ") +
                             kKeyColumns +
                             " FROM kernels k JOIN platforms p ON p.id = k.platform_id WHERE "
                             "k.measurement_id IS NULL AND (?1 = '' OR k.op = ?1) AND (?2 = '' OR "
                             "k.backend = ?2) ORDER BY k.id DESC LIMIT ?3"));
  s.Bind(op).Bind(backend).Bind(limit > 0 ? limit : int64_t{-1});
  std::vector<StepResult> out;
  for (;;) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool row, s.Step());
    if (!row) return out;
    out.push_back({ReadKey(s, 7),
                   {s.Text(0), s.Text(1), s.Text(2), s.Text(3), s.Text(4), s.Real(5), s.Int(6)}});
  }
}

std::optional<double> Store::KernelMs(const std::string& platform_key_hash,
                                      const std::string& signature) {
  std::lock_guard<std::mutex> lock(mutex_);
  const auto failed = [&](const Status& status) -> std::optional<double> {
    if (!cache_->warned) Log(LogLevel::kWarning, status.message());
    cache_->warned = true;
    return std::nullopt;
  };
  if (!cache_->kernel_ms) {
    auto s = Statement::Prepare(
        db_, path_,
        "SELECT k.ms, coalesce(m.unstable, 0) FROM kernels k JOIN platforms p ON p.id = "
        "k.platform_id LEFT JOIN measurements m ON m.id = k.measurement_id "
        "WHERE k.signature = ? AND p.key_hash = ?");
    if (!s.ok()) return failed(s.status());
    cache_->kernel_ms = std::move(s).value();
  }
  Statement& s = *cache_->kernel_ms;
  s.Reset();
  s.Bind(signature).Bind(platform_key_hash);
  std::vector<double> stable, unstable;
  for (;;) {
    auto row = s.Step();
    if (!row.ok()) {
      s.Reset();
      return failed(row.status());
    }
    if (!*row) break;
    (s.Int(1) ? unstable : stable).push_back(s.Real(0));
  }
  s.Reset();  // a statement left open would hold its read lock
  auto& values = stable.empty() ? unstable : stable;
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

}  // namespace slipway::perfdb
