#pragma once
// A thin owner of SQLite's handles: every statement is prepared, every value bound. Internal to
// src/perfdb.

#include <sqlite3.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace slipway::perfdb {

// What SQLite's last error means for the user of the file at `path`.
Status SqliteError(sqlite3* db, const std::string& path);

class Statement {
 public:
  static Result<Statement> Prepare(sqlite3* db, const std::string& path, std::string_view sql);

  // Parameters count from 1, in the order of the calls.
  Statement& Bind(std::string_view text);
  Statement& Bind(const char* text) { return Bind(std::string_view(text)); }
  Statement& Bind(const std::string& text) { return Bind(std::string_view(text)); }
  Statement& Bind(int64_t v);
  Statement& Bind(int v) { return Bind(static_cast<int64_t>(v)); }
  Statement& Bind(bool v) { return Bind(static_cast<int64_t>(v)); }
  Statement& Bind(double v);
  Statement& Bind(const std::optional<double>& v);
  Statement& BindBlob(const void* data, size_t size);

  // True on a row, false at the end.
  Result<bool> Step();
  // Runs to the end.
  Status Run();
  void Reset();

  // Columns count from 0.
  std::string Text(int column) const;
  int64_t Int(int column) const { return sqlite3_column_int64(get(), column); }
  double Real(int column) const { return sqlite3_column_double(get(), column); }
  std::optional<double> MaybeReal(int column) const;
  std::string_view Blob(int column) const;

 private:
  struct Finalize {
    void operator()(sqlite3_stmt* s) const { sqlite3_finalize(s); }
  };
  sqlite3_stmt* get() const { return statement_.get(); }

  sqlite3* db_ = nullptr;
  std::string path_;
  std::unique_ptr<sqlite3_stmt, Finalize> statement_;
  int next_ = 1;
};

// BEGIN IMMEDIATE (a writer from the start: no deadlock between two upgrading readers); rolls back
// unless committed.
class Transaction {
 public:
  static Result<Transaction> Begin(sqlite3* db, const std::string& path);
  Transaction(Transaction&& other) noexcept : db_(other.db_), path_(std::move(other.path_)) {
    other.db_ = nullptr;
  }
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Status Commit();

 private:
  Transaction(sqlite3* db, std::string path) : db_(db), path_(std::move(path)) {}
  sqlite3* db_;
  std::string path_;
};

}  // namespace slipway::perfdb
