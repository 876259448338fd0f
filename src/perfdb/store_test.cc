#include "perfdb/store.h"

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#include "base/mapped_file.h"
#include "perfdb/schema.h"

namespace slipway::perfdb {
namespace {

namespace fs = std::filesystem;

#define EXPECT_MESSAGE(status, text) \
  EXPECT_NE((status).message().find(text), std::string::npos) << (status).message()

class PerfDb : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (fs::temp_directory_path() / "slipway-perfdb-XXXXXX").string();
    ASSERT_NE(mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = folder_ + "/deep/er/perf.db";
  }
  void TearDown() override { fs::remove_all(folder_); }
  std::unique_ptr<Store> Open(const StoreOptions& options = {}) {
    auto store = Store::Open(path_, options);
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return std::move(store).value();
  }
  std::string folder_, path_;
};

Structure MakeStructure(const std::string& hash = "s1") {
  return {hash, "family", "net", R"({"macs":7})"};
}

PlatformKey MakeKey(const std::string& platform = "x86-int8") {
  PlatformKey k = KeyOfHost(device::ReadHostFacts());
  k.platform = platform;
  k.runtime = "slipway";
  k.runtime_version = "0.1.0";
  k.precision = "int8";
  return k;
}

MeasurementRow MakeRow(float ms, const std::string& date = "2025-03-01T12:00:00Z",
                       bool unstable = false) {
  MeasurementRow row = RowOf(device::FromSamples({ms, ms, ms * 1.01f}, 5), device::ReadHostFacts());
  row.date = date;
  row.unstable = unstable;
  row.model_hash = "model";
  row.peak_bytes = 4096;
  row.kernels = {{"conv_1", "Conv", "x86", "avx512_6x16", "Conv 1x3x8x8 s8",
                  static_cast<double>(ms) / 2, 1000},
                 {"add '; DROP TABLE kernels; --", "Add", "x86", "", "Add 1x3x8x8", 0.25, 0}};
  return row;
}

TEST_F(PerfDb, RoundTripsEverything) {
  auto store = Open();
  MeasurementRow row = MakeRow(2.0f);
  row.temperature_c = 51.5;
  row.frequency_mhz.reset();
  const auto added = store->InsertMeasurement(MakeStructure(), MakeKey(), row);
  ASSERT_TRUE(added.ok()) << added.status().ToString();
  EXPECT_TRUE(*added);
  const auto found = store->Measurements({.with_samples = true, .with_kernels = true});
  ASSERT_TRUE(found.ok()) << found.status().ToString();
  ASSERT_EQ(found->size(), 1u);
  const MeasurementResult& r = (*found)[0];
  EXPECT_EQ(r.key, MakeKey());
  EXPECT_EQ(r.row.platform_key, MakeKey().Hash());
  EXPECT_EQ(r.structure.name, "net");
  EXPECT_EQ(r.row.samples_ms, row.samples_ms);
  EXPECT_EQ(r.row.stats.p50, row.stats.p50);
  EXPECT_EQ(r.row.stats.spread, row.stats.spread);
  EXPECT_EQ(r.row.temperature_c, 51.5);
  EXPECT_FALSE(r.row.frequency_mhz);
  EXPECT_EQ(r.row.peak_bytes, 4096);
  ASSERT_EQ(r.row.kernels.size(), 2u);
  EXPECT_EQ(r.row.kernels[1].node, "add '; DROP TABLE kernels; --");  // bound, never pasted
  EXPECT_EQ(r.row.kernels[0].kernel, "avx512_6x16");
  // The very same run again is the same row.
  EXPECT_FALSE(*store->InsertMeasurement(MakeStructure(), MakeKey(), row));
  EXPECT_EQ(store->Counts()->measurements, 1);
  EXPECT_EQ(store->Counts()->kernels, 2);
}

TEST_F(PerfDb, QueriesSelect) {
  auto store = Open();
  PlatformKey other = MakeKey("x86");
  other.batch = 4;
  ASSERT_TRUE(
      store->InsertMeasurement(MakeStructure(), MakeKey(), MakeRow(1, "2025-01-01T00:00:00Z"))
          .ok());
  ASSERT_TRUE(
      store->InsertMeasurement(MakeStructure(), MakeKey(), MakeRow(2, "2025-02-01T00:00:00Z", true))
          .ok());
  ASSERT_TRUE(
      store->InsertMeasurement(MakeStructure("s2"), other, MakeRow(3, "2025-03-01T00:00:00Z"))
          .ok());
  const auto n = [&](const MeasurementQuery& q) { return store->Measurements(q)->size(); };
  EXPECT_EQ(n({}), 3u);
  EXPECT_EQ(n({.structure = "s1"}), 2u);
  EXPECT_EQ(n({.structure = "family"}), 3u);
  EXPECT_EQ(n({.structure = "s1' OR '1'='1"}), 0u);
  EXPECT_EQ(n({.platform_key = other.Hash()}), 1u);
  EXPECT_EQ(n({.structure = "s1", .platform = "x86-int8", .batch = 1, .stable_only = true}), 1u);
  EXPECT_EQ(n({.batch = 4, .threads = 1}), 1u);
  EXPECT_EQ(n({.model_hash = "model", .limit = 2}), 2u);
  EXPECT_EQ((*store->Measurements({.limit = 1}))[0].row.date,
            "2025-03-01T00:00:00Z");                      // newest first
  EXPECT_TRUE((*store->Measurements())[1].row.unstable);  // marked, not hidden
  EXPECT_EQ(store->Platforms()->size(), 2u);
  EXPECT_EQ(store->Structures()->size(), 2u);
}

TEST_F(PerfDb, KeysDifferByEveryField) {
  const PlatformKey base = MakeKey();
  std::vector<PlatformKey> keys(15, base);
  keys[0].platform += "x";
  keys[1].hardware += "x";
  keys[2].hardware_id += "x";
  keys[3].cpu_model += "x";
  keys[4].cpu_features += "x";
  keys[5].runtime += "x";
  keys[6].runtime_version += "x";
  keys[7].precision += "x";
  keys[8].batch = 2;
  keys[9].threads = 2;
  keys[10].affinity += "x";
  keys[11].clock_policy += "x";
  keys[12].power_mode += "x";
  keys[13].emulated = true;
  keys[14].protocol = 99;
  std::vector<std::string> hashes = {base.Hash()};
  for (const auto& k : keys) hashes.push_back(k.Hash());
  std::sort(hashes.begin(), hashes.end());
  EXPECT_EQ(std::unique(hashes.begin(), hashes.end()), hashes.end());
  EXPECT_EQ(base.Hash().size(), 32u);
}

TEST_F(PerfDb, KernelCosts) {
  auto store = Open();
  const std::string key = MakeKey().Hash();
  EXPECT_FALSE(store->KernelMs(key, "Conv 1x3x8x8 s8"));
  ASSERT_TRUE(
      store->InsertMeasurement(MakeStructure(), MakeKey(), MakeRow(9, "2025-01-01T00:00:00Z", true))
          .ok());
  EXPECT_EQ(store->KernelMs(key, "Conv 1x3x8x8 s8"),
            4.5);  // only an unstable one: better than none
  ASSERT_TRUE(
      store->InsertMeasurement(MakeStructure(), MakeKey(), MakeRow(2, "2025-01-02T00:00:00Z"))
          .ok());
  EXPECT_EQ(store->KernelMs(key, "Conv 1x3x8x8 s8"), 1.0);
  ASSERT_TRUE(
      store->InsertKernels(MakeKey(), {{"", "Conv", "x86", "k", "Conv 1x3x8x8 s8", 3.0, 1}}).ok());
  EXPECT_EQ(store->KernelMs(key, "Conv 1x3x8x8 s8"), 2.0);  // median of two
  EXPECT_FALSE(store->KernelMs(MakeKey("x86").Hash(), "Conv 1x3x8x8 s8"));
}

TEST_F(PerfDb, AccuraciesAndInvalidRecords) {
  auto store = Open();
  EXPECT_TRUE(*store->InsertAccuracy({"m", "d", "s1", "x86", "int8", "top1", 0.91, 1000, ""}));
  EXPECT_TRUE(*store->InsertAccuracy(
      {"m2", "d", "s1", "x86", "int8", "top1", 0.92, 1000, "2025-01-01T00:00:00Z"}));
  EXPECT_EQ(store->Accuracies()->size(), 2u);
  EXPECT_EQ((*store->Accuracies("m"))[0].value, 0.91);
  EXPECT_EQ(store->Accuracies("m", "other")->size(), 0u);
  EXPECT_FALSE(store->InsertAccuracy({"", "d", "", "", "", "top1", 0.9, 1, ""}).ok());
  MeasurementRow bad = MakeRow(1);
  bad.stats.p50 = std::numeric_limits<double>::quiet_NaN();
  EXPECT_MESSAGE(store->InsertMeasurement(MakeStructure(), MakeKey(), bad).status(), "p50");
  EXPECT_MESSAGE(store->InsertMeasurement({}, MakeKey(), MakeRow(1)).status(), "hash");
  PlatformKey zero = MakeKey();
  zero.batch = 0;
  EXPECT_FALSE(store->InsertMeasurement(MakeStructure(), zero, MakeRow(1)).ok());
  // A record that fails half-way leaves nothing behind.
  bad = MakeRow(1);
  bad.kernels[1].ms = std::numeric_limits<double>::infinity();
  EXPECT_FALSE(store->InsertMeasurement(MakeStructure("s9"), MakeKey("p9"), bad).ok());
  EXPECT_EQ(store->Counts()->measurements, 0);
  EXPECT_EQ(store->Counts()->structures, 0);
  EXPECT_TRUE(*store->InsertMeasurement(MakeStructure(), MakeKey(), MakeRow(1)));
}

TEST_F(PerfDb, ExportImportIsLossless) {
  auto store = Open();
  MeasurementRow row = MakeRow(0.1f);
  row.kernels[0].node = "weird \xff\xfe \"name\"\n";
  ASSERT_TRUE(
      store->InsertMeasurement(MakeStructure(), MakeKey(), MakeRow(2.7f, "2024-01-01T00:00:00Z"))
          .ok());
  ASSERT_TRUE(store->InsertMeasurement(MakeStructure("s2"), MakeKey("x86"), row).ok());
  ASSERT_TRUE(store->InsertKernels(MakeKey(), {{"", "Conv", "x86", "k", "sig", 3.0, 1}}).ok());
  ASSERT_TRUE(
      store->InsertAccuracy({"m", "d", "s1", "x86", "int8", "top1", 1.0 / 3, 1000, ""}).ok());
  std::stringstream first, second;
  ASSERT_TRUE(store->Export(first).ok());
  auto copy = Store::Open(folder_ + "/copy.db");
  ASSERT_TRUE(copy.ok());
  const auto counts = (*copy)->Import(first, "export");
  ASSERT_TRUE(counts.ok()) << counts.status().ToString();
  EXPECT_EQ(counts->measurements, 2);
  EXPECT_EQ(counts->accuracies, 1);
  EXPECT_EQ(counts->kernels, 1);
  ASSERT_TRUE((*copy)->Export(second).ok());
  EXPECT_EQ(first.str(), second.str());
  std::stringstream again(first.str());
  const auto repeated = (*copy)->Import(again, "export");
  EXPECT_EQ(repeated->known, 4);
  EXPECT_EQ(repeated->measurements + repeated->accuracies + repeated->kernels, 0);
  ASSERT_TRUE(store->ExportFile(folder_ + "/e.jsonl").ok());
  EXPECT_TRUE((*copy)->ImportFile(folder_ + "/e.jsonl").ok());
  EXPECT_FALSE((*copy)->ImportFile(folder_ + "/none.jsonl").ok());
}

TEST_F(PerfDb, ImportErrorsNameTheLineAndChangeNothing) {
  auto store = Open();
  ASSERT_TRUE(store->InsertMeasurement(MakeStructure(), MakeKey(), MakeRow(1)).ok());
  std::stringstream out;
  ASSERT_TRUE(store->Export(out).ok());
  const std::string text = out.str();
  auto empty = Store::Open(folder_ + "/empty.db");
  ASSERT_TRUE(empty.ok());
  const auto error = [&](const std::string& lines) {
    std::stringstream in(lines);
    return (*empty)->Import(in, "x.jsonl").status();
  };
  EXPECT_MESSAGE(error("{}\n"), "line 1");
  EXPECT_MESSAGE(error("{\"slipway_perfdb\": 2}\n"), "newer");
  EXPECT_MESSAGE(error(text + "{\"type\": \"measurement\"}\n"), "x.jsonl line 3");
  EXPECT_MESSAGE(error(text + "{\"type\": \"cheese\"}\n"), "'cheese'");
  EXPECT_MESSAGE(error(text + "not json\n"), "line 3");
  EXPECT_MESSAGE(error(text + text.substr(text.find('\n') + 1, 50)), "line 3");
  std::string wrong = text;
  wrong.replace(wrong.find("\"n\":3"), 5, "\"n\":\"three\"");
  EXPECT_MESSAGE(error(wrong), "line 2");
  EXPECT_EQ((*empty)->Counts()->measurements, 0);  // all or nothing
}

TEST_F(PerfDb, FilesThatAreNotOurs) {
  fs::create_directories(fs::path(path_).parent_path());
  std::ofstream(path_) << std::string(8192, 'x');
  EXPECT_EQ(Store::Open(path_).status().code(), StatusCode::kDataLoss);
  EXPECT_MESSAGE(Store::Open(path_).status(), "SLIPWAY_PERFDB");
  const auto make = [&](const char* sql) {
    fs::remove(path_);
    sqlite3* db;
    sqlite3_open(path_.c_str(), &db);
    sqlite3_exec(db, sql, nullptr, nullptr, nullptr);
    sqlite3_close(db);
    return Store::Open(path_).status();
  };
  EXPECT_MESSAGE(make("CREATE TABLE t (x)"), "another program");
  fs::remove(path_);
  Open();
  sqlite3* db;
  sqlite3_open(path_.c_str(), &db);
  sqlite3_exec(db, "PRAGMA user_version = 77", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  EXPECT_EQ(Store::Open(path_).status().code(), StatusCode::kUnsupported);
  EXPECT_MESSAGE(Store::Open(path_).status(), "newer");
  EXPECT_EQ(Store::Open(folder_ + "/none.db", {.read_only = true}).status().code(),
            StatusCode::kNotFound);
}

TEST_F(PerfDb, UnwritableIsAOneLineError) {
  std::ofstream(folder_ + "/file") << "x";
  EXPECT_EQ(Store::Open(folder_ + "/file/perf.db").status().code(), StatusCode::kUnavailable);
  EXPECT_EQ(Store::Open(folder_).status().code(), StatusCode::kUnavailable);  // a folder
  EXPECT_EQ(Store::Open("/proc/perf.db").status().code(), StatusCode::kUnavailable);
  EXPECT_MESSAGE(Store::Open("/proc/perf.db").status(), "SLIPWAY_PERFDB");
  Open();
  auto reader = Store::Open(path_, {.read_only = true});
  ASSERT_TRUE(reader.ok()) << reader.status().ToString();
  EXPECT_EQ((*reader)->Counts()->measurements, 0);
  EXPECT_EQ((*reader)->InsertMeasurement(MakeStructure(), MakeKey(), MakeRow(1)).status().code(),
            StatusCode::kUnavailable);
}

TEST_F(PerfDb, DamagedPagesAreReported) {
  {
    auto store = Open();
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(
          store->InsertMeasurement(MakeStructure("s" + std::to_string(i)), MakeKey(), MakeRow(1))
              .ok());
    }
  }
  {
    std::fstream f(path_, std::ios::in | std::ios::out | std::ios::binary);
    f.seekp(4096 * 2);
    const std::string junk(4096 * 6, '\x5a');
    f.write(junk.data(), static_cast<std::streamsize>(junk.size()));
  }
  auto store = Store::Open(path_);
  const Status status =
      store.ok() ? (*store)->Measurements({.with_kernels = true}).status() : store.status();
  EXPECT_EQ(status.code(), StatusCode::kDataLoss) << status.ToString();
}

TEST_F(PerfDb, TwoProcessesWriteAtOnce) {
  constexpr int kRows = 60, kProcesses = 3;
  std::vector<pid_t> children;
  for (int p = 0; p < kProcesses; ++p) {
    const pid_t pid = fork();
    ASSERT_GE(pid, 0);
    if (pid == 0) {  // opening at the same time also races for the schema
      auto store = Store::Open(path_, {.busy_seconds = 60});
      int failed = store.ok() ? 0 : 1;
      for (int i = 0; i < kRows && !failed; ++i) {
        const auto added =
            (*store)->InsertMeasurement(MakeStructure("s" + std::to_string(i % 7)), MakeKey(),
                                        MakeRow(static_cast<float>(1 + p * kRows + i)));
        if (!added.ok() || !*added) failed = 2;
        if (failed) fprintf(stderr, "%s\n", added.status().ToString().c_str());
      }
      if (!store.ok()) fprintf(stderr, "%s\n", store.status().ToString().c_str());
      _exit(failed);
    }
    children.push_back(pid);
  }
  for (pid_t pid : children) {
    int status = 0;
    ASSERT_EQ(waitpid(pid, &status, 0), pid);
    EXPECT_EQ(status, 0);
  }
  auto store = Open();
  EXPECT_EQ(store->Counts()->measurements, kRows * kProcesses);
  EXPECT_EQ(store->Counts()->kernels, kRows * kProcesses * 2);
  EXPECT_EQ(store->Counts()->platforms, 1);
  EXPECT_EQ(store->Counts()->structures, 7);
}

TEST_F(PerfDb, ManyThreadsShareAStore) {
  auto store = Open();
  std::vector<std::thread> threads;
  std::atomic<int> added{0};
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 20; ++i) {
        const auto r = store->InsertMeasurement(MakeStructure(), MakeKey(),
                                                MakeRow(static_cast<float>(1 + t * 20 + i)));
        added += r.ok() && *r;
        (void)store->KernelMs(MakeKey().Hash(), "Add 1x3x8x8");
      }
    });
  }
  for (auto& t : threads) t.join();
  EXPECT_EQ(added, 80);
}

TEST_F(PerfDb, DefaultPathFollowsTheEnvironment) {
  setenv("SLIPWAY_PERFDB", "/x/y.db", 1);
  EXPECT_EQ(Store::DefaultPath(), "/x/y.db");
  unsetenv("SLIPWAY_PERFDB");
  const char* data = std::getenv("XDG_DATA_HOME");
  EXPECT_TRUE(
      Store::DefaultPath().ends_with(data ? "/slipway/perf.db" : "/.local/share/slipway/perf.db"));
}

}  // namespace
}  // namespace slipway::perfdb
