#pragma once
// The database's schema as a list of steps. A step that has been released never changes; new ones
// are appended. PRAGMA user_version holds how many were taken. Internal to src/perfdb.

namespace slipway::perfdb {

inline constexpr int kApplicationId = 0x534c5057;  // "SLPW", PRAGMA application_id

inline constexpr const char* kMigrations[] = {
    // 1: structures, platform keys, measurements, kernels, accuracies
    R"sql(
CREATE TABLE structures (
  id INTEGER PRIMARY KEY,
  hash_with_shapes TEXT NOT NULL UNIQUE CHECK (hash_with_shapes <> ''),
  hash_without_shapes TEXT NOT NULL,
  name TEXT NOT NULL,
  features TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX structures_family ON structures (hash_without_shapes);
CREATE TABLE platforms (
  id INTEGER PRIMARY KEY,
  key_hash TEXT NOT NULL UNIQUE,
  platform TEXT NOT NULL CHECK (platform <> ''),
  hardware TEXT NOT NULL, hardware_id TEXT NOT NULL,
  cpu_model TEXT NOT NULL, cpu_features TEXT NOT NULL,
  runtime TEXT NOT NULL, runtime_version TEXT NOT NULL,
  precision TEXT NOT NULL,
  batch INTEGER NOT NULL CHECK (batch > 0),
  threads INTEGER NOT NULL CHECK (threads > 0),
  affinity TEXT NOT NULL, clock_policy TEXT NOT NULL, power_mode TEXT NOT NULL,
  emulated INTEGER NOT NULL, protocol INTEGER NOT NULL
) STRICT;
CREATE INDEX platforms_name ON platforms (platform);
CREATE TABLE measurements (
  id INTEGER PRIMARY KEY,
  uid TEXT NOT NULL UNIQUE,
  structure_id INTEGER NOT NULL REFERENCES structures (id),
  platform_id INTEGER NOT NULL REFERENCES platforms (id),
  model_hash TEXT NOT NULL, date TEXT NOT NULL, tool_version TEXT NOT NULL,
  n INTEGER NOT NULL, min_ms REAL NOT NULL, mean_ms REAL NOT NULL,
  p50_ms REAL NOT NULL, p90_ms REAL NOT NULL, p99_ms REAL NOT NULL, max_ms REAL NOT NULL,
  stddev_ms REAL NOT NULL, spread REAL NOT NULL, drift REAL NOT NULL, outliers INTEGER NOT NULL,
  samples BLOB NOT NULL,  -- float32, little endian, milliseconds
  warmup_runs INTEGER NOT NULL, runs_per_sample INTEGER NOT NULL,
  unstable INTEGER NOT NULL, unstable_why TEXT NOT NULL,
  peak_bytes INTEGER NOT NULL,
  temperature_c REAL, frequency_mhz REAL, governor TEXT NOT NULL, load1 REAL NOT NULL
) STRICT;
CREATE INDEX measurements_key ON measurements (structure_id, platform_id, date);
CREATE TABLE kernels (
  id INTEGER PRIMARY KEY,
  platform_id INTEGER NOT NULL REFERENCES platforms (id),
  measurement_id INTEGER REFERENCES measurements (id) ON DELETE CASCADE,  -- null: measured by itself
  position INTEGER NOT NULL,
  node TEXT NOT NULL, op TEXT NOT NULL, backend TEXT NOT NULL, kernel TEXT NOT NULL,
  signature TEXT NOT NULL,
  ms REAL NOT NULL, macs INTEGER NOT NULL
) STRICT;
CREATE INDEX kernels_key ON kernels (signature, platform_id);
CREATE INDEX kernels_of ON kernels (measurement_id, position);
CREATE TABLE accuracies (
  id INTEGER PRIMARY KEY,
  uid TEXT NOT NULL UNIQUE,
  model_hash TEXT NOT NULL, data_hash TEXT NOT NULL, structure TEXT NOT NULL,
  platform TEXT NOT NULL, precision TEXT NOT NULL,
  metric TEXT NOT NULL, value REAL NOT NULL, n INTEGER NOT NULL, date TEXT NOT NULL
) STRICT;
CREATE INDEX accuracies_key ON accuracies (model_hash, data_hash);
)sql",
};
inline constexpr int kSchemaVersion = static_cast<int>(sizeof kMigrations / sizeof *kMigrations);

}  // namespace slipway::perfdb
