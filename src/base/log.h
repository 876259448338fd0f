#pragma once
// Leveled messages on standard error, one line each. The level comes from SetLogLevel or the
// environment variable SLIPWAY_LOG (error, warning, info, debug); the default is warning. Messages
// are for people; programs read Status.

#include <string_view>

namespace slipway {

enum class LogLevel : int { kError = 0, kWarning = 1, kInfo = 2, kDebug = 3 };

void SetLogLevel(LogLevel level);
LogLevel GetLogLevel();
void Log(LogLevel level, std::string_view message);

// Replaces where lines go (tests, the service); nullptr restores standard error. Thread-safe.
using LogSink = void (*)(LogLevel level, std::string_view line);
void SetLogSink(LogSink sink);

}  // namespace slipway
