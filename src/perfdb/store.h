#pragma once
// The performance database: an SQLite file in WAL mode that several processes may use at once.
//
// A latency belongs to (structure, platform key); rows carry their raw samples and are never
// overwritten. Errors: Unavailable (cannot be written, locked), DataLoss (damaged), Unsupported
// (written by a newer Slipway), each naming the file.

#include <cstdint>
#include <iosfwd>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/status.h"
#include "perfdb/records.h"

struct sqlite3;

namespace slipway::perfdb {

struct StoreOptions {
  bool read_only = false;  // NotFound when there is no file
  double busy_seconds = 10;
};

struct MeasurementQuery {
  std::string structure;     // either hash; "" = any
  std::string platform_key;  // a key's hash; "" = any
  std::string platform;      // a platform's name; "" = any
  std::string precision;
  std::string model_hash;
  std::optional<int64_t> batch, threads;
  bool with_samples = false, with_kernels = false;
  bool stable_only = false;
  int64_t limit = 0;  // 0 = all; the newest first
};

struct MeasurementResult {
  Structure structure;
  PlatformKey key;
  MeasurementRow row;
};

struct ImportCounts {
  int64_t measurements = 0, accuracies = 0, kernels = 0;
  int64_t known = 0;  // were there already
};

struct StoreCounts {
  int64_t structures = 0, platforms = 0, measurements = 0, kernels = 0, accuracies = 0;
};

// Thread-safe: calls queue.
class Store {
 public:
  // $SLIPWAY_PERFDB, or ~/.local/share/slipway/perf.db ($XDG_DATA_HOME honoured).
  static std::string DefaultPath();
  // Creates file and folders when missing; brings an older schema up to date.
  static Result<std::unique_ptr<Store>> Open(const std::string& path = DefaultPath(),
                                             const StoreOptions& options = {});
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;
  const std::string& path() const { return path_; }

  // One transaction. structure, key and row belong together: the row's own `structure` and
  // `platform_key` are filled from them. False when the very same measurement is there already.
  Result<bool> InsertMeasurement(const Structure& structure, const PlatformKey& key,
                                 MeasurementRow row);
  // Kernels measured by themselves, outside any network.
  Status InsertKernels(const PlatformKey& key, const std::vector<KernelRow>& rows);
  Result<bool> InsertAccuracy(AccuracyRow row);

  Result<std::vector<MeasurementResult>> Measurements(const MeasurementQuery& query = {});
  Result<std::vector<AccuracyRow>> Accuracies(const std::string& model_hash = "",
                                              const std::string& data_hash = "");
  Result<std::vector<PlatformKey>> Platforms();
  Result<std::vector<Structure>> Structures();
  Result<StoreCounts> Counts();

  // Median over the rows of this kernel on this platform: the stable ones, or the unstable when
  // there are no others. nullopt when it was never measured or the database does not answer (logged
  // once).
  std::optional<double> KernelMs(const std::string& platform_key_hash,
                                 const std::string& signature);

  // Steps measured by themselves, outside any network: kernels, conversions, hand-overs. The newest
  // first; `op` and `backend` "" = any; limit 0 = all.
  struct StepResult {
    PlatformKey key;
    KernelRow row;
  };
  Result<std::vector<StepResult>> Steps(const std::string& op = "", const std::string& backend = "",
                                        int64_t limit = 0);

  // JSON lines: a header {"slipway_perfdb": 1}, then one object a line, self-contained. Importing
  // is one transaction, all or nothing; errors name the line; what is known already is skipped.
  Status Export(std::ostream& out);
  Status ExportFile(const std::string& path);
  Result<ImportCounts> Import(std::istream& in, const std::string& name);
  Result<ImportCounts> ImportFile(const std::string& path);

 private:
  Store() = default;
  Status Initialise(const StoreOptions& options);
  Result<int64_t> StructureId(const Structure& s);
  Result<int64_t> PlatformId(const PlatformKey& key);
  // These expect the lock and an open transaction.
  Result<bool> PutMeasurement(const Structure& structure, const PlatformKey& key,
                              MeasurementRow row);
  Status PutKernels(int64_t platform_id, std::optional<int64_t> measurement_id,
                    const std::vector<KernelRow>& rows);
  Result<bool> PutAccuracy(AccuracyRow row);
  Result<std::vector<MeasurementResult>> Find(const MeasurementQuery& query);

  std::string path_;
  sqlite3* db_ = nullptr;
  std::mutex mutex_;
  struct Cache;
  std::unique_ptr<Cache> cache_;
};

}  // namespace slipway::perfdb
