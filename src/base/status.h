#pragma once
// Status and Result<T>: how every layer below the command line reports failure. No exception
// crosses a public boundary. A message names the node, value or field, says what is wrong, and what
// the user can do about it.

#include <cassert>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace slipway {

// Explicit values: they cross the C API and are stored in reports.
enum class StatusCode : int {
  kOk = 0,
  kInvalidArgument = 1,    // the caller's input is wrong: a file, an option, a shape
  kNotFound = 2,           // a file or a named thing is missing
  kUnsupported = 3,        // valid, but this build or platform cannot do it
  kDataLoss = 4,           // a file is truncated or corrupt
  kResourceExhausted = 5,  // memory, disk or a stated limit
  kUnavailable = 6,        // infrastructure: a tool, device or service that does not answer
  kGateFailed = 7,         // an accuracy or latency gate did not hold
  kInternal = 8,           // a fault of Slipway itself
};

const char* StatusCodeName(StatusCode code);

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(StatusCode code, std::string message) : code_(code), message_(std::move(message)) {}

  bool ok() const { return code_ == StatusCode::kOk; }
  StatusCode code() const { return code_; }
  const std::string& message() const { return message_; }

  // The same status with "context: " put before its message; an ok status stays ok.
  Status With(std::string_view context) const&;
  Status With(std::string_view context) &&;

  std::string ToString() const;

 private:
  StatusCode code_ = StatusCode::kOk;
  std::string message_;
};

inline Status OkStatus() { return {}; }
inline Status InvalidArgument(std::string m) {
  return {StatusCode::kInvalidArgument, std::move(m)};
}
inline Status NotFound(std::string m) { return {StatusCode::kNotFound, std::move(m)}; }
inline Status Unsupported(std::string m) { return {StatusCode::kUnsupported, std::move(m)}; }
inline Status DataLoss(std::string m) { return {StatusCode::kDataLoss, std::move(m)}; }
inline Status ResourceExhausted(std::string m) {
  return {StatusCode::kResourceExhausted, std::move(m)};
}
inline Status Unavailable(std::string m) { return {StatusCode::kUnavailable, std::move(m)}; }
inline Status GateFailed(std::string m) { return {StatusCode::kGateFailed, std::move(m)}; }
inline Status Internal(std::string m) { return {StatusCode::kInternal, std::move(m)}; }

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}                                  // NOLINT
  Result(Status status) : status_(std::move(status)) { assert(!status_.ok()); }  // NOLINT

  bool ok() const { return status_.ok(); }
  const Status& status() const& { return status_; }
  Status&& status() && { return std::move(status_); }

  T& value() & { return *value_; }
  const T& value() const& { return *value_; }
  T&& value() && { return std::move(*value_); }
  T& operator*() & { return *value_; }
  const T& operator*() const& { return *value_; }
  T&& operator*() && { return std::move(*value_); }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

#define SLIPWAY_CONCAT_(a, b) a##b
#define SLIPWAY_CONCAT(a, b) SLIPWAY_CONCAT_(a, b)

#define SLIPWAY_RETURN_IF_ERROR(expr)                  \
  do {                                                 \
    ::slipway::Status slipway_status_ = (expr);        \
    if (!slipway_status_.ok()) return slipway_status_; \
  } while (0)

// SLIPWAY_ASSIGN_OR_RETURN(auto x, F()): x is the value of F(), or the function returns F()'s
// status.
#define SLIPWAY_ASSIGN_OR_RETURN(lhs, expr) \
  SLIPWAY_ASSIGN_OR_RETURN_(SLIPWAY_CONCAT(slipway_result_, __LINE__), lhs, expr)
#define SLIPWAY_ASSIGN_OR_RETURN_(tmp, lhs, expr) \
  auto tmp = (expr);                              \
  if (!tmp.ok()) return std::move(tmp).status();  \
  lhs = std::move(tmp).value()

}  // namespace slipway
