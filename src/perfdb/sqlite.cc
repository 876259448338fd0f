#include "perfdb/sqlite.h"

namespace slipway::perfdb {

Status SqliteError(sqlite3* db, const std::string& path) {
  const int rc = sqlite3_errcode(db) & 0xff;
  const std::string why = sqlite3_errmsg(db);
  switch (rc) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return DataLoss(path + ": not a performance database, or damaged (" + why +
                      "); move the file away or set SLIPWAY_PERFDB to another one");
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_READONLY:
    case SQLITE_AUTH:
      return Unavailable(path + ": the performance database cannot be written (" + why +
                         "); set SLIPWAY_PERFDB to a writable file");
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return Unavailable(path +
                         ": another process keeps the performance database locked; try again");
    case SQLITE_FULL:
      return ResourceExhausted(path + ": no space for the performance database (" + why +
                               "); free space or set SLIPWAY_PERFDB");
    case SQLITE_IOERR:
      return Unavailable(path + ": the performance database cannot be read or written (" + why +
                         ")");
    case SQLITE_CONSTRAINT:
      return InvalidArgument(path + ": the record is not valid (" + why + ")");
    default:
      return Internal(path + ": SQLite: " + why);
  }
}

Result<Statement> Statement::Prepare(sqlite3* db, const std::string& path, std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db, sql.data(), static_cast<int>(sql.size()), &raw, nullptr) !=
      SQLITE_OK) {
    return SqliteError(db, path);
  }
  Statement s;
  s.db_ = db;
  s.path_ = path;
  s.statement_.reset(raw);
  return s;
}

Statement& Statement::Bind(std::string_view text) {
  sqlite3_bind_text64(get(), next_++, text.data() ? text.data() : "", text.size(), SQLITE_TRANSIENT,
                      SQLITE_UTF8);
  return *this;
}
Statement& Statement::Bind(int64_t v) {
  sqlite3_bind_int64(get(), next_++, v);
  return *this;
}
Statement& Statement::Bind(double v) {
  sqlite3_bind_double(get(), next_++, v);
  return *this;
}
Statement& Statement::Bind(const std::optional<double>& v) {
  if (v) return Bind(*v);
  sqlite3_bind_null(get(), next_++);
  return *this;
}
Statement& Statement::BindBlob(const void* data, size_t size) {
  sqlite3_bind_blob64(get(), next_++, size ? data : "", size, SQLITE_TRANSIENT);
  return *this;
}

Result<bool> Statement::Step() {
  const int rc = sqlite3_step(get());
  if (rc == SQLITE_ROW) return true;
  if (rc == SQLITE_DONE) return false;
  return SqliteError(db_, path_);
}

Status Statement::Run() {
  for (;;) {
    SLIPWAY_ASSIGN_OR_RETURN(const bool row, Step());
    if (!row) return OkStatus();
  }
}

void Statement::Reset() {
  sqlite3_reset(get());
  sqlite3_clear_bindings(get());
  next_ = 1;
}

std::string Statement::Text(int column) const {
  const auto* p = reinterpret_cast<const char*>(sqlite3_column_text(get(), column));
  return p ? std::string(p, static_cast<size_t>(sqlite3_column_bytes(get(), column))) : "";
}

std::optional<double> Statement::MaybeReal(int column) const {
  if (sqlite3_column_type(get(), column) == SQLITE_NULL) return std::nullopt;
  return Real(column);
}

std::string_view Statement::Blob(int column) const {
  const auto* p = static_cast<const char*>(sqlite3_column_blob(get(), column));
  return p ? std::string_view(p, static_cast<size_t>(sqlite3_column_bytes(get(), column)))
           : std::string_view();
}

Result<Transaction> Transaction::Begin(sqlite3* db, const std::string& path) {
  if (sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) != SQLITE_OK) {
    return SqliteError(db, path);
  }
  return Transaction(db, path);
}

Transaction::~Transaction() {
  if (db_) sqlite3_exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

Status Transaction::Commit() {
  if (sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK)
    return SqliteError(db_, path_);
  db_ = nullptr;
  return OkStatus();
}

}  // namespace slipway::perfdb
